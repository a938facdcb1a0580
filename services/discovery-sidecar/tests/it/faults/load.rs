//! Instances that come, change and go on the bus all the time, and what the registry should hold of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bcs_kit::{Bus, Clock};
use bcs_schemas::{
    bucket::{self, Keyed},
    observation::{Endpoint, EndpointPhase, RegistrationState},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IteratorRandom};
use tokio::time::{sleep, timeout};

use crate::fixture::{LONG, endpoint, wait_until};

/// The bus answers within this, or it is down.
const WITHIN: Duration = Duration::from_millis(500);
const FEWEST: usize = 4;
const MOST: usize = 25;

pub(super) struct Load {
    random: StdRng,
    bus: Bus,
    last: u32,
    /// What should be on the bus under each key.
    wanted: BTreeMap<String, Option<Endpoint>>,
    /// What may not be there yet.
    unwritten: BTreeSet<String>,
    pub(super) done: u64,
}

impl Load {
    pub(super) fn new(bus: Bus) -> Self {
        Self {
            random: StdRng::seed_from_u64(0),
            bus,
            last: 0,
            wanted: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            done: 0,
        }
    }

    /// From here on as this seed says.
    pub(super) fn seed(&mut self, seed: u64) {
        self.random = StdRng::seed_from_u64(!seed);
    }

    /// Until somebody drops it.
    pub(super) async fn run(&mut self) {
        loop {
            sleep(Duration::from_millis(40)).await;
            self.act().await;
            self.write().await;
        }
    }

    /// What hangs in the air comes to its end, and everything is told.
    pub(super) async fn settle(&mut self) {
        let starting: Vec<String> = self.keys(|e| e.phase == EndpointPhase::Starting);
        starting.into_iter().for_each(|key| self.change(&key, |e| e.phase = EndpointPhase::Ready));
        wait_until(LONG * 2, async || {
            self.write().await;
            if self.unwritten.is_empty() {
                Ok(())
            } else {
                Err(format!("{:?} cannot be written", self.unwritten))
            }
        })
        .await;
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&String, &Endpoint)> {
        self.wanted.iter().filter_map(|(key, endpoint)| Some((key, endpoint.as_ref()?)))
    }

    fn keys(&self, which: impl Fn(&Endpoint) -> bool) -> Vec<String> {
        self.endpoints().filter(|(_, e)| which(e)).map(|(key, _)| key.clone()).collect()
    }

    fn one(&mut self, phase: EndpointPhase) -> Option<String> {
        let keys = self.keys(|e| e.phase == phase);
        keys.into_iter().choose(&mut self.random)
    }

    fn set(&mut self, endpoint: Endpoint) {
        let key = endpoint.key();
        self.unwritten.insert(key.clone());
        self.wanted.insert(key, Some(endpoint));
    }

    fn change(&mut self, key: &str, change: impl FnOnce(&mut Endpoint)) {
        if let Some(Some(endpoint)) = self.wanted.get_mut(key) {
            change(endpoint);
            endpoint.generation += 1;
            self.unwritten.insert(key.to_owned());
        }
    }

    fn delete(&mut self, key: String) {
        self.wanted.insert(key.clone(), None);
        self.unwritten.insert(key);
    }

    fn fresh(&mut self) -> Endpoint {
        self.last += 1;
        endpoint(self.last)
    }

    async fn act(&mut self) {
        self.done += 1;
        let ready = self.keys(|e| e.phase == EndpointPhase::Ready).len();
        match self.random.random_range(0..100) {
            0..35 if ready < MOST => {
                let phase = match self.random.random_range(0..2) {
                    0 => EndpointPhase::Starting,
                    _ => EndpointPhase::Ready,
                };
                let fresh = self.fresh();
                self.set(Endpoint { phase, ..fresh });
            }
            35..58 if ready > FEWEST => {
                let key = self.one(EndpointPhase::Ready);
                key.into_iter().for_each(|key| self.change(&key, |e| e.phase = EndpointPhase::Draining));
            }
            58..72 => self.stop_one().await,
            // Deleted without a word before.
            72..77 if ready > FEWEST => {
                let key = self.one(EndpointPhase::Ready);
                key.into_iter().for_each(|key| self.delete(key));
            }
            // Another incarnation under the same key.
            77..82 => {
                let (key, fresh) = (self.one(EndpointPhase::Ready), self.fresh());
                let before = key.and_then(|key| self.wanted.get(&key).cloned().flatten());
                before.into_iter().for_each(|before| {
                    self.set(Endpoint { instance: before.instance, ..fresh.clone() });
                });
            }
            82..86 => {
                let (key, weight) = (self.one(EndpointPhase::Ready), self.random.random_range(1..100));
                key.into_iter().for_each(|key| self.change(&key, |e| e.weight = weight));
            }
            86..90 if ready > FEWEST => {
                let key = self.one(EndpointPhase::Ready);
                key.into_iter().for_each(|key| self.change(&key, |e| e.phase = EndpointPhase::Starting));
            }
            90..95 => {
                let key = self.one(EndpointPhase::Starting);
                key.into_iter().for_each(|key| self.change(&key, |e| e.phase = EndpointPhase::Ready));
            }
            // The same once more.
            95.. => {
                let key = self.wanted.keys().choose(&mut self.random).cloned();
                self.unwritten.extend(key);
            }
            _ => (),
        }
    }

    /// One that drains is stopped: as the platform does, when it was said to be out; now and then without waiting for that.
    async fn stop_one(&mut self) {
        let Some(key) = self.one(EndpointPhase::Draining) else { return };
        let uid = self.wanted.get(&key).and_then(Option::as_ref).map(|e| e.uid.clone());
        let said = async {
            let bucket = self.bus.bucket(bucket::REGISTRATIONS).await.ok()?;
            bucket.get(&format!("{key}.dns")).await.ok().flatten()
        };
        let said = timeout(WITHIN, said).await.ok().flatten();
        let out = said.is_some_and(|(r, _)| r.state == RegistrationState::Drained && Some(r.uid) == uid);
        if out || self.random.random_range(0..5) == 0 {
            self.delete(key);
        }
    }

    /// Tells the bus what it does not have yet; what fails is told again.
    async fn write(&mut self) {
        for key in self.unwritten.clone() {
            let wanted = self.wanted.get(&key).cloned().flatten();
            let writing = async {
                let bucket = self.bus.bucket(bucket::ENDPOINTS).await?;
                match wanted {
                    Some(endpoint) => {
                        let observed_at = Clock::system().now();
                        bucket.put(&Endpoint { observed_at, ..endpoint }).await.map(drop)
                    }
                    None => bucket.delete(&key).await,
                }
            };
            match timeout(WITHIN, writing).await {
                Ok(Ok(())) => drop(self.unwritten.remove(&key)),
                _ => return,
            }
            // What is gone for good is nobody's business any more.
            self.wanted.retain(|key, wanted| wanted.is_some() || self.unwritten.contains(key));
        }
    }
}
