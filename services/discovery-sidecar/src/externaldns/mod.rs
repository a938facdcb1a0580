//! The webhook protocol of ExternalDNS from both sides: what is said there, and the server before a zone that a sidecar
//! keeps. ExternalDNS hands its records to us, and needs no credentials of the zone.

mod desk;
mod serve;
mod translate;
pub(crate) mod wire;

pub(crate) use self::{
    desk::{Ask, Asked, Desk, Place, State, Told, Why},
    serve::serve,
};
