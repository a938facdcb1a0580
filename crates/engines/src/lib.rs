//! Engines: what runs containers in a cluster. One trait, a declared matrix of what an engine can do, and an engine
//! for Kubernetes. Only an agent holds one: everybody else asks the agent by steps and reads what it observes.

mod engine;
pub mod kubernetes;

pub use engine::{Capabilities, Description, Engine, Kind, News, Observed, ProbeError};
