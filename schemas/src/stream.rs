//! The catalogue of streams: their names, subjects and limits. The kit creates what is missing and updates what is
//! compatible; it deletes nothing.
//!
//! A server reserves what the limits of its streams add up to (about 19 GiB for all of these), so they are modest: a
//! journal keeps its events for ever, whatever the bus still has.

use std::time::Duration;

use crate::{Service, subject};

/// What happens to a message that a full stream cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The publisher gets an error: nothing is lost in silence.
    RefuseNew,
    /// The oldest messages go; their owner's journal still has them.
    DropOldest,
}

/// Settings of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Name.
    pub name: String,
    /// What it binds.
    pub subjects: Vec<String>,
    /// How long it keeps messages.
    pub max_age: Duration,
    /// How many bytes it keeps.
    pub max_bytes: i64,
    /// Largest message.
    pub max_message_size: i32,
    /// What happens when it is full.
    pub when_full: WhenFull,
    /// Within which time repeats of a message id are dropped.
    pub duplicate_window: Duration,
    /// What it is for.
    pub purpose: &'static str,
}

/// Stream of quarantined messages.
pub const QUARANTINE: &str = "DLQ";

const DAY: Duration = Duration::from_secs(24 * 3600);
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const FIVE_MINUTES: Duration = Duration::from_secs(300);
/// Largest command, headers included.
pub const MAX_MESSAGE_SIZE: i32 = 256 * 1024;
/// What an event may be larger than its command: headers of its own, and defaults that are written out.
const EVENT_MARGIN: i32 = 64 * 1024;
/// Largest payload of an event; what would be larger is refused before it is decided.
pub const MAX_EVENT_PAYLOAD: usize = (MAX_MESSAGE_SIZE + EVENT_MARGIN - 8 * 1024) as usize;

/// Commands of `service`.
pub fn commands(service: Service) -> StreamSpec {
    StreamSpec {
        name: service.command_stream().to_owned(),
        subjects: vec![subject::all_commands(service)],
        max_age: 3 * DAY,
        max_bytes: 512 * MIB,
        max_message_size: MAX_MESSAGE_SIZE,
        when_full: WhenFull::RefuseNew,
        duplicate_window: FIVE_MINUTES,
        purpose: "commands, kept until decided and for audit",
    }
}

/// Events of `service`.
pub fn events(service: Service) -> StreamSpec {
    StreamSpec {
        name: service.event_stream().to_owned(),
        subjects: vec![subject::all_events(service)],
        max_age: 30 * DAY,
        max_bytes: 4 * GIB,
        max_message_size: MAX_MESSAGE_SIZE + EVENT_MARGIN,
        when_full: WhenFull::DropOldest,
        duplicate_window: FIVE_MINUTES,
        purpose: "events for everyone; the owner's journal keeps them for ever",
    }
}

/// What could be neither handled nor answered.
pub fn quarantine() -> StreamSpec {
    StreamSpec {
        name: QUARANTINE.to_owned(),
        subjects: vec!["bcs.dlq.>".to_owned()],
        max_age: 30 * DAY,
        max_bytes: 512 * MIB,
        // A quarantined message holds the original in hexadecimal.
        max_message_size: 3 * MAX_MESSAGE_SIZE,
        when_full: WhenFull::DropOldest,
        duplicate_window: FIVE_MINUTES,
        purpose: "messages that could be neither handled nor answered",
    }
}

/// Every stream.
pub fn all() -> Vec<StreamSpec> {
    Service::ALL.into_iter().flat_map(|s| [commands(s), events(s)]).chain([quarantine()]).collect()
}

/// Name of the durable consumer through which `service` takes its commands.
pub fn command_consumer(service: Service) -> String {
    format!("{service}-commands")
}
