//! A typed command on its way to its service.

use std::time::Duration;

use bcs_kit::{bus, telemetry};
use bcs_schemas::{
    CommandId, MessageSet,
    codec::ContentType,
    envelope::{CommandHeaders, Mode},
    outcome::Outcome,
    subject::{Flow, Subject, Target},
};

use crate::{Client, Error, Payload, dispatch::Parcel};

/// A command that is being put together.
#[must_use = "a command does nothing until it is sent"]
pub struct CommandBuilder<M> {
    client: Client,
    target: Target,
    message: M,
    headers: CommandHeaders,
}

impl Client {
    /// Begins a command about `target`.
    pub fn command<P: Payload>(&self, target: Target, message: P) -> CommandBuilder<P::Set> {
        let message = message.into_set();
        let headers = CommandHeaders {
            type_name: Some(message.type_name()),
            content_type: Some(ContentType::MessagePack),
            ..CommandHeaders::default()
        };
        CommandBuilder { client: self.clone(), target, message, headers }
    }

    /// An id for a command, made before it is sent by those who must be able to repeat it.
    pub fn fresh_id(&self) -> CommandId {
        CommandId(self.clock().fresh_id())
    }
}

impl<M: MessageSet> CommandBuilder<M> {
    /// Apply it, or only say what it would do.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.headers.mode = mode;
        self
    }

    /// Refuse it unless the object has this revision.
    pub fn expected_revision(mut self, revision: u64) -> Self {
        self.headers.expected_revision = Some(revision);
        self
    }

    /// Refuse it after this instant.
    pub fn not_after(mut self, instant: jiff::Timestamp) -> Self {
        self.headers.not_after = Some(instant);
        self
    }

    /// Who asks.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.headers.actor = Some(actor.into());
        self
    }

    /// Its identity, when it is repeated or derived; a fresh one otherwise.
    pub fn id(mut self, id: CommandId) -> Self {
        self.headers.id = Some(id);
        self
    }

    /// First command of the chain of causes.
    pub fn correlation(mut self, id: CommandId) -> Self {
        self.headers.correlation = Some(id);
        self
    }

    /// Sends it and waits for its outcome. A rejection is an outcome, not an error.
    pub async fn send(self, timeout: Duration) -> Result<Outcome, Error> {
        let Self { client, target, message, mut headers } = self;
        let id = *headers.id.get_or_insert_with(|| client.fresh_id());
        let verb = message.type_name().verb;
        let verb = verb.parse().map_err(|e: bcs_schemas::name::Error| {
            Error::Bus(bus::Error::nats(format!("naming {verb}"), e.to_string()))
        })?;
        let site = client.bus().site().clone();
        let subject = Subject { flow: Flow::Command, service: M::SERVICE, site, target, verb };
        let place = client.place();
        headers.reply_to = Some(place.address.clone());
        headers.traceparent = telemetry::current_traceparent();
        let parcel = Parcel {
            subject: subject.to_string(),
            service: M::SERVICE,
            headers: bus::headers(headers.write()),
            payload: message.encode()?,
            id: Some(id),
        };
        client.deliver(parcel, place, timeout).await
    }
}
