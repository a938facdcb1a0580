//! What every service is made of: the command loop and its journal, the bus, observations, reads, reconcilers,
//! configuration, telemetry, health and orderly shutdown.
//!
//! A service brings a pure [`machine::StateMachine`] and its reconcilers; everything with an edge to the world is here.

pub mod actor;
pub mod bus;
pub mod clock;
pub mod config;
pub mod health;
pub mod journal;
pub mod kv;
pub mod lease;
pub mod machine;
pub mod pulse;
pub mod quarantine;
pub mod reads;
pub mod reconcile;
pub mod run;
pub mod subscribe;
pub mod task;
pub mod telemetry;

pub use bus::Bus;
pub use clock::Clock;
pub use task::Tasks;
