//! etcd, watched by a client of its own.

use anyhow::{Context, Result};
use etcd_client::{Client, DeleteOptions, EventType, GetOptions, KeyValue, WatchOptions, WatchStream};
use serde_json::Value;
use tokio::time::Instant;

use super::{Sent, place::Place, seen::Seen};

pub(super) const CLUSTER: &str = "in-etcd";
/// Everything that anybody writes here lies below it.
pub(super) const PREFIX: &str = "/skydns/";
const BY_HAND: &str = "/skydns/floor/";

pub(super) struct Registry {
    client: Client,
    seen: Seen,
}

impl Registry {
    pub(super) async fn open(place: &Place) -> Result<Self> {
        let mut client = place.etcd.client().await?;
        let watch = client.watch(PREFIX, Some(WatchOptions::new().with_prefix())).await?;
        let seen = Seen::default();
        let (noted, stopping) = (seen.clone(), place.tasks.stopping());
        place.tasks.spawn("etcd-watch", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                ended = follow(watch, &noted) => eprintln!("the watch ended: {ended:?}"),
            }
        });
        Ok(Self { client, seen })
    }
}

async fn follow(mut watch: WatchStream, seen: &Seen) -> Result<()> {
    loop {
        let message = watch.message().await?.context("closed")?;
        let at = Instant::now();
        let puts = message.events().iter().filter(|event| event.event_type() == EventType::Put);
        for uid in puts.filter_map(|event| uid(event.kv()?)) {
            seen.note(&uid, at);
        }
    }
}

fn uid(entry: &KeyValue) -> Option<String> {
    let value: Value = serde_json::from_slice(entry.value()).ok()?;
    value.get("uid")?.as_str().map(str::to_owned)
}

impl super::Registry for Registry {
    const NAME: &'static str = "etcd";
    const CLUSTER: &'static str = CLUSTER;

    fn seen(&self) -> &Seen {
        &self.seen
    }

    async fn listed(&self) -> Result<Vec<String>> {
        let mut found = self.client.clone().get(PREFIX, Some(GetOptions::new().with_prefix())).await?;
        Ok(found.take_kvs().iter().filter_map(uid).collect())
    }

    async fn put(&self, uid: String) -> Result<Sent> {
        let entry =
            serde_json::json!({ "host": "10.0.0.1", "port": 8080, "uid": uid, "rest": "x".repeat(200) });
        let at = Instant::now();
        self.client.clone().put(format!("{BY_HAND}{uid}"), entry.to_string(), None).await?;
        Ok(Sent { uid, at, kept: at.elapsed() })
    }

    async fn clear(&self) -> Result<()> {
        self.client.clone().delete(BY_HAND, Some(DeleteOptions::new().with_prefix())).await?;
        Ok(())
    }
}
