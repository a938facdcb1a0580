//! Pure: no async, no I/O, no clock, no randomness. What an application is, what a command means for it, and what has
//! to be done next so that the clusters hold what is wanted.

pub mod app;
pub mod decide;
pub mod doubt;
pub mod observed;
pub mod place;
pub mod plan;
pub mod progress;
pub mod state;
pub mod status;
pub mod tombstone;
pub mod under_way;
