//! What must be true when everything is quiet, seen by a client of the registry that is not ours, and what must always be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    time::Duration,
};

use bcs_schemas::{
    bucket,
    observation::{EndpointPhase, Registration, RegistrationState},
};
use tokio::time::timeout;

use super::{Faulty, load::Load};
use crate::fixture::Nats;

/// What is not right.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    pub(super) leaked: BTreeSet<IpAddr>,
    pub(super) missing: BTreeSet<IpAddr>,
    /// What others had, and have.
    pub(super) foreign: Option<(String, String)>,
    /// More or fewer marks of ours than entries.
    marks: Option<(usize, usize)>,
    /// What is said and is not so.
    said: Vec<String>,
}

/// Addresses of others, so that they can be told from ours.
pub(super) fn is_foreign(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[..3] == [192, 0, 2])
}

async fn registrations(nats: &Nats) -> Result<Vec<Registration>, String> {
    let read = async {
        let bucket = nats.bus.bucket(bucket::REGISTRATIONS).await?;
        bucket.list(">").await
    };
    match timeout(Duration::from_secs(2), read).await {
        Ok(Ok(found)) => Ok(found.into_values().collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the bus does not answer".to_owned()),
    }
}

/// Everything that is not right now.
pub(super) async fn wrong<S: Faulty>(site: &S, nats: &Nats, load: &Load, theirs: &str) -> Wrong {
    let mut wrong = Wrong::default();
    let wanted: BTreeSet<IpAddr> = load
        .endpoints()
        .filter(|(_, e)| e.phase == EndpointPhase::Ready)
        .flat_map(|(_, e)| e.addresses.clone())
        .collect();
    let ours: BTreeSet<IpAddr> =
        site.addresses().await.into_iter().filter(|address| !is_foreign(address)).collect();
    wrong.leaked = &ours - &wanted;
    wrong.missing = &wanted - &ours;
    let now = site.theirs().await;
    if now != theirs {
        wrong.foreign = Some((theirs.to_owned(), now));
    }
    wrong.marks = site.marks().await.map(|found| (found, wanted.len())).filter(|(found, all)| found != all);
    match registrations(nats).await {
        Ok(said) => wrong.said = untrue(load, said),
        Err(error) => wrong.said.push(error),
    }
    wrong
}

/// What is said of each instance, held against how it is.
fn untrue(load: &Load, said: Vec<Registration>) -> Vec<String> {
    use bucket::Keyed;
    let mut said: BTreeMap<String, Registration> = said.into_iter().map(|r| (r.key(), r)).collect();
    let mut untrue = Vec::new();
    for (key, endpoint) in load.endpoints() {
        let state = match endpoint.phase {
            EndpointPhase::Ready => RegistrationState::Confirmed,
            _ => RegistrationState::Drained,
        };
        match said.remove(&format!("{key}.dns")) {
            Some(r) if r.state == state && r.uid == endpoint.uid => (),
            found => untrue.push(format!("{key} should be {state:?} as {}: {found:?}", endpoint.uid)),
        }
    }
    untrue.extend(said.into_iter().map(|(key, r)| format!("{key} is gone, but: {r:?}")));
    untrue
}

/// Instances that were said to be out, and are in: uids, and words.
pub(super) async fn out_and_in<S: Faulty>(site: &S, nats: &Nats) -> BTreeMap<String, String> {
    let Ok(said) = registrations(nats).await else { return BTreeMap::new() };
    let out = said.into_iter().filter(|r| r.state == RegistrationState::Drained);
    let addresses = site.addresses().await;
    out.filter(|r| r.address.parse::<std::net::SocketAddr>().is_ok_and(|a| addresses.contains(&a.ip())))
        .map(|r| {
            let words = format!("{} ({}) is said to be out since {} and is in", r.uid, r.address, r.since);
            (r.uid, words)
        })
        .collect()
}

impl Wrong {
    pub(super) fn is_nothing(&self) -> bool {
        self.leaked.is_empty()
            && self.missing.is_empty()
            && self.foreign.is_none()
            && self.marks.is_none()
            && self.said.is_empty()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leaked, missing, foreign, marks, said } = self;
        writeln!(f, "{} leaked {leaked:?}, {} missing {missing:?}", leaked.len(), missing.len())?;
        if let Some((before, after)) = foreign {
            writeln!(f, "others had {before:?}, and have {after:?}")?;
        }
        if let Some((found, all)) = marks {
            writeln!(f, "{found} marks of ours for {all} entries")?;
        }
        said.iter().try_for_each(|words| writeln!(f, "{words}"))
    }
}
