//! What lies in quarantine: messages that could be neither handled nor answered, with the reason.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A quarantined message. It lies in stream `DLQ` under `bcs.dlq.<service>.<consumer>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// Stream that it came from.
    pub stream: String,
    /// Position in that stream.
    pub stream_seq: u64,
    /// Subject that it was published on.
    pub subject: String,
    /// Consumer that could not handle it.
    pub consumer: String,
    /// How often it was delivered.
    pub deliveries: u64,
    /// The kind of reason, for programs: `undecodable`, `panicked`, `exhausted`.
    pub code: String,
    /// One sentence, for people.
    pub reason: String,
    /// Headers of the original.
    pub headers: Vec<(String, String)>,
    /// Payload of the original, in hexadecimal: it may be anything.
    pub payload_hex: String,
    /// When it was put here.
    pub quarantined_at: Timestamp,
}
