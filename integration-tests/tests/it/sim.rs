//! `bcs sim` on a running platform: the examples of `docs/kubesim.md`, and an application that outlives them.

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    other_language::{SHOP, example_of, path_with_bcs},
    world::{CLUSTERS, LONG, app, apply, settled},
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kubesim.md");

#[tokio::test]
async fn the_examples_of_simulated_faults_work_and_the_shop_outlives_them() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        up.cli().ok(&["apply", "-f", SHOP, "--wait"]).await?;
        // The page has no directory to name: its `bcs up` works in the standard one.
        let home = up.cli().home;
        let standard = home.join(".local/share");
        std::fs::create_dir_all(&standard)?;
        std::os::unix::fs::symlink(up.data(), standard.join("bcs"))?;
        let mut command = Command::new("bash");
        command.arg("-c").arg(example_of(PAGE, "bash")?).env("PATH", path_with_bcs()?).env("HOME", &home);
        let output = tokio::time::timeout(LONG, command.kill_on_drop(true).output()).await;
        let output = output.context("the example hangs")??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{said}{wrong}");
        for words in ["api-errors=5% conflicts=10% latency=20ms", "crashed demo/shop-web-", "no faults"] {
            ensure!(said.contains(words), "{words:?} is not in {said}");
        }
        settled(&up, None, &[("shop-web", 6, "v1"), ("shop-api", 4, "v1"), ("shop-cache", 2, "v1")]).await?;
        Ok(())
    })
    .await
}

/// The number of restarts of each pod in a cluster.
async fn restarts(up: &Up, cluster: &str) -> Result<Vec<i64>> {
    let list = up.cluster(cluster)?.get("/api/v1/pods?labelSelector=bcs.io/app%3Dtough").await?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    Ok(pods.iter().filter_map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_i64()).collect())
}

#[tokio::test]
async fn a_partition_and_a_crash_delay_and_the_end_is_right() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let data = up.data().display().to_string();
        let fault = async |cluster: &str, words: &[&str]| {
            up.cli().ok(&[&["sim", "fault", "--data", &data, "--cluster", cluster], words].concat()).await
        };
        apply(&up, &app("tough", &CLUSTERS, 4, "v1", Value::Null), &["--wait"]).await?;
        // Nobody sees the crash behind the partition; the new version waits for its end.
        fault("sim-a", &["crash", "tough", "partition", "5s"]).await?;
        fault("sim-b", &["slow-start=1s", "image-pull-error=30%", "seed=7"]).await?;
        apply(&up, &app("tough", &CLUSTERS, 4, "v2", json!({})), &["--wait"]).await?;
        fault("sim-b", &["reset"]).await?;
        let before = settled(&up, None, &[("tough", 4, "v2")]).await?;
        fault("sim-a", &["crash", "tough"]).await?;
        wait_until(LONG, "both were restarted", async || match restarts(&up, "sim-a").await {
            Ok(found) if found == [1, 1] => Ready(()),
            other => NotYet(format!("{other:?}")),
        })
        .await?;
        let after = settled(&up, None, &[("tough", 4, "v2")]).await?;
        ensure!(before == after, "the same instances serve again: {before:?}, {after:?}");
        Ok(())
    })
    .await
}
