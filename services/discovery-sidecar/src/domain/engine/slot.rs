//! What is remembered per place in the registry and per endpoint. There are as many as instances, so they are small.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bcs_schemas::observation::{Endpoint, RegistrationState};
use jiff::Timestamp;

use super::{super::Place, Key};

/// One place in the registry: what should be there and what is.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Key,
    /// Fingerprint of the incarnation that it stands for.
    pub(super) uid: u64,
    /// Fingerprint of what should be there.
    pub(super) want: Option<u64>,
    /// What is there, as far as is known.
    pub(super) seen: Option<Seen>,
    /// Why it should not be there, when it should not.
    pub(super) why: Why,
    /// Since when it is not as it should be.
    pub(super) since: Option<Timestamp>,
    /// A change of it was sent and not answered yet.
    pub(super) busy: bool,
    /// It stands in a lane.
    pub(super) queued: bool,
    /// Somebody else changed it.
    pub(super) drifted: bool,
    /// Nobody knows whether it is there: what is said to be seen is only a guess.
    pub(super) doubted: bool,
    /// The last complete reading that found it.
    pub(super) read: u32,
    pub(super) fault: Option<Box<Fault>>,
}

/// What the registry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) digest: u64,
    pub(super) version: u64,
}

/// The registry refuses this very entry, or is not done with it; its neighbours go on.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) words: String,
    /// Nothing is wrong, it only takes time.
    pub(super) waits: bool,
    pub(super) attempts: u32,
    pub(super) until: Duration,
}

/// Why an entry should not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The instance is draining, ended, or was deleted: somebody may be waiting for it.
    Left,
    /// It is not ready any more, has another name now, or another incarnation took its place.
    Replaced,
    /// No endpoint backs it. Nobody said that it left.
    Absent,
}

/// What has to be done about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Put { digest: u64, over: Option<u64> },
    Remove { version: u64 },
}

impl Slot {
    pub(super) fn new(key: Key, uid: u64) -> Self {
        Self {
            key,
            uid,
            want: None,
            seen: None,
            why: Why::Replaced,
            since: None,
            busy: false,
            queued: false,
            drifted: false,
            doubted: false,
            read: 0,
            fault: None,
        }
    }

    /// The registry may hold something here.
    pub(super) const fn holds(&self) -> bool {
        self.seen.is_some() || self.busy
    }

    /// The registry is known to hold something here.
    pub(super) const fn is_known(&self) -> bool {
        self.seen.is_some() && !self.doubted
    }

    /// Whatever was wrong with it, it is as it should be now.
    pub(super) fn is_right(&mut self) {
        (self.since, self.fault) = (None, None);
    }

    /// Desired minus observed.
    pub(super) fn need(&self) -> Option<Need> {
        match (self.want, self.seen) {
            (Some(want), Some(seen)) if want == seen.digest => None,
            (Some(digest), seen) => Some(Need::Put { digest, over: seen.map(|s| s.version) }),
            (None, Some(seen)) => Some(Need::Remove { version: seen.version }),
            (None, None) => None,
        }
    }
}

/// One endpoint key: what is observed of it, and what was said about it.
#[derive(Debug, Default)]
pub(super) struct Instance {
    /// The observation; none when the key is gone.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// Where its entry belongs.
    pub(super) place: Option<Place>,
    /// Where entries of it may still lie: other names, other incarnations.
    pub(super) old: Vec<Place>,
    /// It left, for good.
    pub(super) left: bool,
    /// It was asked for to be taken out, since the registry was read.
    pub(super) asked_out: bool,
    /// Until when it stays although it is not ready.
    pub(super) hold: Option<Duration>,
    /// Until when clients may still use what was taken out of the registry.
    pub(super) remembered: Option<Duration>,
    /// Since when its report is overdue.
    pub(super) overdue: Option<Duration>,
    pub(super) reported: Option<Reported>,
    /// Something may stand there about it that is not known.
    pub(super) spoken_of: bool,
}

/// What was last said about an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reported {
    pub(super) state: RegistrationState,
    pub(super) since: Timestamp,
    pub(super) address: Option<(IpAddr, u16)>,
    /// Fingerprints of uid and reason.
    pub(super) uid: u64,
    pub(super) reason: u64,
    /// When it is tried again, and when this was said: seconds of the life of the sidecar; 0 is not known.
    pub(super) retry: u32,
    pub(super) said: u32,
}

impl Instance {
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.place.iter().chain(&self.old)
    }
}
