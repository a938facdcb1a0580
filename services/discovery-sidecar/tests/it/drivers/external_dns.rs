//! An ExternalDNS that hands its records to the sidecar: over real servers of DNS, looked at with `dig`. The ExternalDNS is
//! a stand-in, see [`standin`].

mod chain;
mod load;
mod protocol;
mod standin;
mod stories;

use bcs_kit::Tasks;
use bcs_schemas::resource::Registry;
use serde_json::{Value, json};

pub(crate) use self::stories::*;
use crate::{contract::Site, fixture::*, web};

pub(crate) const MEDIA: &str = "application/external.dns.webhook+json;version=1";

/// A zone that others write to as well.
pub(crate) trait Zone: Site {
    /// What nobody may ever be told.
    const SECRET: &'static str;

    /// What users get.
    fn dig(&self, question: &[&str]) -> Vec<String>;

    /// Somebody makes a record set one record.
    async fn write(&self, name: &str, kind: &str, content: &str);

    /// Somebody takes a record set out.
    async fn erase(&self, name: &str, kind: &str);

    /// kill -9.
    async fn stop(&mut self);

    /// With its data.
    async fn go_on(&mut self);
}

/// The document of a registry `dns` that an ExternalDNS comes to.
pub(crate) fn registry(site: &impl Site, external_dns: &Value) -> Registry {
    let mut spec = site.spec();
    spec["externalDns"] = external_dns.clone();
    let mut whole = serde_json::to_value(document("dns", spec["driver"].clone())).expect("is JSON");
    whole["spec"].as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    serde_json::from_value(whole).expect("a registry")
}

/// A zone, and a sidecar that keeps it and lets an ExternalDNS in.
pub(crate) struct Front<Z> {
    pub(crate) zone: Z,
    pub(crate) nats: Nats,
    pub(crate) url: String,
    pub(crate) tasks: Tasks,
}

impl<Z: Zone> Front<Z> {
    pub(crate) async fn start() -> Self {
        let (nats, zone, port) = (Nats::start().await, Z::start().await, free_port());
        let listen = json!({ "listen": format!("127.0.0.1:{port}") });
        let tasks = nats.sidecar(config(vec![registry(&zone, &listen)])).await;
        nats.status("dns", |status| status.reachable).await;
        Self { zone, nats, url: format!("http://127.0.0.1:{port}"), tasks }
    }

    /// Status and words, whenever it listens.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        ask(&self.url, method, path, body).await
    }

    pub(crate) async fn change(&self, changes: Value) -> (u16, String) {
        self.ask("POST", "/records", &changes).await
    }

    /// What is told of record sets, by name and type.
    pub(crate) async fn told(&self, name: &str) -> Vec<Value> {
        let (status, body) = self.ask("GET", "/records", &Value::Null).await;
        assert_eq!(status, 200, "{body}");
        let records: Vec<Value> = serde_json::from_str(&body).expect("a list");
        records.into_iter().filter(|record| record["dnsName"] == name).collect()
    }
}

/// Status and words.
pub(crate) async fn ask(url: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("accept", MEDIA), ("content-type", MEDIA)];
    wait_until(LONG, async || web::ask(method, &format!("{url}{path}"), &headers, body.clone()).await).await
}

/// A record set, as the protocol has it.
pub(crate) fn set(name: &str, kind: &str, targets: &[&str]) -> Value {
    json!({ "dnsName": name, "recordType": kind, "targets": targets })
}
