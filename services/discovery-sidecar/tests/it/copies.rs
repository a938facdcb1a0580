//! A bus with several copies of everything, any of which may answer, also one that lags behind.

use bcs_schemas::observation::RegistrationState;
use futures::future::join_all;

use crate::fixture::*;

bcs_testbus::on_one_and_three!(what_is_deleted_leaves_the_registry_whichever_copy_is_asked);

/// Each deletion without a drain before is asked about once more: some of the answers are old.
async fn what_is_deleted_leaves_the_registry_whichever_copy_is_asked(servers: bcs_testbus::Servers) {
    const COUNT: u32 = 200;
    let nats = Nats::of(servers).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = document("hosts", serde_json::json!({ "file": { "directory": directory.path() } }));
    let tasks = nats.sidecar(config(vec![file])).await;
    let endpoints: Vec<_> = (1..=COUNT).map(endpoint).collect();
    join_all(endpoints.iter().map(|endpoint| nats.put(endpoint))).await;
    wait_until(LONG, async || {
        let confirmed = nats.registrations().await;
        let confirmed = confirmed.iter().filter(|r| r.state == RegistrationState::Confirmed).count();
        if confirmed == COUNT as usize {
            Ok(())
        } else {
            Err(format!("{confirmed} of {COUNT} are confirmed"))
        }
    })
    .await;
    join_all(endpoints.iter().map(|endpoint| nats.delete(endpoint))).await;
    wait_until(LONG, async || match nats.registrations().await {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{} are left", left.len())),
    })
    .await;
    let hosts = std::fs::read_to_string(directory.path().join("sim-a.hosts")).expect("hosts");
    assert_eq!(hosts.lines().count(), 1, "{hosts}");
    assert!(tasks.stop(LONG).await);
}
