//! The calls that Envoys make: one stream for everything that they want (ADS), or one for endpoints alone; in both ways of
//! speaking. Only endpoints are served. What else an Envoy asks for is not answered: an empty answer would take from it what it
//! had, and without one it goes on when its `initial_fetch_timeout` is over.

use std::sync::Arc;

use envoy_types::pb::{
    envoy::service::{
        discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
            aggregated_discovery_service_server::AggregatedDiscoveryService,
        },
        endpoint::v3::endpoint_discovery_service_server::EndpointDiscoveryService,
    },
    google::rpc,
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::{
    hub::Hub,
    layout::type_url,
    session::{Heard, Names, Push},
};

/// What an error may take of a status.
const LONGEST: usize = 500;

/// Answers as long as its sender is there.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) hub: Arc<Hub>,
    pub(super) ending: watch::Receiver<()>,
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// A stream, from the first thing that an Envoy says until it ends.
struct Talk<T> {
    hub: Arc<Hub>,
    id: u64,
    requests: Streaming<T>,
    pushes: watch::Receiver<u64>,
    ending: watch::Receiver<()>,
    others: Vec<String>,
}

impl<T> Drop for Talk<T> {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}

impl<T: Said> Talk<T> {
    async fn next(&mut self) -> Option<Push> {
        loop {
            if let Some(push) = self.hub.next(self.id) {
                return Some(push);
            }
            tokio::select! {
                request = self.requests.next() => self.hear(request?.ok()?),
                changed = self.pushes.changed() => changed.ok()?,
                _ = self.ending.changed() => return None,
            }
        }
    }

    fn hear(&mut self, request: T) {
        // A stream for endpoints alone need not say so.
        if request.kind().is_empty() || request.kind() == type_url() {
            return self.hub.hear(self.id, request.heard());
        }
        if !self.others.iter().any(|other| other == request.kind()) {
            self.others.push(request.kind().to_owned());
            tracing::warn!(kind = request.kind(), "an Envoy asks for what is not served here");
        }
    }
}

/// A request in either way of speaking.
trait Said: Send + 'static {
    type Answer: Send + 'static;
    fn kind(&self) -> &str;
    fn heard(self) -> Heard;
    fn answer(push: Push) -> Self::Answer;
}

fn words(error: Option<rpc::Status>) -> Option<String> {
    error.map(|error| error.message.chars().take(LONGEST).collect())
}

impl Said for DiscoveryRequest {
    type Answer = DiscoveryResponse;

    fn kind(&self) -> &str {
        &self.type_url
    }

    fn heard(self) -> Heard {
        Heard {
            node: self.node.map(|node| node.id),
            names: Names::All(self.resource_names),
            nonce: self.response_nonce,
            error: words(self.error_detail),
        }
    }

    fn answer(push: Push) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: push.version,
            resources: push.clusters.into_iter().map(|(_, _, assignment)| assignment).collect(),
            type_url: type_url(),
            nonce: push.nonce,
            ..DiscoveryResponse::default()
        }
    }
}

impl Said for DeltaDiscoveryRequest {
    type Answer = DeltaDiscoveryResponse;

    fn kind(&self) -> &str {
        &self.type_url
    }

    fn heard(self) -> Heard {
        let (more, less) = (self.resource_names_subscribe, self.resource_names_unsubscribe);
        Heard {
            node: self.node.map(|node| node.id),
            names: Names::Change { more, less },
            nonce: self.response_nonce,
            error: words(self.error_detail),
        }
    }

    fn answer(push: Push) -> DeltaDiscoveryResponse {
        let resource = |(name, version, assignment)| Resource {
            name,
            version,
            resource: Some(assignment),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            system_version_info: push.version,
            resources: push.clusters.into_iter().map(resource).collect(),
            type_url: type_url(),
            nonce: push.nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}

impl Service {
    fn talk<T: Said>(&self, request: Request<Streaming<T>>) -> Response<Answers<T::Answer>> {
        let (id, pushes) = self.hub.join();
        let talk = Talk {
            hub: self.hub.clone(),
            id,
            requests: request.into_inner(),
            pushes,
            ending: self.ending.clone(),
            others: Vec::new(),
        };
        let answers = stream::unfold(talk, async |mut talk| {
            let push = talk.next().await?;
            Some((Ok(T::answer(push)), talk))
        });
        Response::new(answers.boxed())
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(self.talk(request))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(self.talk(request))
    }
}

#[tonic::async_trait]
impl EndpointDiscoveryService for Service {
    type StreamEndpointsStream = Answers<DiscoveryResponse>;
    type DeltaEndpointsStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_endpoints(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamEndpointsStream>, Status> {
        Ok(self.talk(request))
    }

    async fn delta_endpoints(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaEndpointsStream>, Status> {
        Ok(self.talk(request))
    }

    async fn fetch_endpoints(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("endpoints are told in a stream: expected api_type GRPC"))
    }
}
