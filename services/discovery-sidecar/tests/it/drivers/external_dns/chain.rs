//! Our own client of the protocol, the driver `webhook`, before our own server of it: it is an independent user, since it knows
//! nothing of what lies behind.

use bcs_schemas::{Millis, observation::RegistrationState};
use serde_json::json;

use super::registry;
use crate::{contract::Site, drivers::dns::Bind, fixture::*, secrets::authority, web};

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_writes_through_another_over_tls_and_users_find_the_addresses() {
    let directory = tempfile::tempdir().expect("a directory");
    authority(directory.path(), "good");
    let file = |name: &str| json!({ "file": directory.path().join(name) });
    let (nats, zone, port) = (Nats::start().await, Bind::start().await, free_port());
    let served = json!({
        "listen": format!("127.0.0.1:{port}"), "domains": ["other.bcs.local"],
        "tls": { "certificate": file("good-server.pem"), "key": file("good-server.key"), "clientCa": file("good-ca.pem") },
    });
    let mut kept = registry(&zone, &served);
    // Nobody remembers names here: what is out is out.
    kept.spec.deregistration_delay = Some(Millis::ZERO);
    let keeper = nats.sidecar(config(vec![kept])).await;
    nats.status("dns", |status| status.reachable).await;

    let client = json!({ "certificate": file("good-client.pem"), "key": file("good-client.key") });
    let driver = json!({ "webhook": {
        "url": format!("https://127.0.0.1:{port}"), "tls": { "ca": file("good-ca.pem"), "client": client },
    } });
    let mut hook = document("hook", driver);
    hook.spec.zone = "other.bcs.local".to_owned();
    (hook.spec.ttl, hook.spec.deregistration_delay) = (Millis::from_secs(7), Some(Millis::ZERO));
    let writer = nats.sidecar(config(vec![hook])).await;
    nats.status("hook", |status| status.reachable).await;
    for number in 1..=3 {
        nats.put(&endpoint(number)).await;
        nats.wait_for(&format!("uid-{number}"), 2, RegistrationState::Confirmed).await;
    }
    let (ours, others) = ("web.shop.bcs.local", "web.shop.other.bcs.local");
    for at in [ours, others] {
        assert_eq!(zone.0.addresses(at).len(), 3, "{at}");
    }
    assert_eq!(zone.0.ttl(others), 7);
    nats.put(&draining(2)).await;
    nats.wait_for("uid-2", 2, RegistrationState::Drained).await;
    for at in [ours, others] {
        assert_eq!(zone.0.addresses(at).len(), 2, "{at}");
    }
    // Without a certificate that the authority signed, nobody comes in.
    let plain = web::ask("GET", &format!("http://127.0.0.1:{port}/"), &[], "").await;
    assert!(plain.is_err(), "{plain:?}");
    let mut stranger = document(
        "hook",
        json!({ "webhook": {
        "url": format!("https://127.0.0.1:{port}"), "tls": { "ca": file("good-ca.pem") },
    } }),
    );
    stranger.metadata.name = name("stranger");
    let strangers = nats.sidecar(config(vec![stranger])).await;
    nats.status("stranger", |status| !status.reachable && status.reason.is_some()).await;
    for tasks in [strangers, writer, keeper] {
        assert!(tasks.stop(LONG).await);
    }
    let told = nats.status("dns", |_| true).await;
    assert_eq!((told.failures, told.drift_repaired), (0, 0), "{told:?}");
}
