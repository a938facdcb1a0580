//! PowerDNS with SQLite, written over its HTTP API and asked as resolvers ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command as Plain,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{FutureExt, future::BoxFuture};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{App, Instance, Registry, Style, bind, dns::Dns};
use crate::harness::{Lab, Process, find, free_port, wait_until};

const KEY: &str = "key-of-the-bench";
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
const STARTS_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct PowerDns {
    process: Process,
    directory: PathBuf,
    url: String,
    http: Client,
    client: Dns,
    /// What stands under each name by hand: a set of records is always written whole.
    by_hand: Mutex<BTreeMap<App, BTreeSet<Instance>>>,
}

impl PowerDns {
    pub(super) async fn start(lab: &Lab) -> Result<Self> {
        let (dns, http) = (free_port()?, free_port()?);
        let directory = super::directory(lab, "powerdns", dns)?;
        let at = directory.display();
        let settings = format!(
            "launch=gsqlite3\ngsqlite3-database={at}/db\nsocket-dir={at}\nlocal-address=127.0.0.1\nlocal-port={dns}\n\
             webserver=yes\nwebserver-address=127.0.0.1\nwebserver-port={http}\napi=yes\napi-key={KEY}\n\
             cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
             security-poll-suffix=\ndaemon=no\nguardian=no\nloglevel=3\n"
        );
        fs::write(directory.join("pdns.conf"), settings)?;
        fs::write(directory.join("key"), format!("{KEY}\n"))?;
        let sqlite = find("sqlite3", "SQLITE3_BIN", "install Debian's sqlite3")?;
        let made = Plain::new(sqlite).arg(directory.join("db")).arg(format!(".read {SCHEMA}")).status()?;
        ensure!(
            made.success(),
            "the database of PowerDNS cannot be made: install Debian's pdns-backend-sqlite3"
        );
        let program =
            find("pdns_server", "PDNS_BIN", "install Debian's pdns-server and pdns-backend-sqlite3")?;
        let mut command = Command::new(program);
        command.arg(format!("--config-dir={at}"));
        let process = Process::start(lab, &format!("powerdns-{dns}"), command)?;
        let url = format!("http://127.0.0.1:{http}");
        let server = Self {
            process,
            directory,
            url,
            http: Client::builder().no_proxy().build()?,
            client: Dns::new(dns),
            by_hand: Mutex::default(),
        };
        let zone = json!({ "name": "bcs.local.", "kind": "Native", "nameservers": ["ns.bcs.local."] });
        wait_until(STARTS_WITHIN, "PowerDNS takes a zone", async || {
            server.api(Method::POST, "/zones", &zone).await.into()
        })
        .await?;
        Ok(server)
    }

    async fn api(&self, method: Method, path: &str, body: &Value) -> Result<()> {
        let url = format!("{}/api/v1/servers/localhost{path}", self.url);
        let answer = self.http.request(method, url).header("x-api-key", KEY).json(body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "PowerDNS: {path}: {status} {}", answer.text().await?);
        Ok(())
    }

    async fn change(&self, some: &[Instance], there: bool) -> Result<()> {
        let sets: Vec<Value> = {
            let mut by_hand = self.by_hand.lock().unwrap_or_else(PoisonError::into_inner);
            for one in some {
                let set = by_hand.entry(one.app).or_default();
                let _ = if there { set.insert(*one) } else { set.remove(one) };
            }
            let touched: BTreeSet<App> = some.iter().map(|one| one.app).collect();
            touched.into_iter().map(|app| record_set(app, &by_hand[&app])).collect()
        };
        self.api(Method::PATCH, "/zones/bcs.local.", &json!({ "rrsets": sets })).await
    }
}

fn record_set(app: App, instances: &BTreeSet<Instance>) -> Value {
    let record = |one: &Instance| json!({ "content": one.address(), "disabled": false });
    let records: Vec<Value> = instances.iter().map(record).collect();
    json!({ "name": format!("{}.", app.domain()), "type": "A", "ttl": 30, "changetype": "REPLACE", "records": records })
}

/// As it says itself, in the middle of a sentence.
pub(super) fn version() -> String {
    let said = || {
        let program = find("pdns_server", "PDNS_BIN", "").ok()?;
        let output = Plain::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let after = text.split("PowerDNS Authoritative Server ").nth(1)?;
        Some(after.split_whitespace().next()?.to_owned())
    };
    format!("PowerDNS {}", said().context("unknown").unwrap_or_default())
}

impl Registry for PowerDns {
    fn driver(&self) -> Value {
        json!({ "powerdns": { "url": self.url, "key": { "file": self.directory.join("key") } } })
    }

    fn pid(&self) -> Option<u32> {
        self.process.pid().ok()
    }

    /// It makes one change at a time; some fifty names of a hundred addresses are a large request.
    fn style(&self) -> Style {
        Style { together: 500, bulk: 5000, at_once: 1 }
    }

    fn look<'a>(&'a self, apps: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>> {
        bind::look(&self.client, apps).boxed()
    }

    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.change(some, true).boxed()
    }

    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.change(some, false).boxed()
    }
}
