//! The cluster service on a real bus, with simulated clusters behind it.

#![expect(clippy::panic, reason = "helpers of tests end a test by panicking")]

mod admission;
mod agent;
mod hall;
mod injector;
mod kubectl;
mod manifest;
mod node;
mod remote;
mod rotation;
mod secure;
mod site;
