//! The machine of a service that decides nothing yet: it owns its subjects and answers every command with a rejection,
//! so that none lies unanswered.

use bcs_schemas::{NoMessage, outcome::Rejection, subject::Target};
use serde::{Deserialize, Serialize};

use super::{Ctx, Fact, Request, StateMachine};

/// No state. `S` is the number of the service in [`bcs_schemas::Service::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent<const S: usize> {}

impl<const S: usize> StateMachine for Silent<S> {
    type Command = NoMessage<S>;
    type Internal = std::convert::Infallible;
    type Event = NoMessage<S>;
    const SNAPSHOT_VERSION: u32 = 1;

    fn decide(
        &self,
        _: &Target,
        request: &Request<NoMessage<S>, std::convert::Infallible>,
        _: &Ctx,
    ) -> Result<Vec<(Target, NoMessage<S>)>, Rejection> {
        match request {
            Request::Command(never) => match *never {},
            Request::Internal(never) => match *never {},
        }
    }

    fn evolve(&mut self, fact: &Fact<'_, NoMessage<S>>) {
        match *fact.event {}
    }
}
