use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{
    super::{image::Images, life::View, plan, restore},
    *,
};

fn pod() -> Value {
    json!({"metadata": {"name": "a", "uid": "u"}, "spec": {
        "containers": [{"name": "c", "image": "i:1"}], "restartPolicy": "Always",
        "initContainers": [{"name": "setup", "image": "i:1"}],
    }})
}

fn run(pod: &Value, now: Now) -> (Life, Value) {
    let plan = plan::plan(pod, Duration::ZERO);
    let view = View { pod, plan: &plan, now, deleting: false, probing: true };
    let mut life = Life::new(pod, now);
    life.sandbox = true;
    let mut images = Images::default();
    while !life.advance(&view, &mut images).is_empty() {}
    let value = write(pod, &life, Some(Ipv4Addr::new(127, 9, 0, 1)), &now);
    (life, value)
}

fn now() -> Now {
    Now { at: Instant::now(), wall: Timestamp::UNIX_EPOCH }
}

#[test]
fn readiness_waits_for_every_gate() {
    let mut gated = pod();
    gated["spec"]["readinessGates"] = json!([{"conditionType": "bcs/registered"}]);
    let (life, closed) = run(&gated, now());
    assert!(object::condition_true(&closed, "ContainersReady") && !object::condition_true(&closed, "Ready"));
    let mut open = closed;
    object::set_condition(&mut open, &json!({"type": "bcs/registered", "status": "True"}), "t");
    assert!(object::condition_true(&write(&open, &life, None, &now()), "Ready"));
}

#[test]
fn a_life_is_read_back_as_it_was_written() {
    let (_, written) = run(&pod(), now());
    assert_eq!(written["status"]["phase"], "Running");
    let restored = restore::life(&written, false, now()).expect("a life");
    let address = Some(Ipv4Addr::new(127, 9, 0, 1));
    assert_eq!(write(&written, &restored, address, &now()), written);
    assert!(restore::life(&pod(), false, now()).is_none(), "this one had not begun");
}

#[test]
fn processes_do_not_survive_a_restart() {
    let (_, written) = run(&pod(), now());
    let restored = restore::life(&written, true, now()).expect("a life");
    let value = write(&written, &restored, None, &now());
    assert_eq!(value["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Unknown");
}
