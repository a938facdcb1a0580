//! The simulator from outside: as kube, kubectl and plain HTTP clients see it.

mod harness;
mod kubectl;
mod pod;
mod protocol;
mod watch;
