//! The simulator from outside: as kube, kubectl and plain HTTP clients see it.

#![expect(clippy::panic, reason = "helpers of tests end a test by panicking")]

mod access;
mod address;
mod clients;
mod container;
mod custom;
mod harness;
mod kubectl;
mod node;
mod pod;
mod probe;
mod process;
mod protocol;
mod scale;
mod stop;
mod tls;
mod watch;
mod witness;
