//! Nacos over its HTTP API: an instance for each entry, in the service of its name, beside those of others. It compares
//! nothing when it is written to: the epoch is a configuration of ours and is read before each batch. Instances are
//! persistent, or, if that is asked for, ephemeral and kept alive as long as this sidecar keeps the registry.

mod beats;
mod layout;
mod plan;
mod session;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use bcs_schemas::resource::registry::NacosDriver;
use futures::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use self::{
    beats::{Alive, Kept},
    layout::{Spelling, parts},
    plan::{Step, plan},
    session::Session,
};
use super::{Able, Capabilities, Drift, Driver, Fence, Listing, Owner, OwnerSlot};
use crate::domain::{Change, Entry, Failure, Layout, Outcome, Place};

/// A call each: small, so that a replaced sidecar does not go on for long.
const BATCH: usize = 128;
const AT_ONCE: usize = 16;

/// The driver.
pub struct Nacos {
    settings: NacosDriver,
    spelling: Spelling,
    platform: String,
    installation: String,
    session: tokio::sync::Mutex<Option<Session>>,
    alive: Arc<Alive>,
}

impl Nacos {
    /// Connects only when it is fenced. `zone` is the registry's.
    pub fn new(settings: NacosDriver, zone: &str, owner: &Owner) -> Self {
        Self {
            spelling: Spelling::new(owner, zone, &settings.cluster, settings.ephemeral),
            settings,
            platform: owner.platform.to_string(),
            installation: owner.installation.clone(),
            session: tokio::sync::Mutex::new(None),
            alive: Arc::default(),
        }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.clone();
        session.ok_or_else(|| Failure::Unavailable("nacos: not connected yet".to_owned()))
    }

    fn epoch_name(&self) -> String {
        format!("bcs.epoch.{}", self.spelling.owner)
    }

    async fn open(&self, epoch: u64) -> Result<Session, Failure> {
        let session = Session::open(&self.settings, epoch).await?;
        self.claim(&session).await?;
        let held = number(session.kept(&self.epoch_name()).await?);
        if held > epoch {
            return Err(Failure::Fenced(held));
        }
        if held < epoch {
            session.keep(&self.epoch_name(), &epoch.to_string()).await?;
        }
        Ok(session)
    }

    async fn claim(&self, session: &Session) -> Result<(), Failure> {
        let (name, ours) = (format!("bcs.installation.{}", self.platform), &self.installation);
        match session.kept(&name).await? {
            None => session.keep(&name, ours).await,
            Some(held) if held == *ours => Ok(()),
            Some(other) => Err(Failure::Unavailable(format!(
                "nacos: the owner {} is another installation, {other}, and this one, {ours}, writes nothing: set another owner \
                 here, or delete the configuration {name} of group BCS if the other one is gone for good",
                self.platform
            ))),
        }
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let session = self.session().await?;
        fenced(&session, &self.epoch_name()).await?;
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            let (service, _) = parts(change.place())
                .ok_or_else(|| Failure::Rejected(format!("{} is no service", change.place())))?;
            groups.entry(service).or_default().push(at);
        }
        // Before anything is read: a beat that is under way may register what the reading does not find.
        let hushed = self.hush(changes).await;
        let reads = groups.keys().map(|service| session.instances(service)).collect::<Vec<_>>();
        let found: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut outcomes = vec![Outcome::Again; changes.len()];
        let mut calls = Vec::new();
        for (instances, (service, group)) in found.iter().zip(&groups) {
            let of_service: Vec<&Change> = group.iter().filter_map(|at| changes.get(*at)).collect();
            for (at, (steps, outcome)) in group.iter().zip(plan(&self.spelling, instances, &of_service)) {
                if matches!(outcome, Outcome::Done(_)) {
                    calls.push((*at, *service, steps));
                }
                outcomes[*at] = outcome;
            }
        }
        let done = |at: usize| changes.get(at).into_iter().for_each(|change| self.live(change));
        carry_out(&session, calls, &mut outcomes, done).await?;
        self.restore(changes, &outcomes, hushed);
        Ok(outcomes)
    }

    /// No beat comes between: neither of what is changed, nor of what was at its address before.
    async fn hush(&self, changes: &[Change]) -> BTreeMap<Place, Arc<Kept>> {
        let places = changes.iter().map(Change::place).collect();
        let addresses = changes.iter().filter_map(|change| match change {
            Change::Put { entry, .. } => Some(Kept::address(&entry.name, &self.spelling.instance(entry))),
            Change::Remove { .. } => None,
        });
        self.alive.hush(&places, &addresses.collect::<HashSet<_>>()).await
    }

    /// An entry that was written is kept alive from now on.
    fn live(&self, change: &Change) {
        if let (Change::Put { place, entry, .. }, true) = (change, self.settings.ephemeral) {
            self.alive.keep(place.clone(), Kept::new(&entry.name, self.spelling.instance(entry)));
        }
    }

    /// Where an entry was not written, what was there before is there still, and has to live.
    fn restore(&self, changes: &[Change], outcomes: &[Outcome], mut hushed: BTreeMap<Place, Arc<Kept>>) {
        for (change, outcome) in changes.iter().zip(outcomes) {
            if let (Change::Put { place, .. }, Outcome::Foreign(_) | Outcome::Refused(_)) = (change, outcome)
                && let Some(kept) = hushed.remove(place)
            {
                self.alive.keep(place.clone(), kept);
            }
        }
    }
}

/// Additions first and then what goes, a few at a time; all of them, whatever becomes of one. Whoever has to know is told at once
/// of each that is done.
async fn carry_out(
    session: &Session,
    calls: Vec<(usize, &str, Vec<Step>)>,
    outcomes: &mut [Outcome],
    done: impl Fn(usize),
) -> Result<(), Failure> {
    let (puts, removals): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|(_, _, steps)| steps.iter().any(|s| matches!(s, Step::Register(_))));
    for calls in [puts, removals] {
        let done = &done;
        let calls = calls.into_iter().map(|(at, service, steps)| async move {
            let answer = walk(session, service, steps).await;
            answer.iter().for_each(|()| done(at));
            (at, answer)
        });
        let answers: Vec<_> = stream::iter(calls.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
        for (at, answer) in answers {
            match (answer, outcomes.get_mut(at)) {
                (Err(Failure::Rejected(words)), Some(outcome)) => *outcome = Outcome::Refused(words),
                (answer, _) => answer?,
            }
        }
    }
    Ok(())
}

/// The steps of one change, one after the other.
async fn walk(session: &Session, service: &str, steps: Vec<Step>) -> Result<(), Failure> {
    for step in steps {
        match step {
            Step::Register(instance) => session.register(service, &instance).await?,
            Step::Deregister(instance) => session.deregister(service, &instance).await?,
        }
    }
    Ok(())
}

/// Fails unless the epoch is ours.
async fn fenced(session: &Session, name: &str) -> Result<(), Failure> {
    match number(session.kept(name).await?) {
        held if held > session.epoch => Err(Failure::Fenced(held)),
        held if held == session.epoch => Ok(()),
        held => Err(Failure::Unavailable(format!(
            "nacos: the configuration {name} says epoch {held} instead of {}: somebody changed it",
            session.epoch
        ))),
    }
}

fn number(held: Option<String>) -> u64 {
    held.and_then(|held| held.parse().ok()).unwrap_or_default()
}

impl Layout for Nacos {
    fn place(&self, entry: &Entry) -> Place {
        self.spelling.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.spelling.digest(entry)
    }
}

impl Driver for Nacos {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "nacos",
            batch: BATCH,
            at_once: 1,
            atomic: false,
            compare_and_set: false,
            owner: OwnerSlot::Entry,
            fence: Fence::ReadBefore,
            expires: self.settings.ephemeral,
            // `enabled=false` would keep an entry from new traffic; its clients take it for gone, as ours do.
            drain_state: false,
            weight: true,
            metadata: true,
            list: true,
            watch: false,
            shows: Able::No("does not show instances of others yet: see its console"),
            adopts: Able::No(
                "compares nothing when it is written to, so an instance could be taken from a program that registers itself",
            ),
            purges: Able::No(
                "does not purge yet: remove the instances with the metadata of the owner in its console",
            ),
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            *self.session.lock().await = Some(Box::pin(self.open(epoch)).await?);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async move {
            let session = self.session().await?;
            let mut services = session.services().await?;
            services.retain(|service| self.spelling.may_hold(service));
            let reads = services.iter().map(|service| session.instances(service)).collect::<Vec<_>>();
            let found: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
            let (mut items, mut alive) = (Vec::new(), BTreeMap::new());
            for (service, instances) in services.iter().zip(found) {
                items.extend(self.spelling.items(service, &instances));
                let ours = instances.into_iter().filter(|instance| self.spelling.is_ours(instance));
                let ours = ours.filter(|_| self.settings.ephemeral);
                alive.extend(
                    ours.map(|i| (Place::from(format!("{service}/{}", i.id())), Kept::new(service, i))),
                );
            }
            self.alive.replace(alive);
            Ok(Listing { items, at: 0 })
        })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.write(changes))
    }

    /// Another sidecar may take out from now on what we would keep alive.
    fn stand_down(&self) {
        self.alive.replace(BTreeMap::new());
    }

    /// Nothing is told but beats that fail; as long as the stream is there, which is as long as the registry is kept, instances
    /// live.
    fn drift(&self, _: u64) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        Box::pin(async move {
            if !self.settings.ephemeral {
                return Ok(stream::pending().boxed());
            }
            Ok(beats::begin(self.session().await?, self.epoch_name(), self.alive.clone()))
        })
    }
}
