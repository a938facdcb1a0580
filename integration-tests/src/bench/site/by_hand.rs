//! The bus as a good small program would read it: every endpoint once, and of each what a registry needs.

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use bcs_schemas::bucket;
use futures::StreamExt;
use serde::Deserialize;

use super::Site;

/// What is entered.
#[derive(Deserialize)]
struct Due {
    uid: String,
    app: String,
    addresses: Vec<std::net::IpAddr>,
}

impl Site {
    /// How many endpoints there are that can be entered.
    pub(in crate::bench) async fn read_by_hand(&self) -> Result<usize> {
        let stream =
            self.bus.jetstream().get_stream_no_info(format!("KV_{}", bucket::ENDPOINTS.name)).await?;
        let all = push::OrderedConfig {
            deliver_subject: self.bus.jetstream().client().new_inbox(),
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: format!("$KV.{}.>", bucket::ENDPOINTS.name),
            ..push::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(all).await?;
        let (mut left, mut found) = (consumer.cached_info().num_pending, 0);
        let mut messages = consumer.messages().await?;
        while left > 0 {
            let message = messages.next().await.context("the bus ended the list")??;
            left = message.info().map_err(anyhow::Error::from_boxed)?.pending;
            let mut reader = rmp_serde::Deserializer::new(&*message.payload).with_human_readable();
            let due = Due::deserialize(&mut reader)?;
            found += usize::from(!due.uid.is_empty() && !due.app.is_empty() && !due.addresses.is_empty());
        }
        Ok(found)
    }
}
