//! etcd, watched by a client of its own.

use std::{collections::BTreeSet, net::Ipv4Addr};

use anyhow::{Context, Result};
use etcd_client::{Client, EventType, GetOptions, KeyValue, Txn, TxnOp, WatchOptions};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{App, Instance, PORT, Style, Watch};
use crate::harness::{Etcd, Lab};

/// Everything that anybody writes here lies below it.
const PREFIX: &str = "/skydns/";

pub(super) struct Registry {
    server: Etcd,
    client: Client,
}

impl Registry {
    pub(super) async fn start(lab: &Lab) -> Result<Self> {
        let server = Etcd::start(lab).await?;
        let client = server.client().await?;
        Ok(Self { server, client })
    }

    async fn list(&self, apps: &BTreeSet<App>) -> Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        for app in apps {
            let options = GetOptions::new().with_prefix();
            let answer = self.client.clone().get(prefix(*app), Some(options)).await?;
            found.extend(answer.kvs().iter().filter_map(number));
        }
        Ok(found)
    }

    async fn told(&self, watch: &Watch) -> Result<()> {
        let options = WatchOptions::new().with_prefix().with_prev_key();
        let mut stream = self.client.clone().watch(PREFIX, Some(options)).await?;
        loop {
            let message = stream.message().await?.context("the watch was ended")?;
            let at = Instant::now();
            for event in message.events() {
                let there = event.event_type() == EventType::Put;
                let entry = if there { event.kv() } else { event.prev_kv() };
                if let Some(number) = entry.and_then(number) {
                    watch.note(number, there, at);
                }
            }
        }
    }

    async fn transact(&self, operations: Vec<TxnOp>) -> Result<()> {
        self.client.clone().txn(Txn::new().and_then(operations)).await?;
        Ok(())
    }
}

/// Below it lie the instances of an application.
fn prefix(app: App) -> String {
    format!("{PREFIX}local/bcs/shop/{app}/")
}

fn key(one: &Instance) -> String {
    format!("{}{}", prefix(one.app), one.number)
}

/// About as long as what the sidecar writes.
fn value(one: &Instance) -> String {
    json!({ "host": one.address(), "port": PORT, "uid": one.uid(), "rest": "x".repeat(200) }).to_string()
}

fn number(entry: &KeyValue) -> Option<u32> {
    let value: Value = serde_json::from_slice(entry.value()).ok()?;
    Instance::at(value.get("host")?.as_str()?.parse::<Ipv4Addr>().ok()?)
}

impl super::Registry for Registry {
    fn driver(&self) -> Value {
        json!({ "etcd": { "endpoints": [self.server.url()] } })
    }

    fn pid(&self) -> Option<u32> {
        self.server.pid().ok()
    }

    /// It syncs once for all that come at the same time. A transaction takes 128.
    fn style(&self) -> Style {
        Style { together: 1, bulk: 128, at_once: 64 }
    }

    fn look<'a>(&'a self, apps: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>> {
        self.list(apps).boxed()
    }

    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.transact(some.iter().map(|one| TxnOp::put(key(one), value(one), None)).collect()).boxed()
    }

    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.transact(some.iter().map(|one| TxnOp::delete(key(one), None)).collect()).boxed()
    }

    fn follow<'a>(&'a self, watch: &'a Watch) -> BoxFuture<'a, Result<()>> {
        self.told(watch).boxed()
    }
}
