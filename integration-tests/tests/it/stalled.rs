//! A revision that does not come up: the rollout stops and says why, the old one serves, a good one goes through.

use anyhow::{Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, Options, Up};
use serde_json::{Value, json};

use crate::{
    traffic::Traffic,
    world::{CLUSTERS, agrees, app, apply, pods, view},
};

fn shop(tag: &str) -> Value {
    app("shop", &CLUSTERS, 3, tag, json!({ "update": { "progressDeadline": 3000 } }))
}

#[tokio::test]
async fn a_rollout_that_does_not_move_on_stops_with_its_reason_and_harms_nobody() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        apply(&up, &shop("v1"), &["--wait"]).await?;
        let traffic = Traffic::start(&up, "shop")?;
        let text = shop("missing").to_string();
        let ran =
            up.cli().run_with(&["apply", "-f", "-", "--wait"], Some(text.as_bytes())).await?.expect(1)?;
        let stuck = pods(&up).await?.into_iter().find(|pod| pod.tag == "missing" && !pod.ending);
        let stuck = stuck.map(|pod| pod.name).unwrap_or_default();
        ensure!(!stuck.is_empty(), "nothing of the new revision was started");
        let said = ran.text();
        for words in ["stalled", "shop", "mage", stuck.as_str()] {
            ensure!(said.contains(words), "{words:?} is not said: {said}");
        }
        let status = view(&up, "shop").await?["status"].clone();
        ensure!(status["phase"] == "stalled" && status["available"] == 3, "{status}");
        let blocking = status["blocking"].as_str().unwrap_or_default();
        ensure!(blocking.ends_with(&stuck) && status["reason"].is_string(), "{status}");
        let serving = pods(&up).await?.iter().filter(|p| p.tag == "v1" && p.ready && !p.ending).count();
        ensure!(serving == 3, "{serving} of the old revision serve");
        apply(&up, &shop("v2"), &["--wait"]).await?;
        agrees(&up, None, &[("shop", 3, "v2")]).await?;
        traffic.stop().await?;
        Ok(())
    })
    .await
}
