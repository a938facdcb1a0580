//! The simulator from outside: as kube, kubectl and plain HTTP clients see it.

#![expect(clippy::panic, reason = "helpers of tests end a test by panicking")]

mod access;
mod address;
mod admission;
mod autoscaler;
mod clients;
mod container;
mod controller_runtime;
mod cron_job;
mod custom;
mod daemon_set;
mod debug;
mod deployment;
mod fault;
mod forward;
mod harness;
mod job;
mod kept;
mod kubectl;
mod node;
mod pod;
mod policy;
mod probe;
mod process;
mod protocol;
mod quota;
mod refusal;
mod scale;
mod scheduler;
mod service;
mod spdy;
mod stateful_set;
mod stop;
mod stream;
mod tls;
mod versions;
mod watch;
mod webhook;
mod wire;
mod witness;
