//! The leases of the nodes in `kube-node-lease`, and now and then a heartbeat in their status.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::health;
use crate::{
    clock, kind,
    object::{self, Key},
    status::Status,
    store::Store,
};

const NAMESPACE: &str = "kube-node-lease";
/// As often as leases are renewed, times this, the status is written without need: every five minutes.
const HEARTBEAT: u32 = 30;

pub(crate) async fn renew(store: Arc<Store>, down: watch::Receiver<BTreeSet<String>>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_u32.. {
        ticks.tick().await;
        for node in store.list(&kind::NODES, "").objects {
            let name = object::name(&node);
            if down.borrow().contains(name) {
                continue;
            }
            let beat = tick > 0 && tick.is_multiple_of(HEARTBEAT);
            let heartbeat = if beat { health::report(&store, name, true) } else { Ok(()) };
            if let Err(status) = heartbeat.and_then(|()| lease(&store, &node)) {
                tracing::debug!(error = %status, node = %name, "a lease was not renewed");
            }
        }
    }
}

fn lease(store: &Store, node: &Value) -> Result<(), Status> {
    let name = object::name(node);
    let now = json!(clock::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    let key = Key::new(NAMESPACE, name);
    let renewed = store.update(&kind::LEASES, &key, |seen| {
        let mut value = seen.clone();
        object::set(&mut value, &["spec", "renewTime"], now.clone());
        Ok(Some(value))
    });
    match renewed {
        Err(status) if status.code == 404 => {
            let owner = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": object::uid(node)});
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
            });
            store.create(&kind::LEASES, lease).map(|_| ())
        }
        other => other.map(|_| ()),
    }
}
