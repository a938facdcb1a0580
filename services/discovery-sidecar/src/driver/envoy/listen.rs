//! The server: it listens as long as the value that holds it. Files of TLS are read for every connection, so that a renewed
//! certificate is taken up.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bcs_schemas::resource::registry::{EnvoyDriver, ServerTls};
use envoy_types::pb::envoy::service::{
    discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer,
    endpoint::v3::endpoint_discovery_service_server::EndpointDiscoveryServiceServer,
};
use futures::{Stream, StreamExt, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};
use tonic::transport::Server;

use super::{hub::Hub, service::Service};
use crate::driver::secret;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Handshakes at a time.
const AT_ONCE: usize = 64;
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
        if let Some(tls) = &settings.tls {
            acceptor(tls).await?;
        }
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.map_err(|e| unbound(settings.listen, &e))?;
        let ending = watch::Sender::new(());
        let service = Service { hub: hub.clone(), ending: ending.subscribe() };
        let router = Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(ASK))
            .http2_keepalive_timeout(Some(ANSWER))
            .add_service(AggregatedDiscoveryServiceServer::new(service.clone()))
            .add_service(EndpointDiscoveryServiceServer::new(service));
        let mut tasks = JoinSet::new();
        let (tls, mut ended) = (settings.tls.clone(), ending.subscribe());
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

fn unbound(listen: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "driver.envoy.listen: {listen} is not ours: another program, or another sidecar, listens there"
            )
        }
        _ => format!("driver.envoy.listen: {listen}: {error}"),
    }
}

fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        match &accepted {
            Ok(stream) => drop(stream.set_nodelay(true)),
            // Such as too many open files: it does not go away by asking at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        Some((accepted, listener))
    })
}

fn accept_tls(listener: TcpListener, tls: ServerTls) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let shake = move |accepted: io::Result<TcpStream>| {
        let tls = tls.clone();
        async move {
            let stream = accepted?;
            let acceptor = acceptor(&tls).await.map_err(io::Error::other)?;
            timeout(HANDSHAKE, acceptor.accept(stream)).await?
        }
    };
    accept(listener).map(shake).buffer_unordered(AT_ONCE).inspect(|accepted| {
        if let Err(error) = accepted {
            tracing::warn!(%error, "an Envoy could not connect");
        }
    })
}

async fn acceptor(tls: &ServerTls) -> Result<TlsAcceptor, String> {
    let at = |field: &str| format!("driver.envoy.tls.{field}");
    let certificate = secret::read(&at("certificate"), &tls.certificate).await?;
    let key = secret::read(&at("key"), &tls.key).await?;
    let chain = certificates(&certificate).map_err(|e| format!("{}: {e}", at("certificate")))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let key = key.map_err(|_| format!("{}: holds no private key in PEM", at("key")))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let wrong = |e: String| format!("{}: {e}", at("clientCa"));
            let mut roots = RootCertStore::empty();
            for ca in certificates(&secret::read(&at("clientCa"), ca).await?).map_err(wrong)? {
                roots.add(ca).map_err(|e| wrong(e.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| wrong(e.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| format!("driver.envoy.tls: {e}"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("holds no certificate in PEM".to_owned()),
    }
}
