//! A command on its way: in a plan it is kept as people write it, and from there it goes to the bus as it stands.

use bcs_client::{Client, Payload, Raw};
use bcs_schemas::{
    MessageSet, Name, TypeName,
    codec::ContentType,
    envelope::{CommandHeaders, Mode},
    outcome::Outcome,
    subject::{Flow, Subject, Target},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text;
use crate::{Failure, session::DECIDED_WITHIN};

/// A command: about which object, of which type, with which payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// `demo/app/shop-web`
    #[serde(with = "text")]
    pub(crate) object: Target,
    /// `bcs.deploy.app.scale.v1`
    #[serde(rename = "type", with = "text")]
    pub(crate) type_name: TypeName,
    /// What a program would publish as JSON.
    pub(crate) payload: Value,
    /// It was made from what the object was at this revision and holds for no other.
    #[serde(skip)]
    pub(crate) expected: Option<u64>,
}

impl Wish {
    pub(crate) fn new<P: Payload>(object: Target, message: P) -> Result<Self, Failure> {
        let message = message.into_set();
        let payload = serde_json::to_value(&message)
            .map_err(|e| Failure::usage(format!("{object}: cannot be written as JSON: {e}")))?;
        Ok(Self { object, type_name: message.type_name(), payload, expected: None })
    }

    /// What a program would publish on this subject.
    pub(crate) fn published(subject: &str, payload: &[u8]) -> Result<Self, Failure> {
        let Subject { flow, service, target, verb, .. } =
            subject.parse().map_err(|e: bcs_schemas::FieldError| Failure::usage(e.to_string()))?;
        if flow != Flow::Command {
            return Err(Failure::usage(format!("subject: {subject} carries events: expected bcs.cmd.…")));
        }
        let payload = if payload.is_empty() { b"{}".as_slice() } else { payload };
        let payload = serde_json::from_slice(payload).map_err(|e| {
            Failure::usage(format!("the payload is no JSON, and only that can be planned: {e}"))
        })?;
        let kind = target.kind.to_string();
        let type_name = TypeName { service, kind, verb: verb.to_string(), version: 1 };
        Ok(Self { object: target, type_name, payload, expected: None })
    }

    /// Asks what it would do.
    pub(crate) async fn plan(&self, client: &Client, actor: &str) -> Result<Outcome, Failure> {
        let (mode, expected_revision) = (Mode::Plan, self.expected);
        self.send(client, actor, CommandHeaders { mode, expected_revision, ..CommandHeaders::default() })
            .await
    }

    /// Has it done.
    pub(crate) async fn apply(&self, client: &Client, actor: &str) -> Result<Outcome, Failure> {
        let expected_revision = self.expected;
        self.send(client, actor, CommandHeaders { expected_revision, ..CommandHeaders::default() }).await
    }

    /// Publishes it with these headers and waits until it is decided.
    pub(crate) async fn send(
        &self,
        client: &Client,
        actor: &str,
        headers: CommandHeaders,
    ) -> Result<Outcome, Failure> {
        let verb = Name::new(&self.type_name.verb).map_err(|e| Failure::usage(format!("type: {e}")))?;
        let subject = Subject {
            flow: Flow::Command,
            service: self.type_name.service,
            site: client.bus().site().clone(),
            target: self.object.clone(),
            verb,
        };
        let headers = CommandHeaders {
            type_name: Some(self.type_name.clone()),
            content_type: Some(ContentType::Json),
            actor: Some(actor.to_owned()),
            ..headers
        };
        let raw = Raw {
            subject: subject.to_string(),
            payload: self.payload.to_string().into(),
            content_type: None,
            headers: headers.write().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        let (id, outcome) = client.publish_raw(raw, Some(DECIDED_WITHIN)).await?;
        outcome.ok_or_else(|| Failure::timed_out(format!("command {id} has no outcome yet")))
    }
}
