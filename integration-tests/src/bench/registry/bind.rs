//! BIND with one zone that a key may update, asked as resolvers ask.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{FutureExt, future::BoxFuture};
use hickory_proto::rr::{Name, TSigner, rdata::tsig::TsigAlgorithm};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{App, Instance, Registry, Style, dns};
use crate::harness::{Lab, Process, find, free_port, wait_until};

const ZONE: &str = "bcs.local";
const SECRET: &str = "c2VjcmV0LW9mLXRoZS16b25lLWZvci10aGUtYmVuY2g=";
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// How much clocks may differ, in seconds, as everybody has it.
const FUDGE: u16 = 300;

pub(in crate::bench) struct Bind {
    process: Process,
    directory: PathBuf,
    port: u16,
    client: dns::Dns,
    /// Beside the client, which looks all the time.
    pen: dns::Dns,
    signer: TSigner,
}

impl Bind {
    pub(in crate::bench) async fn start(lab: &Lab) -> Result<Self> {
        let port = free_port()?;
        let directory = super::directory(lab, "bind", port)?;
        let at = directory.display();
        fs::write(directory.join("secret"), format!("{SECRET}\n"))?;
        fs::write(
            directory.join("zone"),
            format!(
                "$TTL 300\n@ SOA ns1.{ZONE}. admin.{ZONE}. 1 3600 600 86400 60\n@ NS ns1.{ZONE}.\nns1.{ZONE}. A 127.0.0.1\n"
            ),
        )?;
        let settings = format!(
            r#"options {{
    directory "{at}"; pid-file "{at}/named.pid"; session-keyfile "{at}/session.key"; lock-file none;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; notify no; empty-zones-enable no; max-records-per-type 0;
}};
controls {{ }};
key "bcs" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "{ZONE}" {{ type primary; file "{at}/zone"; allow-update {{ key bcs; }}; allow-transfer {{ key bcs; }}; }};
"#
        );
        fs::write(directory.join("named.conf"), settings)?;
        let program = find("named", "NAMED_BIN", "install Debian's bind9")?;
        let mut command = Command::new(program);
        command.args(["-f", "-g", "-c"]).arg(directory.join("named.conf"));
        let process = Process::start(lab, &format!("named-{port}"), command)?;
        let (client, pen) = (dns::Dns::new(port), dns::Dns::new(port));
        let name = Name::from_ascii("bcs.")?;
        let signer = TSigner::new(BASE64_STANDARD.decode(SECRET)?, TsigAlgorithm::HmacSha256, name, FUDGE)?;
        let bind = Self { process, directory, port, client, pen, signer };
        wait_until(STARTS_WITHIN, "named answers", async || bind.answers().await.into()).await?;
        Ok(bind)
    }

    /// Where it is asked.
    pub(in crate::bench) fn port(&self) -> u16 {
        self.port
    }

    async fn answers(&self) -> Result<()> {
        let found = self.client.ask(&[format!("ns1.{ZONE}")]).await?;
        ensure!(!found[0].addresses.is_empty(), "it does not know its own zone");
        Ok(())
    }

    async fn change(&self, some: &[Instance], there: bool) -> Result<()> {
        let record = |one: &Instance| dns::record(&one.app.domain(), one.address(), there);
        let records = some.iter().map(record).collect::<Result<_>>()?;
        self.pen.update(ZONE, records, &self.signer).await
    }
}

/// The instances of these applications that a name server tells.
pub(super) async fn look(client: &dns::Dns, apps: &BTreeSet<App>) -> Result<BTreeSet<u32>> {
    let names: Vec<String> = apps.iter().map(|app| app.domain()).collect();
    let found = client.ask(&names).await?;
    Ok(found.into_iter().flat_map(|found| found.addresses).filter_map(Instance::at).collect())
}

impl Registry for Bind {
    fn driver(&self) -> Value {
        json!({ "dns": {
            "servers": [format!("127.0.0.1:{}", self.port)], "zone": ZONE,
            "key": { "name": "bcs", "algorithm": "hmac-sha256", "secret": { "file": self.directory.join("secret") } },
        } })
    }

    fn pid(&self) -> Option<u32> {
        self.process.pid().ok()
    }

    /// It makes one update of a zone at a time, and syncs its journal for each. A message holds thousands of records; with
    /// more than some hundreds nothing is gained.
    fn style(&self) -> Style {
        Style { together: 500, bulk: 500, at_once: 1 }
    }

    fn look<'a>(&'a self, apps: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>> {
        look(&self.client, apps).boxed()
    }

    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.change(some, true).boxed()
    }

    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.change(some, false).boxed()
    }
}
