//! Applications choose their registries, and registries their applications.

use bcs_schemas::{
    observation::{Endpoint, RegistrationState},
    resource::Registry,
};

use crate::fixture::*;

/// A registry in a file, with what lies in it.
struct Hosts {
    directory: tempfile::TempDir,
    name: &'static str,
}

impl Hosts {
    fn new(name: &'static str) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), name }
    }

    fn registry(&self, spec: serde_json::Value) -> Registry {
        let mut whole = serde_json::to_value(document(
            self.name,
            serde_json::json!({ "file": { "directory": self.directory.path() } }),
        ))
        .expect("is JSON");
        whole["spec"]
            .as_object_mut()
            .expect("an object")
            .extend(spec.as_object().expect("an object").clone());
        serde_json::from_value(whole).expect("a registry")
    }

    async fn holds(&self, wanted: &[&str]) {
        wait_until(LONG, async || {
            let text = std::fs::read_to_string(self.directory.path().join("sim-a.hosts")).unwrap_or_default();
            let lines: Vec<String> = text.lines().skip(1).map(|line| line.replace('\t', " ")).collect();
            if lines == wanted {
                Ok(())
            } else {
                Err(format!("{} holds {lines:?}, not {wanted:?}", self.name))
            }
        })
        .await;
    }
}

fn choosing(number: u32, register: serde_json::Value) -> Endpoint {
    let register = serde_json::from_value(register).expect("a list");
    let labels = [("tier".to_owned(), "front".to_owned())].into();
    Endpoint { register, labels, ..endpoint(number) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_in_the_registries_that_its_application_names_and_moves_when_that_changes() {
    let nats = Nats::start().await;
    let (open, asked) = (Hosts::new("open"), Hosts::new("asked"));
    let registries =
        vec![open.registry(serde_json::json!({})), asked.registry(serde_json::json!({ "optIn": true }))];
    let tasks = nats.sidecar(config(registries)).await;
    nats.put(&choosing(1, serde_json::json!(null))).await;
    nats.put(&choosing(2, serde_json::json!([{ "registry": "asked", "name": "front" }]))).await;
    nats.put(&choosing(3, serde_json::json!([]))).await;
    open.holds(&["10.0.0.1 web.shop.bcs.local"]).await;
    asked.holds(&["10.0.0.2 front.shop.bcs.local"]).await;
    // Before it leaves the one it is in the other: whoever moves names both for a while.
    nats.put(&choosing(1, serde_json::json!([{ "registry": "open" }, { "registry": "asked" }]))).await;
    asked.holds(&["10.0.0.2 front.shop.bcs.local", "10.0.0.1 web.shop.bcs.local"]).await;
    nats.wait_for("uid-1", 2, RegistrationState::Confirmed).await;
    nats.put(&choosing(1, serde_json::json!([{ "registry": "asked" }]))).await;
    open.holds(&[]).await;
    wait_until(LONG, async || {
        let mut said: Vec<_> = nats
            .registrations()
            .await
            .into_iter()
            .map(|r| (r.uid, r.registry.to_string(), r.state))
            .collect();
        said.sort_by(|a, b| a.0.cmp(&b.0));
        let asked = |uid: &str| (uid.to_owned(), "asked".to_owned(), RegistrationState::Confirmed);
        if said == [asked("uid-1"), asked("uid-2")] { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_takes_only_the_applications_that_it_is_for() {
    let nats = Nats::start().await;
    let (front, bank) = (Hosts::new("front"), Hosts::new("bank"));
    let registries = vec![
        front.registry(serde_json::json!({ "onlyIf": { "matchLabels": { "tier": "front" } } })),
        bank.registry(serde_json::json!({ "onlyIf": { "projects": ["bank"] } })),
    ];
    let tasks = nats.sidecar(config(registries)).await;
    nats.put(&choosing(1, serde_json::json!(null))).await;
    nats.put(&choosing(2, serde_json::json!([{ "registry": "bank" }]))).await;
    nats.put(&endpoint(3)).await;
    front.holds(&["10.0.0.1 web.shop.bcs.local"]).await;
    nats.put(&Endpoint { project: name("bank"), ..endpoint(4) }).await;
    bank.holds(&["10.0.0.4 web.bank.bcs.local"]).await;
    let scope = nats.status("bank", |status| status.reachable).await.scope;
    assert_eq!(scope.only_if.map(|only| only.projects), Some(vec![name("bank")]));
    assert!(tasks.stop(LONG).await);
}
