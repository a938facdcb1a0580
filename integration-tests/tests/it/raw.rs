//! A sender that knows nothing but NATS: bytes on a subject, headers, an inbox.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use bcs_schemas::codec;
use futures::StreamExt;
use serde_json::Value;

/// A decision takes no longer.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// A program with a connection of its own.
pub(crate) struct Sender(async_nats::Client);

impl Sender {
    pub(crate) async fn connect(nats: &str) -> Result<Self> {
        Ok(Self(async_nats::connect(nats).await?))
    }

    /// Publishes and waits for the answer in an inbox.
    pub(crate) async fn ask(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: impl Into<Vec<u8>>,
    ) -> Result<Value> {
        let inbox = self.0.new_inbox();
        let mut answers = self.0.subscribe(inbox.clone()).await?;
        let headers: Vec<(&str, &str)> = [headers, &[("bcs-reply-to", inbox.as_str())]].concat();
        self.tell(subject, &headers, payload).await?;
        let answer = tokio::time::timeout(DECIDED_WITHIN, answers.next()).await;
        let answer =
            answer.with_context(|| format!("{subject}: no outcome came"))?.context("the inbox was closed")?;
        decode(&answer.payload)
    }

    /// Publishes and waits only until the bus keeps it; the position there.
    pub(crate) async fn tell(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: impl Into<Vec<u8>>,
    ) -> Result<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let stream = async_nats::jetstream::new(self.0.clone());
        let sent = stream.publish_with_headers(subject.to_owned(), map, payload.into().into()).await?;
        Ok(sent.await.with_context(|| format!("{subject}: the bus does not keep it"))?.sequence)
    }
}

fn decode(payload: &[u8]) -> Result<Value> {
    if payload.first() == Some(&b'{') {
        return Ok(serde_json::from_slice(payload)?);
    }
    Ok(codec::decode(payload)?)
}

/// A value as MessagePack.
pub(crate) fn msgpack(value: &Value) -> Result<Vec<u8>> {
    Ok(codec::encode(value)?.to_vec())
}

/// The subject of a command about an application of project `demo`.
pub(crate) fn subject(app: &str, verb: &str) -> String {
    format!("bcs.cmd.deploy.local.demo.app.{app}.{verb}")
}
