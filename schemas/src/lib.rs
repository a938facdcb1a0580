//! Everything that crosses a process border in BCS: resources, commands, events, queries, observations and agent
//! steps; the envelope around them, the codec, and the catalogue of subjects, streams and buckets.
//!
//! Doors are strict and readers tolerant: commands and resources refuse an unknown field by name, events and
//! observations are read without it. Resource documents are camelCase, as users of Kubernetes expect; message fields
//! are snake_case.

pub mod adoption;
pub mod asyncapi;
pub mod bucket;
pub mod cluster;
pub mod codec;
pub mod compat;
pub mod deploy;
pub mod duration;
pub mod envelope;
pub mod field;
pub mod golden;
pub mod id;
mod message;
pub mod name;
pub mod observation;
pub mod outcome;
pub mod quarantine;
pub mod query;
pub mod resource;
pub mod service;
pub mod share;
pub mod step;
pub mod stream;
pub mod subject;

pub use duration::Millis;
pub use field::FieldError;
pub use id::{CommandId, EventId};
pub use message::{MessageSet, MessageType, NoMessage, TypeName};
pub use name::Name;
pub use service::Service;
