//! What the worker makes of answers: from the bus, from the registry, and from those who watch it.

use std::{sync::Arc, time::Duration};

use bcs_kit::telemetry::chain;
use bcs_schemas::{
    observation::Registration,
    query::{Answer, Answered},
};
use futures::{FutureExt, StreamExt};

use super::{
    super::{
        Proof,
        attend::Attended,
        call::{Done, Written},
        door::{self, Asked},
        hand::Handed,
        lease::{Recalled, Term, Watched},
    },
    LOOK, Link, Worker,
};
use crate::{
    domain::{Change, Failure, Now, backoff, guest::Refusal},
    driver::{Drift, Listing},
    externaldns::{self, State, Why},
};

fn jitter() -> f64 {
    rand::random()
}

impl Worker {
    pub(super) fn answered(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Taken(Ok(term)) => self.begin(term),
            Done::Taken(Err(error)) => {
                tracing::warn!(error = %chain(&error), "the lease cannot be taken");
                self.patience = now.up + LOOK;
            }
            Done::Looked(Ok((_, Some(term)))) => self.begin(term),
            Done::Looked(Ok((watched, None))) => {
                self.link = Link::Standby(watched);
                self.patience = now.up + self.look_every();
            }
            Done::Looked(Err(_)) => self.patience = now.up + self.look_every(),
            Done::Connected(Ok((listing, drifts))) => {
                self.drifts = Some(drifts);
                self.link = Link::Up;
                self.read(listing);
            }
            Done::Read(Ok(listing)) => self.read(listing),
            Done::Connected(Err(failure)) | Done::Read(Err(failure)) => self.failed(failure),
            Done::Applied(written) => self.written(written),
            Done::Handed(asked, handed) => self.handed(asked, handed),
            Done::Attended(asked, attended) => self.attended(asked, attended),
        }
    }

    fn written(&mut self, written: Vec<Written>) {
        let (now, mut broken) = (self.now(), None);
        for (batch, answer) in written {
            match answer {
                Ok(outcomes) => self.engine.answered(batch, outcomes, now, jitter()),
                Err(failure) if failure.is_of_the_registry() => {
                    broken.get_or_insert(failure);
                }
                Err(rejected) => self.rejected(&batch, &rejected, now),
            }
        }
        // Last, for after it nothing is believed.
        broken.into_iter().for_each(|failure| self.failed(failure));
    }

    /// A registry that refuses whatever it is asked for is left alone for a while, as one that cannot be reached.
    fn rejected(&mut self, batch: &[Change], rejected: &Failure, now: Now) {
        let before = self.engine.refuses_all();
        self.engine.failed(batch, rejected, now, jitter());
        let times = self.engine.refuses_all();
        if times > before {
            let wait = backoff::delay(times + 3, jitter());
            tracing::warn!(registry = %self.status.registry, error = %rejected, ?wait, "the registry refuses everything");
            self.patience = now.up + wait;
        }
    }

    fn handed(&mut self, asked: Asked, handed: Result<Handed, Failure>) {
        match handed {
            Ok(Handed { told, next, reread }) => {
                if reread {
                    self.read_at = Duration::ZERO;
                }
                let as_of = self.now().wall;
                asked.answer(Answer::Ok(Answered { revision: self.epoch, as_of, data: told, next }));
            }
            Err(failure) => {
                asked.answer(door::refused(failure.to_string()));
                if !matches!(failure, Failure::Rejected(_)) {
                    self.failed(failure);
                }
            }
        }
    }

    fn attended(&mut self, asked: externaldns::Asked, attended: Attended) {
        match attended {
            Ok(told) => asked.answer(told.map_err(Why::Refused)),
            Err(failure @ Failure::Rejected(_)) => {
                asked.answer(Err(Why::Refused(Refusal::Never(failure.to_string()))));
            }
            Err(failure) => {
                asked.answer(Err(Why::Nobody(failure.to_string())));
                self.failed(failure);
            }
        }
    }

    /// Says what an ExternalDNS can expect of us now.
    pub(super) fn mind_the_place(&mut self) {
        let state = match self.link {
            Link::Down if self.engine.failures() > 0 => {
                State::Away(self.engine.condition().unwrap_or_else(|| "it was not read yet".to_owned()))
            }
            Link::Down | Link::Up => State::Keeps,
            Link::Applying | Link::Standby(_) => State::Follows,
        };
        if let Some(place) = &mut self.place {
            place.show(state);
        }
    }

    /// Open to those who ask while we keep the registry; they are told at once when it cannot be reached.
    pub(super) fn mind_the_door(&mut self) {
        self.door.keep_open(self.leads());
        if matches!(self.link, Link::Down) && self.engine.failures() > 0 {
            let why = self.engine.condition().unwrap_or_else(|| "it was not read yet".to_owned());
            self.door.refuse_all(&format!("the registry cannot be asked now: {why}"));
        }
    }

    fn begin(&mut self, term: Term) {
        tracing::info!(registry = %self.status.registry, cluster = %self.status.cluster, epoch = term.epoch, "keeping the registry");
        self.observe_all();
        self.driver.recall(&term.registrations);
        self.engine.took_over(self.now());
        self.adopt(term.registrations);
        self.epoch = term.epoch;
        self.link = Link::Down;
        self.recalling = Some(self.lease.clone().recall(term.contradictions).boxed());
    }

    fn adopt(&mut self, registrations: Vec<Registration>) {
        let ours = registrations.into_iter().filter(|r| r.cluster == self.status.cluster);
        self.engine.adopt(ours, self.now());
        self.engine.say_again(self.outbox.end_reading());
    }

    /// What the bus lost, or another sidecar overwrote, is said again; unless it is the other one's turn.
    pub(super) fn recalled(&mut self, recalled: Recalled) {
        if let Some(held) = recalled.successor {
            let replaced = Failure::Fenced(held);
            // Whatever the registry still answers, if it does, is not ours any more.
            self.call = None;
            return self.failed(replaced);
        }
        self.recalling = Some(self.lease.clone().recall(recalled.contradictions).boxed());
        self.adopt(recalled.registrations);
    }

    fn read(&mut self, listing: Listing) {
        self.engine.registry_read(listing.items, self.now());
        let every = self.platform.config.reconcile_every.std();
        // A tenth of jitter keeps many sidecars from reading one registry together.
        self.read_at = self.begun.elapsed() + every.mul_f64(0.95 + jitter() / 10.0);
    }

    fn failed(&mut self, failure: Failure) {
        let up = self.begun.elapsed();
        self.drifts = None;
        self.engine.lost(failure.to_string());
        if let Failure::Fenced(held) = failure {
            tracing::warn!(registry = %self.status.registry, epoch = self.epoch, held, "replaced by a newer sidecar, stepping down");
            self.driver.stand_down();
            self.outbox.clear();
            self.recalling = None;
            self.link = Link::Standby(Watched { held, beat: None, heard: up });
            self.patience = up;
            return;
        }
        let wait = backoff::delay(self.engine.failures(), jitter());
        tracing::warn!(registry = %self.status.registry, error = %failure, ?wait, "registry failed");
        self.link = Link::Down;
        self.patience = up + wait;
    }

    pub(super) fn drifted(&mut self, drift: Option<Result<Drift, Failure>>) {
        match drift {
            Some(Ok(Drift::Place(place, item))) => self.engine.drifted(&place, item, self.now()),
            Some(Ok(Drift::Unknown)) => self.read_at = Duration::ZERO,
            Some(Err(failure)) => self.failed(failure),
            None => self.failed(Failure::Unavailable("the registry ended the watch".to_owned())),
        }
    }

    /// What others changed while a call was under way is known before the next one is made.
    pub(super) fn catch_up_on_drift(&mut self) {
        for _ in 0..256 {
            let Some(drift) = self.drifts.as_mut().and_then(|drifts| drifts.next().now_or_never()) else {
                return;
            };
            self.drifted(drift);
        }
    }

    pub(super) fn proved(&mut self, proofs: Vec<(Arc<str>, Proof)>) {
        self.proving = None;
        let (now, there) = (self.now(), self.platform.endpoints.snapshot());
        // What came back meanwhile is observed on its own.
        for (key, proof) in proofs.into_iter().filter(|(key, _)| !there.contains_key(&**key)) {
            match proof {
                Proof::Deleted => self.engine.deleted(&key, now),
                Proof::Missing => self.engine.missing(&key, now),
                // It came back between, and the view is about to say so; or we asked a replica that lags behind.
                Proof::There | Proof::Unknown => self.engine.ask_again(&key, now),
            }
        }
    }
}
