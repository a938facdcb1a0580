//! The simulator from outside: as kube, kubectl and plain HTTP clients see it.

#![expect(clippy::panic, reason = "helpers of tests end a test by panicking")]

mod access;
mod address;
mod admission;
mod autoscaler;
mod clients;
mod container;
mod cron_job;
mod custom;
mod daemon_set;
mod deployment;
mod harness;
mod job;
mod kubectl;
mod node;
mod pod;
mod probe;
mod process;
mod protocol;
mod quota;
mod scale;
mod scheduler;
mod stateful_set;
mod stop;
mod tls;
mod watch;
mod webhook;
mod witness;
