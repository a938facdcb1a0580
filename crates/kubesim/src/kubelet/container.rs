//! One container: what it does now, what it did before, and how one follows from the other. Pure.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{probe::Probes, stop::Stop};
use crate::object::{int, items, text};

/// One moment on both clocks: the one that waits, and the one that people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    pub at: Instant,
    pub wall: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that goes on running beside the others.
    Sidecar,
    App,
    /// Added to a pod that runs, to look at it; nobody waits for it, and it never starts again.
    Ephemeral,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    PodInitializing,
    ContainerCreating,
    CrashLoopBackOff,
    ErrImagePull,
    ImagePullBackOff,
    /// With the sentence that says what is wrong.
    CreateContainerConfigError(Box<str>),
}

/// How far a waiting container has come, and when it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    Held(Instant),
    Pulling(Instant),
    Creating(Instant),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: Cow<'static, str>,
    pub message: Option<Box<str>>,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Waiting(Why, Stage),
    Running(Now),
    /// With the time of the next start, if there is to be one.
    Terminated(Box<Ended>, Option<Instant>),
}

/// How a container came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Exit {
    pub code: i32,
    pub signal: Option<i32>,
    /// A reason other than `Completed` and `Error`, with its message.
    pub special: Option<(&'static str, Box<str>)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub role: Role,
    pub state: State,
    pub last: Option<Box<Ended>>,
    pub restarts: u32,
    /// The fingerprint of the image that it runs.
    pub image: u64,
    /// Ends, or failed pulls, in a row: how long the next start is held back.
    pub failures: u32,
    pub started: bool,
    pub ready: bool,
    pub stop: Option<Box<Stop>>,
    pub probes: Option<Box<Probes>>,
}

/// A container that ran this long has a fresh start when it ends.
const STABLE: Duration = Duration::from_secs(60);

/// Half a second, doubling up to half a minute: shorter than real, since tests wait for it.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_millis(250 * 2_u64.pow(failures.min(7)))
}

impl Container {
    pub(crate) fn new(role: Role, why: Why) -> Self {
        Self {
            role,
            state: State::Waiting(why, Stage::Queued),
            last: None,
            restarts: 0,
            image: 0,
            failures: 0,
            started: false,
            ready: false,
            stop: None,
            probes: None,
        }
    }

    pub(crate) fn running(&self) -> Option<Now> {
        match self.state {
            State::Running(since) => Some(since),
            _ => None,
        }
    }

    /// Ended, and not to be started again.
    pub(crate) fn over(&self) -> Option<&Ended> {
        match &self.state {
            State::Terminated(ended, None) => Some(ended),
            _ => None,
        }
    }

    /// Its next start begins now: what it was becomes what it was last.
    pub(crate) fn turn(&mut self) {
        if let State::Terminated(ended, _) = &self.state {
            self.last = Some(ended.clone());
            self.state = State::Waiting(Why::ContainerCreating, Stage::Queued);
        }
    }

    pub(crate) fn run(&mut self, image: u64, now: Now) {
        self.image = image;
        if self.last.is_some() {
            self.restarts += 1;
        }
        self.state = State::Running(now);
        (self.started, self.ready, self.stop, self.probes) = (false, false, None, None);
    }

    /// It ended. With `again`, the pause before the next start besides the back-off; true when there is a back-off.
    pub(crate) fn exit(&mut self, exit: Exit, again: Option<Duration>, now: Now) -> bool {
        let since = self.running();
        if since.is_some_and(|s| now.at.saturating_duration_since(s.at) >= STABLE) {
            self.failures = 0;
        }
        let ended = Box::new(ended(exit, since.map(|s| s.wall), now.wall));
        (self.started, self.ready, self.stop, self.probes) = (false, false, None, None);
        let Some(pause) = again else {
            self.ready = self.role == Role::Init && ended.code == 0;
            self.state = State::Terminated(ended, None);
            return false;
        };
        // The first restart is immediate, as that of the real kubelet.
        let held = self.failures > 0;
        if held {
            self.last = Some(ended);
            let until = now.at + backoff(self.failures) + pause;
            self.state = State::Waiting(Why::CrashLoopBackOff, Stage::Held(until));
        } else {
            self.state = State::Terminated(ended, Some(now.at + pause));
        }
        self.failures += 1;
        held
    }

    /// It could not be made after all; the next try is held back.
    pub(crate) fn refuse(&mut self, why: String, now: Now) {
        if self.last.is_some() {
            self.restarts -= 1;
        }
        self.failures += 1;
        let until = now.at + backoff(self.failures);
        self.state = State::Waiting(Why::CreateContainerConfigError(why.into()), Stage::Held(until));
    }

    /// When the container goes on by itself.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(_, Stage::Held(at) | Stage::Pulling(at) | Stage::Creating(at)) => Some(at),
            State::Terminated(_, again) => again,
            _ => None,
        }
    }
}

fn ended(exit: Exit, started: Option<Timestamp>, finished: Timestamp) -> Ended {
    let (reason, message) = match exit.special {
        Some((reason, message)) => (reason, Some(message)),
        None if exit.code == 0 => ("Completed", None),
        None => ("Error", None),
    };
    Ended { code: exit.code, signal: exit.signal, reason: Cow::Borrowed(reason), message, started, finished }
}

/// Whether a container that ended this way is started again.
pub(crate) fn restarts(pod: &Value, spec: &Value, role: Role, code: i32) -> bool {
    let listed = |rule: &Value| {
        let found = items(rule, "/exitCodes/values").iter().any(|v| v.as_i64() == Some(i64::from(code)));
        found == (text(rule, "/exitCodes/operator") != "NotIn")
    };
    if code != 0 && items(spec, "/restartPolicyRules").iter().any(listed) {
        return true;
    }
    let own = text(spec, "/restartPolicy");
    let policy = if own.is_empty() { text(pod, "/spec/restartPolicy") } else { own };
    match (role, policy) {
        (Role::Sidecar, _) => true,
        (Role::Ephemeral, _) | (_, "Never") => false,
        (Role::Init, _) | (_, "OnFailure") => code != 0,
        _ => true,
    }
}

/// How long a pod may take to stop.
pub(crate) fn grace(pod: &Value) -> Duration {
    let deletion = int(pod, "/metadata/deletionGracePeriodSeconds");
    let wanted = deletion.or_else(|| int(pod, "/spec/terminationGracePeriodSeconds")).unwrap_or(30);
    Duration::from_secs(u64::try_from(wanted).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now(seconds: u64, origin: Instant) -> Now {
        Now { at: origin + Duration::from_secs(seconds), wall: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn only_repeated_ends_are_held_back_and_a_long_run_forgives_them() {
        let origin = Instant::now();
        let mut it = Container::new(Role::App, Why::ContainerCreating);
        it.run(0, now(0, origin));
        let crash = || Exit { code: 1, ..Exit::default() };
        assert!(!it.exit(crash(), Some(Duration::ZERO), now(1, origin)));
        assert!(matches!(it.state, State::Terminated(_, Some(_))));
        it.turn();
        it.run(0, now(2, origin));
        assert_eq!(it.restarts, 1);
        assert!(it.exit(crash(), Some(Duration::ZERO), now(3, origin)));
        assert!(matches!(it.state, State::Waiting(Why::CrashLoopBackOff, _)));
        assert_eq!(it.last.as_ref().map(|l| &*l.reason), Some("Error"));
        it.run(0, now(4, origin));
        assert!(!it.exit(crash(), Some(Duration::ZERO), now(100, origin)));
        assert_eq!((it.restarts, it.failures), (2, 1));
    }

    #[test]
    fn the_policy_says_who_starts_again() {
        let pod = |policy: &str| json!({"spec": {"restartPolicy": policy}});
        let plain = json!({});
        let rules = json!({"restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
        for (policy, spec, role, code, expected) in [
            ("Always", &plain, Role::App, 0, true),
            ("OnFailure", &plain, Role::App, 0, false),
            ("OnFailure", &plain, Role::App, 2, true),
            ("Never", &plain, Role::App, 2, false),
            ("Always", &plain, Role::Init, 0, false),
            ("Always", &plain, Role::Init, 1, true),
            ("Never", &plain, Role::Init, 1, false),
            ("Never", &plain, Role::Sidecar, 0, true),
            ("Always", &plain, Role::Ephemeral, 1, false),
            ("Always", &rules, Role::App, 42, true),
            ("Always", &rules, Role::App, 41, false),
            ("Always", &rules, Role::App, 0, false),
        ] {
            assert_eq!(restarts(&pod(policy), spec, role, code), expected, "{policy} {role:?} {code} {spec}");
        }
    }
}
