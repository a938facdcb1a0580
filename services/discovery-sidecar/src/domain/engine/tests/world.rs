//! A registry and a platform in memory, with an engine between them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bcs_schemas::{
    bucket::Keyed,
    observation::{Endpoint, EndpointPhase, Registration, RegistrationState},
};

use super::super::*;
use crate::{
    domain::{Change, Entry, Failure, Item, Now, Outcome, entry::fingerprint},
    testing,
};

/// The simplest layout: a place per incarnation.
pub(super) struct Plain;

impl Layout for Plain {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(format!("{}/{}", entry.name, entry.id))
    }
    fn digest(&self, entry: &Entry) -> u64 {
        fingerprint(&(&entry.name, entry.address, entry.endpoint.weight))
    }
}

/// What lies at a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    Ours(Item),
    Foreign(u64),
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Good,
    /// It failed and nothing was done.
    Lost,
    /// It was done, and the answer was lost.
    LostAfterCommit,
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) registry: BTreeMap<Place, Held>,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
    pub(super) registrations: BTreeMap<String, Registration>,
    /// Uids that the registry does not take.
    pub(super) poison: Vec<String>,
    pub(super) up: Duration,
    pub(super) calls: u32,
    pub(super) puts: u32,
    /// How many removals are not done at once: the registry needs time for them.
    pub(super) slow: u32,
    delay: Duration,
    /// When an incarnation was taken out.
    out: BTreeMap<String, Duration>,
    version: u64,
}

pub(super) fn settings() -> Settings {
    let spec = serde_json::from_value(serde_json::json!({ "driver": { "file": { "directory": "/x" } } }));
    Settings {
        cluster: testing::name("sim-a"),
        registry: testing::name("dns"),
        naming: Naming::of(&testing::name("dns"), &spec.expect("a spec")),
        unready_hold: Duration::from_secs(1),
        deregistration_delay: Duration::ZERO,
        report_after: Duration::from_millis(100),
        guard: guard::Limits::default(),
        batch: 8,
        lists: true,
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::remembering(Duration::ZERO)
    }

    /// A registry whose clients remember what they were told for so long.
    pub(super) fn remembering(delay: Duration) -> Self {
        let mut world = Self {
            engine: Engine::new(Settings { deregistration_delay: delay, ..settings() }, Arc::new(Plain)),
            registry: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            registrations: BTreeMap::new(),
            poison: vec![],
            up: Duration::ZERO,
            calls: 0,
            puts: 0,
            slow: 0,
            delay,
            out: BTreeMap::new(),
            version: 1,
        };
        world.engine.cluster_known(true);
        world
    }

    pub(super) fn now(&self) -> Now {
        let wall = jiff::Timestamp::UNIX_EPOCH.checked_add(self.up).expect("in range");
        Now { wall, up: self.up }
    }

    pub(super) fn set(&mut self, endpoint: Endpoint) {
        self.engine.observe(&endpoint.key(), Arc::new(endpoint.clone()), self.now());
        self.endpoints.insert(endpoint.key(), endpoint);
    }

    pub(super) fn phase(&mut self, key: &str, phase: EndpointPhase) {
        if let Some(endpoint) = self.endpoints.get(key).cloned() {
            self.set(Endpoint { phase, ..endpoint });
        }
    }

    /// The agent deletes the key.
    pub(super) fn delete(&mut self, key: &str) {
        self.endpoints.remove(key);
        self.engine.vanished(key, self.now());
        self.prove(true);
    }

    /// What the shell does: looks for the mark of a deletion.
    pub(super) fn prove(&mut self, deleted: bool) {
        for key in self.engine.take_unproven() {
            match (self.endpoints.contains_key(&*key), deleted) {
                (true, _) => (),
                (false, true) => self.engine.deleted(&key, self.now()),
                (false, false) => self.engine.missing(&key, self.now()),
            }
        }
    }

    pub(super) fn read(&mut self) {
        let items = self.ours().cloned().collect();
        self.engine.registry_read(items, self.now());
    }

    pub(super) fn ours(&self) -> impl Iterator<Item = &Item> {
        self.registry.values().filter_map(|held| match held {
            Held::Ours(item) => Some(item),
            Held::Foreign(_) => None,
        })
    }

    /// A new process: it knows what the platform and the registry hold.
    pub(super) fn restart(&mut self) {
        let settings = Settings { deregistration_delay: self.delay, ..settings() };
        self.engine = Engine::new(settings, Arc::new(Plain));
        self.engine.cluster_known(true);
        for endpoint in self.endpoints.clone().into_values() {
            self.engine.observe(&endpoint.key(), Arc::new(endpoint), self.now());
        }
        self.engine.adopt(self.registrations.clone().into_values(), self.now());
        self.read();
    }

    /// One call to the registry, if there is something to do.
    pub(super) fn call(&mut self, answer: Answer) -> bool {
        let batch = self.engine.next_batch(usize::MAX);
        if batch.is_empty() {
            return false;
        }
        self.calls += 1;
        let bad =
            |c: &Change| matches!(c, Change::Put { entry, .. } if self.poison.contains(&entry.endpoint.uid));
        if batch.iter().any(bad) {
            let rejected = Failure::Rejected("the registry does not like it".into());
            self.engine.failed(&batch, &rejected, self.now(), 0.5);
            return true;
        }
        let outcomes = if answer == Answer::Lost { vec![] } else { self.commit(&batch) };
        match answer {
            Answer::Good => self.engine.answered(batch, outcomes, self.now(), 0.5),
            _ => self.engine.failed(&batch, &Failure::Unavailable("no answer".into()), self.now(), 0.5),
        }
        true
    }

    /// All or nothing, as a transaction.
    fn commit(&mut self, batch: &[Change]) -> Vec<Outcome> {
        if self.slow > 0 && batch.iter().any(|change| matches!(change, Change::Remove { .. })) {
            self.slow -= 1;
            return batch.iter().map(|_| Outcome::Waits("2 connections are left".into())).collect();
        }
        let outcomes: Vec<Outcome> = batch.iter().map(|change| self.judge(change)).collect();
        if outcomes.iter().any(|o| !matches!(o, Outcome::Done(_))) {
            return outcomes
                .into_iter()
                .map(|o| if matches!(o, Outcome::Done(_)) { Outcome::Again } else { o })
                .collect();
        }
        self.version += 1;
        let version = self.version;
        for change in batch {
            match change {
                Change::Remove { place, .. } => {
                    if let Some(Held::Ours(item)) = self.registry.remove(place) {
                        self.out.insert(item.uid.to_string(), self.up);
                    }
                }
                Change::Put { place, entry, digest, .. } => {
                    self.puts += 1;
                    let (key, uid) = (Arc::from(entry.key()), Arc::from(entry.endpoint.uid.as_str()));
                    let item = Item { place: place.clone(), key, uid, digest: *digest, version };
                    self.registry.insert(place.clone(), Held::Ours(item));
                }
            }
        }
        batch.iter().map(|_| Outcome::Done(version)).collect()
    }

    fn judge(&self, change: &Change) -> Outcome {
        let expected = change.expects();
        match self.registry.get(change.place()) {
            Some(Held::Foreign(_)) => {
                Outcome::Foreign(format!("{} belongs to somebody else", change.place()))
            }
            Some(Held::Ours(item)) if Some(item.version) != expected => Outcome::Differs(Some(item.clone())),
            None if expected.is_some() => Outcome::Differs(None),
            _ => Outcome::Done(0),
        }
    }

    /// Everything that the engine wants to say, checked against what is true.
    pub(super) fn report(&mut self) {
        for report in self.engine.reports(self.now()) {
            match report {
                Report::Delete(key) => {
                    let registration = self.registrations.remove(&key);
                    // Of what is gone altogether nobody waits to hear.
                    let there = |r: &Registration| self.endpoints.values().any(|e| e.uid == r.uid);
                    if let Some(registration) = registration.filter(there) {
                        self.is_out(&registration);
                    }
                }
                Report::Put(registration) => {
                    let before = self.registrations.get(&registration.key());
                    let again =
                        before.is_some_and(|r| (&r.uid, r.state) == (&registration.uid, registration.state));
                    if registration.state == RegistrationState::Drained && !again {
                        self.is_out(&registration);
                    }
                    self.registrations.insert(registration.key(), registration);
                }
            }
        }
    }

    /// It is not there, and nobody remembers it.
    fn is_out(&self, registration: &Registration) {
        let Registration { uid, .. } = registration;
        assert!(self.ours().all(|item| *item.uid != **uid), "{uid} is said to be out and is not");
        let early = self.out.get(uid).is_some_and(|out| self.up < *out + self.delay);
        assert!(!early, "{uid} is said to be out while clients remember it");
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.up += time;
        self.engine.tick(self.now());
    }

    /// Until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..200 {
            self.prove(true);
            if !self.engine.trusted() {
                self.read();
            }
            while self.call(Answer::Good) {}
            self.pass(Duration::from_millis(200));
            self.report();
        }
    }

    pub(super) fn state(&self, instance: &str) -> Option<RegistrationState> {
        self.registrations.get(&format!("sim-a.shop.{instance}.dns")).map(|r| r.state)
    }
}
