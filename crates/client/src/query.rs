//! Questions to services: core request and reply, answered from memory with the revision and time that they reflect.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use bcs_kit::reads::PATIENCE;
use bcs_schemas::{
    CommandId, Service,
    outcome::Outcome,
    query::{
        AddressView, Answer, Answered, AppPast, AppView, ClusterPast, ClusterView, EventView, HistoryQuery,
        OutcomeQuery, PastQuery, Query, ServiceStatus,
    },
    stream, subject,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Client, Error};

/// How long an answer from memory may take.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Most things on one page. Fewer come when they are large.
const PAGE: u32 = 1000;

impl Client {
    /// Asks anything that a service answers: `bcs.qry.<service>.<kind>.<verb>`.
    pub async fn query<Q, T>(&self, subject: &str, question: &Q) -> Result<Answered<T>, Error>
    where
        Q: Serialize + Sync,
        T: DeserializeOwned,
    {
        self.ask(subject.to_owned(), question, PATIENCE).await
    }

    /// Applications; one of them, when the question names it.
    pub async fn apps(&self, query: &Query) -> Result<Answered<Vec<AppView>>, Error> {
        self.list(Service::Deploy, "app", query).await
    }

    /// One application; none when it does not exist.
    pub async fn app(&self, query: &Query) -> Result<Answered<Option<AppView>>, Error> {
        self.apps(query).await.map(first)
    }

    /// Clusters; one of them, when the question names it.
    pub async fn clusters(&self, query: &Query) -> Result<Answered<Vec<ClusterView>>, Error> {
        self.list(Service::Cluster, "cluster", query).await
    }

    /// One cluster; none when it does not exist.
    pub async fn cluster(&self, query: &Query) -> Result<Answered<Option<ClusterView>>, Error> {
        self.clusters(query).await.map(first)
    }

    /// Addresses in use.
    pub async fn addresses(&self, query: &Query) -> Result<Answered<Vec<AddressView>>, Error> {
        self.list(Service::Network, "address", query).await
    }

    /// How a service does.
    pub async fn service_status(&self, service: Service) -> Result<Answered<ServiceStatus>, Error> {
        let subject = subject::query(service, "service", "status");
        self.ask(subject, &Query::default(), Duration::from_secs(2)).await
    }

    /// The stored outcome of a command; none while it is not decided.
    pub async fn outcome(&self, service: Service, id: CommandId) -> Result<Answered<Option<Outcome>>, Error> {
        let subject = subject::query(service, "outcome", "get");
        self.ask(subject, &OutcomeQuery { command_id: id }, AT_ONCE).await
    }

    /// Commands of a service that the bus keeps and that have no outcome yet; none known when the service never ran.
    pub async fn waiting_commands(&self, service: Service) -> Result<Option<u64>, Error> {
        let (stream, name) = (service.command_stream(), stream::command_consumer(service));
        let found: Result<PullConsumer, _> =
            self.bus().jetstream().get_consumer_from_stream(name, stream).await;
        let info = match found {
            Ok(consumer) => consumer.cached_info().clone(),
            Err(error) => {
                tracing::debug!(%error, %service, "no consumer");
                return Ok(None);
            }
        };
        Ok(Some(info.num_pending + u64::try_from(info.num_ack_pending).unwrap_or_default()))
    }

    /// A list of any kind. Pages are followed to the end, and the revision is the oldest of theirs; a question with a
    /// limit of its own gets just its page.
    pub async fn list<T: DeserializeOwned>(
        &self,
        service: Service,
        kind: &str,
        query: &Query,
    ) -> Result<Answered<Vec<T>>, Error> {
        let within = if query.wait_for.is_some() { PATIENCE } else { AT_ONCE };
        let subject = subject::query(service, kind, "list");
        if query.limit.is_some() {
            return self.ask(subject, query, within).await;
        }
        let mut page = Query { limit: Some(PAGE), ..query.clone() };
        let mut all: Answered<Vec<T>> = self.ask(subject.clone(), &page, within).await?;
        while let Some(after) = all.next.take() {
            page.after = Some(after);
            let more: Answered<Vec<T>> = self.ask(subject.clone(), &page, within).await?;
            all.data.extend(more.data);
            all.revision = all.revision.min(more.revision);
            all.next = more.next;
        }
        Ok(all)
    }

    /// Decisions of a service. Pages are followed to the end; a question with a limit of its own gets just its page.
    pub async fn events_of(
        &self,
        service: Service,
        query: &HistoryQuery,
    ) -> Result<Answered<Vec<EventView>>, Error> {
        let subject = subject::query(service, "event", "list");
        if query.limit.is_some() {
            return self.ask(subject, query, PATIENCE).await;
        }
        let mut page = HistoryQuery { limit: Some(PAGE), ..query.clone() };
        let mut all: Answered<Vec<EventView>> = self.ask(subject.clone(), &page, PATIENCE).await?;
        while let Some(after) = all.next.take() {
            page.after = Some(after);
            let more: Answered<Vec<EventView>> = self.ask(subject.clone(), &page, PATIENCE).await?;
            all.data.extend(more.data);
            all.next = more.next;
        }
        Ok(all)
    }

    /// An application as it was wanted at some moment; none when it did not exist.
    pub async fn past_app(&self, query: &PastQuery) -> Result<Answered<Option<AppPast>>, Error> {
        self.ask(subject::query(Service::Deploy, "app", "past"), query, PATIENCE).await
    }

    /// A cluster as it was meant to be at some moment; none when it did not belong to the platform.
    pub async fn past_cluster(&self, query: &PastQuery) -> Result<Answered<Option<ClusterPast>>, Error> {
        self.ask(subject::query(Service::Cluster, "cluster", "past"), query, PATIENCE).await
    }

    async fn ask<Q, T>(&self, subject: String, question: &Q, within: Duration) -> Result<Answered<T>, Error>
    where
        Q: Serialize + Sync,
        T: DeserializeOwned,
    {
        match self.bus().request(subject, question, within).await? {
            Answer::Ok(answered) => Ok(answered),
            Answer::Error(refused) => Err(Error::Refused(refused)),
        }
    }
}

fn first<T>(found: Answered<Vec<T>>) -> Answered<Option<T>> {
    let Answered { revision, as_of, data, .. } = found;
    Answered { revision, as_of, data: data.into_iter().next(), next: None }
}
