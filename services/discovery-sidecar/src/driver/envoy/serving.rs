//! The server: it listens as long as the value that holds it.

use std::{sync::Arc, time::Duration};

use bcs_schemas::resource::registry::EnvoyDriver;
use envoy_types::pb::envoy::service::{
    discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer,
    endpoint::v3::endpoint_discovery_service_server::EndpointDiscoveryServiceServer,
};
use tokio::{sync::watch, task::JoinSet};
use tonic::transport::Server;

use super::{hub::Hub, service::Service};
use crate::driver::listen::{TlsServer, accept, accept_tls, bind};

/// An Envoy that is silent is asked so often whether it is there, and has so long to say so.
const ASK: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(5);

/// A server that runs. Its streams end with it.
pub(super) struct Serving {
    _ending: watch::Sender<()>,
    _tasks: JoinSet<()>,
}

impl Serving {
    pub(super) async fn begin(settings: &EnvoyDriver, hub: &Arc<Hub>) -> Result<Self, String> {
        let tls = settings.tls.clone();
        let tls = tls.map(|tls| TlsServer { tls, field: "driver.envoy.tls", protocol: b"h2" });
        if let Some(tls) = &tls {
            tls.acceptor().await?;
        }
        let listener = bind("driver.envoy.listen", settings.listen).await?;
        let ending = watch::Sender::new(());
        let service = Service { hub: hub.clone(), ending: ending.subscribe() };
        let router = Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(ASK))
            .http2_keepalive_timeout(Some(ANSWER))
            .add_service(AggregatedDiscoveryServiceServer::new(service.clone()))
            .add_service(EndpointDiscoveryServiceServer::new(service));
        let mut tasks = JoinSet::new();
        let mut ended = ending.subscribe();
        tasks.spawn(async move {
            // With it, connections are closed too when this task ends.
            let end = async move { drop(ended.changed().await) };
            let served = match tls {
                None => router.serve_with_incoming_shutdown(accept(listener), end).await,
                Some(tls) => router.serve_with_incoming_shutdown(accept_tls(listener, tls), end).await,
            };
            if let Err(error) = served {
                tracing::error!(%error, "the server for Envoys ended");
            }
        });
        Ok(Self { _ending: ending, _tasks: tasks })
    }
}
