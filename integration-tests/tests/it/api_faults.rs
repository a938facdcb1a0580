//! API servers that fail, answer with conflicts, drop their watches and forget their history, while applications change.

use anyhow::Result;
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use serde_json::{Value, json};

use crate::world::{CLUSTERS, LONG, agrees, app, apply, settled};

/// How often the number of instances changes.
const CHANGES: usize = 12;

/// What goes wrong once, after change number `turn`.
fn trouble(turn: usize) -> Value {
    match turn % 3 {
        0 => json!({ "drop_watches": true }),
        1 => json!({ "compact": true }),
        _ => json!({ "compact": true, "drop_watches": true }),
    }
}

#[tokio::test]
async fn bad_api_servers_delay_and_the_end_is_right() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        apply(&up, &app("tough", &CLUSTERS, 2, "v1", Value::Null), &["--wait"]).await?;
        for cluster in CLUSTERS {
            let faults = json!({ "api_errors": 0.05, "conflicts": 0.2, "seed": 7 });
            up.cluster(cluster)?.faults(faults).await?;
        }
        for turn in 0..CHANGES {
            let replicas = (1 + turn * 3 % 5).to_string();
            up.cli().ok(&["scale", "app", "tough", "--replicas", &replicas]).await?;
            up.cluster(CLUSTERS[turn % 2])?.faults(trouble(turn)).await?;
        }
        // Under errors and conflicts still.
        up.cli().ok(&["scale", "app", "tough", "--replicas", "6", "--wait"]).await?;
        apply(&up, &app("tough", &CLUSTERS, 4, "v2", Value::Null), &["--wait"]).await?;
        for cluster in CLUSTERS {
            up.cluster(cluster)?.no_faults().await?;
        }
        settled(&up, None, &[("tough", 4, "v2")]).await?;
        up.cli().ok(&["delete", "app", "tough", "--wait"]).await?;
        settled(&up, None, &[]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_that_others_kill_come_back_and_registries_follow() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        apply(&up, &app("hunted", &CLUSTERS, 4, "v1", Value::Null), &["--wait"]).await?;
        let before = settled(&up, None, &[("hunted", 4, "v1")]).await?;
        for cluster in CLUSTERS {
            let server = up.cluster(cluster)?;
            let pods = server.get("/api/v1/pods?labelSelector=bcs.io/app%3Dhunted").await?;
            let victim = pods["items"][0]["metadata"].clone();
            let (space, name) = (victim["namespace"].as_str(), victim["name"].as_str());
            let path = format!("/api/v1/namespaces/{}/pods/{}", space.unwrap_or("-"), name.unwrap_or("-"));
            server.delete(&path).await?;
            server.faults(json!({ "compact": true, "drop_watches": true })).await?;
        }
        wait_until(LONG, "two were replaced", async || {
            match agrees(&up, None, &[("hunted", 4, "v1")]).await {
                Ok(now) if now.intersection(&before).count() == 2 => Ready(()),
                Ok(now) => NotYet(format!("{now:?}")),
                Err(error) => NotYet(format!("{error:#}")),
            }
        })
        .await
    })
    .await
}
