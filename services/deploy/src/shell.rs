//! The only place with I/O: what wakes the reconciler, what it looks at, and how steps reach the agents.

pub(crate) mod clusters;
pub(crate) mod parts;
pub(crate) mod pulses;
pub(crate) mod reconciler;
pub(crate) mod statuses;
pub(crate) mod steps;
pub(crate) mod views;
pub(crate) mod wake;
pub(crate) mod world;
