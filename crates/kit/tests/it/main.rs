//! The kit on a real bus.

#![expect(clippy::panic, reason = "helpers of tests end a test by panicking")]

mod backup;
mod insist;
mod kept;
mod kv;
mod lease;
mod provision;
mod server;
