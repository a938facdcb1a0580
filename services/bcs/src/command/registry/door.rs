//! The way to a registry: only the sidecar that keeps it can reach it, so it is asked.

use std::time::Duration;

use bcs_client::Client;
use bcs_kit::bus;
use bcs_schemas::{
    Name,
    adoption::{self, Adopted, Pick, RegistryAsk, RegistryEntry, RegistryPage, RegistryTold},
    bucket::REGISTRIES,
    observation::RegistryStatus,
    query::{Answer, Answered},
    subject,
};
use clap::Args;

use crate::{Failure, failure::Exit, session::Session, view::ago};

/// A registry has to be read as a whole, and perhaps to be reached first.
const PATIENCE: Duration = Duration::from_secs(60);
/// How old the word of a sidecar may be that is alive.
const FRESH: Duration = Duration::from_secs(15);

/// Between two times that it is asked while nobody listens.
const AGAIN: Duration = Duration::from_millis(250);

/// Which registry.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The registry
    pub(super) name: Name,
    /// As the sidecar of this cluster keeps it; needed when several clusters have it
    #[arg(long)]
    pub(super) cluster: Option<Name>,
}

/// The sidecar that keeps a registry for a cluster.
pub(super) struct Door {
    client: Client,
    actor: String,
    pub(super) registry: Name,
    pub(super) cluster: Name,
    statuses: Vec<RegistryStatus>,
}

/// What was removed, and what else there is to say.
#[derive(Debug, Default)]
pub(super) struct Purged {
    pub(super) removed: u64,
    pub(super) marks: Vec<String>,
    pub(super) kept: Vec<String>,
}

impl Door {
    pub(super) async fn find(session: &Session, which: &Which) -> Result<Self, Failure> {
        let client = session.connect().await?;
        let statuses: Vec<RegistryStatus> = client.observed(REGISTRIES, ">").await?.into_values().collect();
        let clusters: Vec<&Name> =
            statuses.iter().filter(|status| status.registry == which.name).map(|s| &s.cluster).collect();
        let cluster = match (&which.cluster, clusters.as_slice()) {
            (Some(cluster), clusters) if clusters.contains(&cluster) => cluster.clone(),
            (None, [cluster]) => (*cluster).clone(),
            (Some(cluster), _) => {
                let Which { name, .. } = which;
                return Err(Failure::failed(format!(
                    "no sidecar keeps registry {name} for cluster {cluster}: see bcs get registries"
                )));
            }
            (None, []) => {
                let Which { name, .. } = which;
                return Err(Failure::failed(format!(
                    "no registry {name} is kept by any sidecar: see bcs get registries"
                )));
            }
            (None, several) => {
                let several: Vec<&str> = several.iter().map(|cluster| cluster.as_str()).collect();
                return Err(Failure::usage(format!(
                    "registry {} is kept for several clusters: choose with --cluster one of {}",
                    which.name,
                    several.join(", ")
                )));
            }
        };
        Ok(Self { client, actor: session.actor(), registry: which.name.clone(), cluster, statuses })
    }

    async fn ask(&self, ask: &RegistryAsk) -> Result<Answered<RegistryTold>, Failure> {
        let subject = subject::registry(self.client.bus().site(), &self.cluster, &self.registry);
        let end = tokio::time::Instant::now() + FRESH / 3;
        let answer: Result<Answer<RegistryTold>, bus::Error> = loop {
            match self.client.bus().insist(subject.clone(), ask, PATIENCE).await {
                // It has only begun, or another one is taking over.
                Err(bus::Error::NoResponder(_)) if self.is_alive() && tokio::time::Instant::now() < end => {
                    tokio::time::sleep(AGAIN).await;
                }
                answer => break answer,
            }
        };
        match answer {
            Ok(Answer::Ok(answered)) => Ok(answered),
            Ok(Answer::Error(refused)) => {
                let message = format!("registry {} of {}: {}", self.registry, self.cluster, refused.message);
                Err(Failure { exit: Exit::Rejected, message })
            }
            Err(bus::Error::NoResponder(_)) => Err(Failure::failed(self.silent())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it was heard of a moment before we asked.
    fn is_alive(&self) -> bool {
        let now = self.client.clock().now();
        let its =
            |status: &&RegistryStatus| status.registry == self.registry && status.cluster == self.cluster;
        let mut its = self.statuses.iter().filter(its);
        its.any(|status| now.duration_since(status.observed_at).unsigned_abs() < FRESH)
    }

    fn silent(&self) -> String {
        let its =
            |status: &&RegistryStatus| status.registry == self.registry && status.cluster == self.cluster;
        let now = self.client.clock().now();
        let heard = self.statuses.iter().find(its).map(|status| ago(status.observed_at, now));
        let heard = heard.unwrap_or_else(|| "never".to_owned());
        format!(
            "no sidecar keeps registry {} for cluster {} now, the last one was heard of {heard}: start it, or ask when another \
             has taken over; on a bus with keys the operator's key is needed",
            self.registry, self.cluster
        )
    }

    /// Everything that is there or should be, all pages.
    pub(super) async fn entries(&self) -> Result<RegistryPage, Failure> {
        let (mut all, mut after): (Option<RegistryPage>, _) = (None, None);
        loop {
            let answered = self.ask(&RegistryAsk::Entries { limit: None, after }).await?;
            let RegistryTold::Entries(page) = answered.data else { return Err(odd()) };
            match &mut all {
                None => all = Some(page),
                Some(all) => all.entries.extend(page.entries),
            }
            after = answered.next;
            if after.is_none() {
                return all.ok_or_else(odd);
            }
        }
    }

    /// In portions; `each` hears how many are done.
    pub(super) async fn adopt(
        &self,
        entries: &[&RegistryEntry],
        from: Option<&str>,
        mut each: impl FnMut(usize),
    ) -> Result<Vec<Adopted>, Failure> {
        let picks: Vec<Pick> = entries
            .iter()
            .filter_map(|entry| Some(Pick { place: entry.place.clone(), address: entry.address? }))
            .collect();
        let mut all = Vec::new();
        for some in picks.chunks(adoption::AT_ONCE) {
            let ask = RegistryAsk::Adopt {
                entries: some.to_vec(),
                from: from.map(ToOwned::to_owned),
                by: self.actor.clone(),
            };
            let RegistryTold::Adopted { outcomes } = self.ask(&ask).await?.data else { return Err(odd()) };
            all.extend(outcomes);
            each(all.len());
        }
        Ok(all)
    }

    /// Until nothing is left; `each` hears how many went.
    pub(super) async fn purge(
        &self,
        owner: &str,
        force: bool,
        mut each: impl FnMut(u64),
    ) -> Result<Purged, Failure> {
        let mut all = Purged::default();
        loop {
            let ask = RegistryAsk::Purge { owner: owner.to_owned(), force, by: self.actor.clone() };
            let RegistryTold::Purged { removed, left, marks, kept } = self.ask(&ask).await?.data else {
                return Err(odd());
            };
            all.removed += removed;
            all.marks.extend(marks);
            all.kept = kept;
            if left == 0 || removed == 0 {
                return Ok(all);
            }
            each(all.removed);
        }
    }

    /// Those among these owners whose sidecar was heard of just now; we are `us`.
    pub(super) fn alive<'a>(&self, us: &str, owners: impl Iterator<Item = &'a str>) -> Vec<String> {
        let now = self.client.clock().now();
        let platform = us.split('.').next().unwrap_or_default();
        let alive = |owner: &&str| {
            let mut parts = owner.split('.');
            let named = (parts.next(), parts.next(), parts.next(), parts.next());
            let (Some(its), Some(cluster), Some(registry), None) = named else { return false };
            let mut statuses = self.statuses.iter();
            its == platform
                && statuses.any(|status| {
                    let age = now.duration_since(status.observed_at);
                    status.cluster.as_str() == cluster
                        && status.registry.as_str() == registry
                        && age.unsigned_abs() < FRESH
                })
        };
        owners.filter(alive).map(ToOwned::to_owned).collect()
    }
}

fn odd() -> Failure {
    Failure::failed("the sidecar answered another question: it is of another version than this program")
}
