//! Hysteresis: probes in, health out. No single probe changes it, and silence is not failure: of a cluster that nobody
//! hears nothing is known.

use std::collections::VecDeque;

use bcs_schemas::{Millis, cluster::Health};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

/// How much it takes to change a mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// How many of the last probes are looked at.
    pub window: usize,
    /// How many bad ones among them make a cluster `Suspect`.
    pub suspect_after: usize,
    /// How many bad ones among them make it `Failed`.
    pub fail_after: usize,
    /// How many good ones in a row make it `Healthy`.
    pub recover_after: usize,
    /// Silence that makes it `Suspect`.
    pub silence_suspect: Millis,
    /// Silence after which nothing is known.
    pub silence_unknown: Millis,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            window: 5,
            suspect_after: 2,
            fail_after: 3,
            recover_after: 2,
            silence_suspect: Millis::from_secs(15),
            silence_unknown: Millis::from_secs(40),
        }
    }
}

/// What was heard of one cluster lately.
#[derive(Clone, Debug, PartialEq)]
pub struct Hysteresis {
    thresholds: Thresholds,
    /// The last probes, the newest last; true is good.
    probes: VecDeque<bool>,
    health: Health,
    heard_at: Timestamp,
    complaint: String,
}

/// Health, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The health.
    pub health: Health,
    /// One sentence.
    pub reason: String,
}

impl Hysteresis {
    /// Begins with what was decided before. Silence counts from now: nobody listened until now.
    pub fn new(thresholds: Thresholds, health: Health, now: Timestamp) -> Self {
        Self { thresholds, probes: VecDeque::new(), health, heard_at: now, complaint: String::new() }
    }

    /// A probe: what it said against the cluster, if anything.
    pub fn hear(&mut self, complaint: Option<&str>, now: Timestamp) {
        // What was heard before a silence says nothing about now.
        if self.silence(now) > self.thresholds.silence_suspect.signed() {
            self.health = self.judge(now).health;
            self.probes.clear();
        }
        self.heard_at = self.heard_at.max(now);
        self.probes.push_back(complaint.is_none());
        while self.probes.len() > self.thresholds.window.max(1) {
            self.probes.pop_front();
        }
        if let Some(words) = complaint {
            words.clone_into(&mut self.complaint);
        }
        let health = self.weigh().unwrap_or(self.health);
        // Recovered is recovered: old failures must not let one new failure decide.
        if health == Health::Healthy && self.health != Health::Healthy {
            self.probes.clear();
        }
        self.health = health;
    }

    /// What to think of the cluster now.
    pub fn judge(&self, now: Timestamp) -> Verdict {
        let silence = self.silence(now);
        let quiet = format!("its agent has been silent for {} s", silence.as_secs());
        if silence > self.thresholds.silence_unknown.signed() {
            return Verdict { health: Health::Unknown, reason: quiet };
        }
        let reason = match self.health {
            Health::Unknown => "too few probes to tell".to_owned(),
            Health::Healthy | Health::Suspect if silence > self.thresholds.silence_suspect.signed() => {
                return Verdict { health: Health::Suspect, reason: quiet };
            }
            Health::Healthy => "its engine answers".to_owned(),
            Health::Suspect | Health::Failed => self.grievance(),
        };
        Verdict { health: self.health, reason }
    }

    fn silence(&self, now: Timestamp) -> jiff::SignedDuration {
        now.duration_since(self.heard_at)
    }

    fn bad(&self) -> usize {
        self.probes.iter().filter(|good| !**good).count()
    }

    fn grievance(&self) -> String {
        let (bad, of) = (self.bad(), self.probes.len());
        if bad == 0 {
            return "waits for more good probes".to_owned();
        }
        format!("{bad} of the last {of} probes failed: {}", self.complaint)
    }

    /// What the probes say, when they are enough to say something.
    fn weigh(&self) -> Option<Health> {
        let Thresholds { suspect_after, fail_after, recover_after, .. } = self.thresholds;
        let good_run = self.probes.iter().rev().take_while(|good| **good).count();
        let bad = self.bad();
        if good_run >= recover_after.max(1) {
            Some(Health::Healthy)
        } else if bad >= fail_after.max(1) {
            Some(Health::Failed)
        } else if bad >= suspect_after.max(1) && self.health != Health::Failed {
            Some(Health::Suspect)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
