//! Many pods at once: no step of their lives may cost more the more of them there are.

use std::time::Duration;

use crate::harness::{DEPLOYMENTS, Raw, deployment, eventually, sim};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pods_become_ready_and_go() {
    let sim = sim("scale").await;
    assert_eq!(Raw(&sim).post(DEPLOYMENTS, &deployment("web", 1000, "web:1")).await.0, 201);
    let began = tokio::time::Instant::now();
    let count = |wanted: usize| {
        let sim = &sim;
        async move {
            let stats = sim.stats();
            if stats.ready_pods == wanted && stats.pods == wanted {
                Ok(())
            } else {
                Err(format!("{stats:?}"))
            }
        }
    };
    eventually(|| count(1000)).await;
    println!("ready after {:?}", began.elapsed());
    // Generous: debug builds on small machines take a few seconds.
    assert!(began.elapsed() < Duration::from_secs(25));
    Raw(&sim).send("DELETE", &format!("{DEPLOYMENTS}/web"), "application/json", "").await;
    eventually(|| count(0)).await;
    println!("gone after {:?}", began.elapsed());
    sim.shutdown().await;
}
