//! A Kubernetes API server with simulated nodes, in process, over real HTTP.
//!
//! It keeps objects of the kinds in `kind.rs`, serves list, watch, patch, server-side apply and subresources for them,
//! and runs the controllers that give them life: Deployments with their ReplicaSets, StatefulSets, DaemonSets, Jobs,
//! CronJobs, HorizontalPodAutoscalers, Services, EndpointSlices, scheduler, garbage collection, namespaces. Volume claims
//! are bound at once. Pods start on simulated nodes, get an address in 127.0.0.0/8, answer HTTP there and end.
//!
//! What pods do is told by annotations of the pod (or of the template it is made from); durations are such as `150ms`:
//! `sim.bcs/startup`, `sim.bcs/ready-after`, `sim.bcs/never-ready`, `sim.bcs/crash-after`, `sim.bcs/complete-after`,
//! `sim.bcs/shutdown`, `sim.bcs/latency`, `sim.bcs/error-rate`, `sim.bcs/image-pull-error`. An image whose tag is
//! `missing` or `broken` cannot be pulled. `sim.bcs/cpu` and `sim.bcs/memory` are what a pod says it uses (`100m`, `64Mi`):
//! metrics.k8s.io and autoscalers know only pods that say so.
//!
//! Custom resources are defined as usual: structural schemas with defaults, pruning and validation, rules in CEL, columns,
//! status and scale, several versions.
//!
//! Who asks says so with the token of the administrator or of a service account, or (with [`Config::tls`]) with a
//! certificate, and may do what roles and bindings allow; bodies may be JSON, YAML or, of published types, protobuf.
//!
//! Not done: answers in protobuf, conversion of custom resources by webhook and what Kubernetes adds to CEL
//! (a rule that needs it refuses every object), volumes (claims are objects only), exec and port-forward, kube-proxy
//! (cluster addresses answer nothing), probes (the annotations decide), node leases, eviction from lost or removed nodes,
//! more than one EndpointSlice per service, admission webhooks. Of the controllers: quotas and limit ranges, metrics of
//! autoscalers other than Resource (and their version `autoscaling/v1`), preemption, affinity between pods, preferred
//! affinity. Whatever waits after a failure waits shorter than in a real cluster.

mod access;
mod clock;
mod config;
mod controller;
mod custom;
mod faults;
mod http;
mod kind;
mod kinds;
mod kubelet;
mod object;
mod patch;
mod persist;
mod protobuf;
mod quantity;
mod schema;
mod selector;
mod simulator;
mod status;
mod store;
mod task;
mod tls;
mod validate;

pub use self::{
    config::Config,
    faults::Faults,
    kubelet::network::{ParseError as PodNetworkError, PodNetwork},
    simulator::{Error, Kubesim, Stats, start},
    tls::Certified,
};
