//! The simulated clusters, and what goes wrong in them when somebody asks for it. Nothing here speaks to a real cluster.

pub(crate) mod place;
pub(crate) mod server;
pub(crate) mod words;
