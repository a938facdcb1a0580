//! Talks to the platform from outside: send a command and await its outcome, ask a question, follow events, look at
//! observations. The command line, the gateway and the tests use it, and any other program may.
//!
//! Nothing here is needed to use the bus: what it does is described in `docs/bus.md` and can be done with any NATS
//! client. It only does the tiresome parts right: one id for all repeats, outcomes that survive a lost answer, event
//! streams that survive a lost connection.

mod command;
mod dispatch;
mod error;
mod event;
mod inbox;
mod merge;
mod observation;
mod payload;
mod query;
mod size;

use std::sync::Arc;

use bcs_kit::{
    Bus, Clock, Tasks,
    bus::{self, BusConfig},
};

pub use command::CommandBuilder;
pub use dispatch::Raw;
pub use error::Error;
pub use event::{EventRecord, Events, Position};
pub use payload::Payload;

/// A connection to the platform. Clones share it; it reconnects for ever.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    bus: Bus,
    clock: Clock,
    inbox: inbox::Inbox,
    tasks: Tasks,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The tasks hold parts of the connection, never the client itself, so this is reached and ends them.
        self.tasks.stopping().cancel();
    }
}

impl Client {
    /// Connects as `name`, which must be one word: it becomes part of the inbox.
    pub async fn connect(config: &BusConfig, name: &str) -> Result<Self, Error> {
        let bus = Bus::connect(config, name).await.map_err(|error| match error {
            // It was reached, and says what to do itself.
            error @ bus::Error::Untrusted { .. } => Error::Bus(error),
            error => Error::Connect(error),
        })?;
        Self::over(bus, Clock::system()).await
    }

    /// Uses a connection that exists.
    pub async fn over(bus: Bus, clock: Clock) -> Result<Self, Error> {
        let tasks = Tasks::new();
        let inbox = inbox::Inbox::open(&bus, &tasks).await?;
        Ok(Self(Arc::new(Inner { bus, clock, inbox, tasks })))
    }

    /// The connection itself, for what this crate does not do.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// Whether we log in with a key, and so can vouch for those on whose behalf we ask.
    pub fn vouches(&self) -> bool {
        self.bus().identity().is_some()
    }

    /// The clock that ids and ages come from.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }
}
