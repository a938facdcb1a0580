//! The pure part: which clusters there are, what was decided about them, and what follows. No I/O, no clock.

pub mod authority;
pub mod eyesight;
pub mod health;
pub mod inject;
pub mod mirror;
pub mod plan;
pub mod review;
pub mod state;
pub mod view;
pub mod zones;

mod decide;
mod evolve;

pub use state::{Member, State};
