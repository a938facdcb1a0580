//! Stopped as by Ctrl-C and started again, everything is as it was.

use anyhow::{Result, ensure};
use bcs_client::Position;
use bcs_integration_tests::harness::{Etcd, Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use bcs_schemas::Service;

use crate::world::{LONG, agrees, app, apply, pods, settled};

/// Every event about an application, as it stands on the bus.
async fn events(up: &Up) -> Result<Vec<u64>> {
    let mut events = up.client().await?.events(&[Service::Deploy], Position::All).await?;
    let mut found = Vec::new();
    while let Some(event) = events.next_past().await {
        if event.subject.target.kind.as_str() == "app" {
            found.push(event.headers.seq);
        }
    }
    Ok(found)
}

/// Epochs of all sidecars: one that works has taken the next.
async fn epochs(up: &Up) -> Result<Vec<u64>> {
    let found = up.cli().json(&["get", "registries"]).await?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    Ok(items.iter().filter_map(|item| item["epoch"].as_u64()).collect())
}

#[tokio::test]
async fn what_is_stopped_and_started_again_is_as_it_was() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let etcd = Etcd::start(lab).await?;
        let mut up = Up::start(lab, Options { etcd: Some(etcd.url()), ..Options::default() }).await?;
        let clusters = ["sim-a", "sim-b"];
        for (name, replicas) in [("one", 1), ("four", 4)] {
            apply(&up, &app(name, &clusters, replicas, "v1", Default::default()), &["--wait"]).await?;
        }
        let wanted = [("one", 1, "v1"), ("four", 4, "v1")];
        let before = (agrees(&up, Some(&etcd), &wanted).await?, pods(&up).await?, events(&up).await?);
        let old_epochs = epochs(&up).await?;
        up.stop().await?;
        ensure!(
            tokio::net::TcpStream::connect(up.nats().trim_start_matches("nats://")).await.is_err(),
            "nats-server lives on"
        );
        up.start_again(lab).await?;
        // Everybody has taken up work again: whatever they would change, they have changed.
        wait_until(LONG, "every sidecar works again", async || match epochs(&up).await {
            Ok(now) if now.len() == 4 && now.iter().zip(&old_epochs).all(|(new, old)| new > old) => Ready(()),
            other => NotYet(format!("epochs {old_epochs:?} became {other:?}")),
        })
        .await?;
        settled(&up, Some(&etcd), &wanted).await?;
        up.cli().ok(&["status"]).await?;
        let after = (agrees(&up, Some(&etcd), &wanted).await?, pods(&up).await?, events(&up).await?);
        ensure!(before == after, "before {before:#?}, after {after:#?}");
        // A command works, so the platform is not merely quiet.
        up.cli().ok(&["scale", "app", "one", "--replicas", "2", "--wait"]).await?;
        agrees(&up, Some(&etcd), &[("one", 2, "v1"), ("four", 4, "v1")]).await?;
        Ok(())
    })
    .await
}
