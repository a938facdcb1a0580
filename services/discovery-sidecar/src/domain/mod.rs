//! What the sidecar decides, without any I/O: what belongs into a registry, what has to change there, what must not be
//! removed, and what is said about it. Time comes in as an argument; a registry's answers come in as values.

pub mod backoff;
pub mod bisect;
pub mod budget;
pub mod change;
pub mod engine;
pub mod entry;
pub mod guard;
pub mod guest;
pub mod hold;
pub mod portion;
pub mod ramp;
pub mod survey;
pub mod tombs;

pub use budget::Budget;
pub use change::{Change, Failure, Item, Outcome};
pub use engine::{Engine, Report, Settings};
pub use entry::{Entry, Layout, Naming, Place};
pub use ramp::WHOLE;
pub use survey::{Adoption, Found, Wanted, Whose};

/// The moment at which something is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall time, for what people read.
    pub wall: jiff::Timestamp,
    /// Time since the worker started: deadlines count on this, so that a clock that jumps moves none of them.
    pub up: std::time::Duration,
}
