//! The simulator from outside: as kube, kubectl and plain HTTP clients see it.

#![expect(clippy::panic, reason = "helpers of tests end a test by panicking")]

mod access;
mod autoscaler;
mod cron_job;
mod custom;
mod daemon_set;
mod deployment;
mod harness;
mod job;
mod kubectl;
mod pod;
mod protocol;
mod scale;
mod stateful_set;
mod tls;
mod watch;
