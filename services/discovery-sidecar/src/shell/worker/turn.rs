//! Whose turn it is at the registry: one call at a time is under way there.

use super::{
    super::{
        attend::Attendant,
        call::{self, Call},
        hand::Hand,
    },
    Link, Worker,
};
use crate::domain::Now;

impl Worker {
    pub(super) fn next_call(&mut self, now: Now) -> Option<Call> {
        if now.up < self.patience {
            return None;
        }
        if matches!(self.link, Link::Up)
            && now.up < self.read_at
            && let Some(asked) = self.door.next()
        {
            let (driver, us, wanted) = (self.driver.clone(), self.us.clone(), self.engine.wanted());
            return Some(call::hand(Hand { driver, us, wanted }, asked));
        }
        if !self.attended
            && let Some(call) = self.attend(now)
        {
            return Some(call);
        }
        self.attended = false;
        match &self.link {
            Link::Applying => Some(call::take(self.lease.clone())),
            Link::Standby(watched) => Some(call::look(self.lease.clone(), *watched, now.up)),
            Link::Down => Some(call::connect(self.driver.clone(), self.epoch)),
            Link::Up if now.up >= self.read_at => Some(call::read(self.driver.clone())),
            Link::Up => self.next_write(now).or_else(|| self.attend(now)),
        }
    }

    /// What the engine wants written, as far as the registry may be asked for it.
    fn next_write(&mut self, now: Now) -> Option<Call> {
        let engine = &mut self.engine;
        let plan = |most| {
            let batch = engine.next_batch(most);
            (batch.len(), batch)
        };
        let planned = self.platform.within_budget(&self.status.registry, plan);
        let waits = planned.as_ref().is_err_and(|_| !self.engine.idle());
        self.engine.held_back(waits);
        match planned {
            Ok(batch) => (!batch.is_empty()).then(|| call::apply(self.driver.clone(), batch)),
            Err(wait) if waits => {
                self.patience = now.up + wait;
                None
            }
            Err(_) => None,
        }
    }

    /// What an ExternalDNS asks; after it, it is the engine's turn.
    fn attend(&mut self, now: Now) -> Option<Call> {
        if !matches!(self.link, Link::Up) || now.up < self.patience || now.up >= self.read_at {
            return None;
        }
        let asked = self.place.as_mut()?.next()?;
        self.attended = true;
        let attendant = Attendant { driver: self.driver.clone(), ttl: self.ttl };
        Some(call::attend(attendant, asked))
    }
}
