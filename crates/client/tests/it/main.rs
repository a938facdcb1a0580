//! The client against a real NATS server and a real command loop: what a sender sees, whatever happens in between.
//! This is also the test of the kit's loop over the bus.

#![allow(clippy::panic, reason = "a test that cannot go on says so by panicking, also in its helpers")]

mod actors;
mod commands;
mod events;
mod harness;
mod history;
mod input;
mod ledger;
mod outages;
mod pages;
mod poison;
mod replicas;
mod tls;
