//! The sidecar and its drivers against real servers: etcd and nats-server, started here, never skipped.

#![allow(
    clippy::panic,
    clippy::large_futures,
    reason = "helpers of tests fail by panicking, and nobody counts their bytes"
)]

mod adoption;
mod beside;
mod choice;
mod contract;
mod copies;
mod drivers;
mod faults;
mod fixture;
mod manifest;
mod outage;
mod process;
mod secrets;
mod sidecar;
mod speed;
mod web;
