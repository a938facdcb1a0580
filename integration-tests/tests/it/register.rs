//! An application that runs is entered elsewhere, or nowhere, without one of its instances being started anew.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use serde_json::{Value, json};

use crate::world::{LONG, app, apply, in_files, pods};

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
