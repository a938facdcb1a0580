//! An application that runs is entered elsewhere, or nowhere, without one of its instances being started anew.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use serde_json::{Value, json};

use crate::world::{LONG, Pod, app, apply, in_files, pods, until_view};

/// Waits until the registry holds so many of its instances; the uids of those that run.
async fn runs_with(up: &Up, entered: usize) -> Result<BTreeSet<String>> {
    wait_until(LONG, &format!("{entered} instances are in the registry"), async || match in_files(up) {
        Ok(entries) if entries.len() == entered => Ready(()),
        Ok(entries) => NotYet(format!("{entries:?}")),
        Err(error) => NotYet(format!("{error:#}")),
    })
    .await?;
    let pods = pods(up).await?;
    ensure!(pods.iter().all(|pod| pod.ready && !pod.ending), "{pods:?}");
    Ok(pods.into_iter().map(|pod| pod.uid).collect())
}

#[tokio::test]
async fn where_an_application_is_entered_changes_while_its_instances_run() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let registered = |register: Value| {
            let mut document = app("moves", &["sim-a", "sim-b"], 4, "v1", Value::Null);
            document["spec"]["register"] = register;
            document
        };
        apply(&up, &registered(Value::Null), &["--wait"]).await?;
        let running = runs_with(&up, 4).await?;
        ensure!(running.len() == 4, "{running:?}");
        for (register, entered) in [(json!([]), 0), (json!([{ "registry": "file" }]), 4), (json!([]), 0)] {
            apply(&up, &registered(register.clone()), &["--wait"]).await?;
            let now = runs_with(&up, entered).await?;
            ensure!(now == running, "{register}: {running:?} became {now:?}");
        }
        let said = up.cli().json(&["get", "registrations"]).await?;
        ensure!(
            said["items"].as_array().is_some_and(Vec::is_empty),
            "of what is nowhere nothing is said: {said}"
        );
        // Nobody has to be told that it leaves.
        up.cli().ok(&["delete", "app", "moves", "--wait"]).await?;
        let left = pods(&up).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

/// `kubectl` and everything else that goes by the engine's word waits for the registries too.
#[tokio::test]
async fn pods_with_a_readiness_gate_are_ready_when_every_registry_has_confirmed_them() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let gated = |registry: &str| {
            let more = json!({ "readinessGate": true, "register": [{ "registry": registry }] });
            app("gated", &["sim-a"], 2, "v1", more)
        };
        apply(&up, &gated("nobody-keeps-this"), &[]).await?;
        let waits = |app: &Value| {
            app["status"]["ready"] == 2 && app["status"]["reason"].to_string().contains("no sidecar keeps")
        };
        until_view(&up, "gated", "waits for a registry", waits).await?;
        let closed = pods(&up).await?;
        ensure!(closed.len() == 2 && closed.iter().all(|pod| !pod.ready), "{closed:?}");
        apply(&up, &gated("file"), &["--wait"]).await?;
        let opened = wait_until(LONG, "the engine counts them as ready", async || match pods(&up).await {
            Ok(pods) if pods.iter().all(|pod| pod.ready) => Ready(pods),
            Ok(pods) => NotYet(format!("{pods:?}")),
            Err(error) => NotYet(format!("{error:#}")),
        })
        .await?;
        let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.uid.clone()).collect::<BTreeSet<_>>();
        ensure!(uids(&opened) == uids(&closed), "{closed:?} became {opened:?}");
        Ok(())
    })
    .await
}
