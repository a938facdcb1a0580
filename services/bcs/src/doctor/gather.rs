//! Asks for the facts: everything at once, each within its time, and nothing that we may not ask, because the server is silent
//! then.

use std::{collections::BTreeMap, time::Duration};

use bcs_client::Client;
use bcs_kit::bus::{
    self,
    survey::{self, Lag, Me},
};
use bcs_schemas::{
    Service,
    bucket::{Bucket, CLUSTERS, LEASES, REGISTRIES},
    query::Query,
    stream,
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    certificate,
    facts::{Asked, At, Dated, Facts},
    need,
};
use crate::{Failure, session::Session};

/// An answer takes no longer than this, or it is none.
const WITHIN: Duration = Duration::from_secs(2);
/// Who we are is asked first, and everything else after it.
const FIRST_WITHIN: Duration = Duration::from_millis(700);

/// Asks for all of it.
pub(crate) async fn gather(session: &Session, client: &Client, copies: usize) -> Result<Facts, Failure> {
    let context = session.context()?;
    let url = context.bus().url;
    let asking = Asking { client, me: who_am_i(client).await };
    let round_trip = asking.round_trip();
    let certificates = asking.certificates(&url);
    let bus = asking.bus(copies);
    let services = asking.services();
    let observations = asking.observations();
    let (
        round_trip,
        certificates,
        (parts, room),
        (consumers, services, clusters),
        (leases, heartbeats, registries),
    ) = tokio::join!(round_trip, certificates, bus, services, observations);
    Ok(Facts {
        url: bus::without_password(&url),
        version: env!("CARGO_PKG_VERSION"),
        place: (client.bus().site().clone(), session.project()?),
        now: client.clock().now(),
        server: client.bus().server(),
        me: asking.me,
        round_trip,
        certificates,
        parts,
        room,
        consumers,
        services,
        leases,
        clusters,
        heartbeats,
        registries,
    })
}

async fn who_am_i(client: &Client) -> Asked<At<Me>> {
    let sent = client.clock().now();
    let me = within(FIRST_WITHIN, client.bus().who_am_i()).await?;
    Ok(At { theirs: me.time, ours: middle(sent, client.clock().now()), answer: me })
}

struct Asking<'a> {
    client: &'a Client,
    me: Asked<At<Me>>,
}

impl Asking<'_> {
    /// Asks if we may; whoever does not know may try.
    async fn ask<T, E: Into<Failure>>(
        &self,
        subject: &str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Asked<T> {
        let rights = self.me.as_ref().ok().and_then(|me| me.answer.rights.as_ref());
        if rights.is_some_and(|rights| !need::allows(&rights.publish, subject)) {
            return Err(format!("this user may not publish on {subject}"));
        }
        within(WITHIN, answer).await
    }

    async fn round_trip(&self) -> Asked<Duration> {
        within(WITHIN, self.client.bus().round_trip()).await
    }

    async fn certificates(&self, url: &str) -> Vec<(String, Asked<Timestamp>)> {
        if !self.client.bus().server().tls {
            return Vec::new();
        }
        let servers = bus::servers(url).into_iter().map(|(host, port)| async move {
            let until =
                async { certificate::until(&host, port).await.map_err(|e| Failure::failed(e.to_string())) };
            (format!("{host}:{port}"), within(WITHIN, until).await)
        });
        join_all(servers).await
    }

    async fn bus(
        &self,
        copies: usize,
    ) -> (BTreeMap<String, Asked<Option<survey::Found>>>, Asked<survey::Room>) {
        let parts = survey::catalogue().into_iter().map(|part| async move {
            let name = part.stream();
            let found = self.ask(&need::info(&name), self.client.bus().examine(&part, copies)).await;
            (name, found)
        });
        let parts = parts.collect::<FuturesUnordered<_>>().collect();
        tokio::join!(parts, self.ask(need::ROOM, self.client.bus().room()))
    }

    async fn services(
        &self,
    ) -> (
        Vec<(Service, String, Asked<Option<Lag>>)>,
        Vec<(Service, Asked<At<bcs_schemas::query::ServiceStatus>>)>,
        Asked<Vec<bcs_schemas::query::ClusterView>>,
    ) {
        let consumers = join_all(Service::ALL.map(|service| async move {
            let (stream, name) = (service.command_stream(), stream::command_consumer(service));
            let lag = self.client.bus().lag(stream, &name);
            let lag = self.ask(&need::consumer(stream, &name), lag).await;
            (service, name, lag)
        }));
        let services =
            join_all(Service::ALL.map(|service| async move { (service, self.status(service).await) }));
        let (query, subject) = (Query::default(), need::clusters());
        let clusters = self.ask(&subject, self.client.clusters(&query));
        let (consumers, services, clusters) = tokio::join!(consumers, services, clusters);
        (consumers, services, clusters.map(|answer| answer.data))
    }

    async fn status(&self, service: Service) -> Asked<At<bcs_schemas::query::ServiceStatus>> {
        let sent = self.client.clock().now();
        let answered = self.ask(&need::status(service), self.client.service_status(service)).await?;
        let ours = middle(sent, self.client.clock().now());
        Ok(At { answer: answered.data, theirs: answered.as_of, ours })
    }

    async fn observations(
        &self,
    ) -> (
        Asked<Dated<String>>,
        Asked<Dated<bcs_schemas::observation::ClusterHealth>>,
        Asked<Dated<bcs_schemas::observation::RegistryStatus>>,
    ) {
        tokio::join!(self.observed(LEASES), self.observed(CLUSTERS), self.observed(REGISTRIES))
    }

    async fn observed<T: Serialize + DeserializeOwned>(&self, bucket: Bucket<T>) -> Asked<Dated<T>> {
        let listing = async {
            let store = self.client.bus().bucket(bucket).await?;
            store.list_dated(">").await
        };
        self.ask(&need::watch(bucket.name), Box::pin(listing)).await
    }
}

async fn within<T, E: Into<Failure>>(time: Duration, answer: impl Future<Output = Result<T, E>>) -> Asked<T> {
    match tokio::time::timeout(time, answer).await {
        Ok(answer) => answer.map_err(|error| error.into().message),
        Err(_) => Err(format!("no answer within {time:?}")),
    }
}

fn middle(sent: Timestamp, received: Timestamp) -> Timestamp {
    sent.saturating_add(received.duration_since(sent) / 2).unwrap_or(received)
}
