//! The Kubernetes engine against a cluster: the one that `BCS_TEST_KUBECONFIG` names, else a simulated one. It comes with the rights that
//! `k8s/agent/rbac.yaml` gives it, and no others.

#![allow(clippy::panic, reason = "a helper of a test fails like the test itself")]

mod account;
mod fault;
mod lab;
mod scale_down;
mod step;
mod watch;
