//! Whether our clock says what the one of the bus says. Nothing is lost where it does not; but deadlines pass early or late, and steps
//! are refused: so it is told as long as it lasts.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bcs_schemas::bucket;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{Bus, Error};
use crate::{Clock, Tasks, health::Health};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// How far apart they may be. An agent that is 35 s ahead refuses every step.
const APART: SignedDuration = SignedDuration::from_secs(30);

/// Every answer of JetStream about a stream has it.
#[derive(Deserialize)]
struct Answer {
    ts: Timestamp,
}

impl Bus {
    /// Makes the check `clock` fail as long as `clock` and that of the bus are more than 30 s apart, until the group stops. A bus
    /// that does not tell its time is no reason to fail.
    pub fn compare_clocks(&self, clock: &Clock, tasks: &Tasks, health: &Health) {
        let apart: Arc<Mutex<Option<String>>> = Arc::default();
        let told = apart.clone();
        health.check("clock", move || {
            told.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
        });
        let (bus, clock, stopping) = (self.clone(), clock.clone(), tasks.stopping());
        tasks.spawn("bus-clock", async move {
            let looks = async {
                loop {
                    if let Ok(found) = bus.apart(&clock).await {
                        let mut apart = apart.lock().unwrap_or_else(PoisonError::into_inner);
                        if let (Some(problem), None) = (&found, &*apart) {
                            tracing::error!(problem, "the clock is wrong");
                        }
                        *apart = found;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                () = stopping.cancelled() => (),
                () = looks => (),
            }
        });
    }

    async fn apart(&self, clock: &Clock) -> Result<Option<String>, Error> {
        let subject = format!("STREAM.INFO.KV_{}", bucket::LEASES.name);
        let before = clock.now();
        let answer: Result<Answer, _> = self.jetstream.request(subject, &()).await;
        let theirs = answer.map_err(|e| Error::nats("asking the time", e))?.ts;
        Ok(problem(before, theirs, clock.now()))
    }
}

/// What is wrong with our clock, which said `before` and `after` around the moment that was `theirs` for the bus.
fn problem(before: Timestamp, theirs: Timestamp, after: Timestamp) -> Option<String> {
    let (ahead, behind) = (before.duration_since(theirs), theirs.duration_since(after));
    let (by, how) = if ahead > APART {
        (ahead, "ahead of")
    } else if behind > APART {
        (behind, "behind")
    } else {
        return None;
    };
    let (seconds, allowed) = (by.as_secs(), APART.as_secs());
    Some(format!(
        "is {seconds} s {how} that of the bus: expected at most {allowed} s, set the clock of this machine"
    ))
}

#[cfg(test)]
mod tests {
    use bcs_testbus::{Servers, TestBus};

    use super::*;

    #[test]
    fn a_clock_is_wrong_when_no_moment_between_question_and_answer_explains_it() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).expect("a time");
        assert_eq!(problem(at(0), at(0), at(1)), None);
        assert_eq!(problem(at(30), at(0), at(31)), None);
        assert_eq!(problem(at(0), at(60), at(90)), None, "the way there may have taken a minute");
        let ahead = problem(at(3600), at(0), at(3601)).expect("is ahead");
        assert!(ahead.starts_with("is 3600 s ahead of that of the bus: expected at most 30 s"), "{ahead}");
        let behind = problem(at(0), at(3601), at(1)).expect("is behind");
        assert!(behind.starts_with("is 3600 s behind that of the bus"), "{behind}");
    }

    #[tokio::test]
    async fn a_clock_that_is_off_shows_in_health_until_it_is_set() {
        let nats = TestBus::start(Servers::asked());
        let bus = Bus::to_test(&nats).await;
        let (tasks, health) = (Tasks::new(), Health::new());
        let clock = Clock::manual(Clock::system().now());
        clock.advance(SignedDuration::from_hours(-1));
        bus.compare_clocks(&clock, &tasks, &health);
        let told = async |wanted: bool| {
            while health.missing().iter().any(|why| why.starts_with("clock: is ")) != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let long = Duration::from_secs(60);
        tokio::time::timeout(long, told(true)).await.expect("it is told");
        clock.advance(SignedDuration::from_hours(1));
        tokio::time::timeout(long, told(false)).await.expect("it is right again");
        assert!(tasks.stop(long).await);
    }
}
