//! A Kubernetes API server with simulated nodes, in process, over real HTTP.
//!
//! It keeps objects of the kinds in `kind.rs`, serves list, watch, patch, server-side apply and subresources for them,
//! and runs the controllers that give them life: Deployments with their ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets, Jobs,
//! CronJobs, HorizontalPodAutoscalers, Services, EndpointSlices, scheduler, garbage collection, namespaces. Volume claims
//! are bound at once. Pods start on simulated nodes, get an address in 127.0.0.0/8, answer HTTP there and end.
//!
//! Every container is a state machine of its own: init containers in order, sidecars, apps; images are pulled, crashes
//! are held back, probes are sent to the pod's own address, and a pod that is deleted stops by its hooks and its grace.
//! Nodes renew leases; a lost one is tainted and its pods are evicted when their tolerations end. Times that tests wait
//! for are shorter than real: back-offs, the grace of a node (`Config::node_grace`), the quarantine of orphaned pods.
//!
//! What pods do is told by annotations of the pod (or of the template it is made from); durations are such as `150ms`:
//!
//! - `sim.bcs/startup`: from the assignment to a node until containers start, and before every restart;
//! - `sim.bcs/image-pull`, `sim.bcs/image-pull-error`: how long a pull takes, and that it fails. An image whose tag is
//!   `missing` or `broken` cannot be pulled either;
//! - `sim.bcs/ready-after`, `sim.bcs/never-ready`: readiness; either of them takes the place of readiness probes;
//! - `sim.bcs/crash-after`, `sim.bcs/complete-after`, `sim.bcs/exit-code`: how a container ends by itself (with 1 and 0,
//!   unless said otherwise); what follows is the restart policy's. Init containers complete at once unless told;
//! - `sim.bcs/shutdown`: how long a container takes to stop when it is told to;
//! - `sim.bcs/latency`, `sim.bcs/error-rate`: how it answers HTTP, except on `/healthz`;
//! - `sim.bcs/cpu`, `sim.bcs/memory`: what it seems to use, as a value or as a curve (`0s=64Mi,10s=128Mi`); metrics.k8s.io
//!   and autoscalers know only pods that say so;
//! - `sim.bcs/address`: the address in the pod network that the pod wants.
//!
//! A pod with `sim.bcs/process: "true"`, or with the runtime class `process`, runs the commands of its containers as real
//! processes, with their environment and `POD_IP`; the images mean nothing. `Config::allow_processes` must allow it. The
//! processes end with the simulator, unless that is killed in a way that leaves it no time. Their logs are kept in part.
//!
//! Clients run commands in containers, attach to them, forward ports and add ephemeral containers, over WebSocket and SPDY. In a
//! process the command is a process too; a simulated container has the programs in `kubelet/program.rs`, and no others.
//!
//! What is said of a pod holds for its app containers; images, latency and errors for all. `sim.bcs/<container>.crash-after`
//! and the like say it of one container.
//!
//! Custom resources are defined as usual: structural schemas with defaults, pruning and validation, rules in CEL, columns,
//! status and scale, several versions.
//!
//! Who asks says so with the token of the administrator or of a service account, or (with [`Config::tls`]) with a certificate,
//! and may do what roles and bindings allow; bodies may be JSON, YAML or, of published types, protobuf.
//!
//! What goes wrong is told by [`Faults`], or by `POST /sim/faults`: errors, partitions, lost nodes, slow starts, crashes.
//!
//! Not done: answers in protobuf, conversion of custom resources by webhook and what Kubernetes adds to CEL (a rule that
//! needs it refuses every object), volumes (claims are bound to them, and they hold nothing), kube-proxy (cluster addresses
//! answer nothing), probes over TLS and gRPC (a connection must do). Of the controllers: metrics of autoscalers other than
//! Resource.

mod access;
mod admission;
mod clock;
mod config;
mod connection;
mod controller;
mod custom;
mod exchange;
mod expression;
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
mod remote;
mod schema;
mod selector;
mod simulator;
mod status;
mod store;
mod task;
mod tls;
mod validate;
mod versions;

pub use self::{
    config::{Config, NodeProfile},
    faults::{Crash, Current as CurrentFaults, Error as FaultError, Faults},
    kubelet::{
        network::{ParseError as PodNetworkError, PodNetwork},
        usage::Usage,
    },
    remote::{Remote, RemoteError},
    simulator::{Error, Kubesim, Stats, start},
    tls::Certified,
};
