//! bcs-discovery-sidecar: keeps registries outside BCS in line with the instances that run. It reads KV `endpoints`, takes
//! every ready instance into every configured registry and every leaving one out, and says in KV `registrations` what
//! the registries confirmed. It keeps nothing of its own: NATS and the registries are all it needs.

pub mod config;
pub mod domain;
pub mod driver;
#[cfg(test)]
mod testing;

pub use config::{Config, OnStop};
