use jiff::Timestamp;
use serde_json::json;

use super::{
    super::{
        container::{Now, State},
        image::Images,
        plan,
    },
    *,
};

/// Answers every probe of a pod as told, one step a second, and says what happened at which second.
fn play(
    spec: &Value,
    seconds: u64,
    answer: impl Fn(Which, u64) -> Result<(), String>,
) -> (Life, Vec<(u64, String)>) {
    let pod = json!({"metadata": {}, "spec": {"containers": [spec], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30}});
    let origin = Instant::now();
    let now = |second| Now { at: origin + Duration::from_secs(second), wall: Timestamp::UNIX_EPOCH };
    let plan = plan::plan(&pod, Duration::ZERO);
    let mut life = Life::new(&pod, now(0));
    life.sandbox = true;
    let (mut images, mut seen) = (Images::default(), Vec::new());
    for second in 0..seconds {
        let view = View { pod: &pod, plan: &plan, now: now(second), deleting: false, probing: true };
        let mut effects = Vec::new();
        loop {
            effects.extend(life.advance(&view, &mut images));
            if effects.is_empty() {
                break;
            }
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Probe(index, which) => {
                        effects.extend(life.probed(index, which, answer(which, second), &view));
                    }
                    Effect::Event { message, .. } => seen.push((second, message)),
                    _ => {}
                }
            }
        }
        if life.containers[0].ready {
            seen.push((second, "ready".to_owned()));
        }
    }
    (life, seen)
}

fn moments(seen: &[(u64, String)], what: &str) -> Vec<u64> {
    seen.iter().filter(|(_, m)| m.contains(what)).map(|(at, _)| *at).collect()
}

#[test]
fn readiness_follows_its_thresholds() {
    let probe = json!({"httpGet": {"port": 80}, "initialDelaySeconds": 2, "periodSeconds": 1, "successThreshold": 2, "failureThreshold": 2});
    let good = |second| !(6..8).contains(&second);
    let (_, seen) = play(&json!({"name": "a", "readinessProbe": probe}), 12, |_, second| {
        if good(second) { Ok(()) } else { Err("no".to_owned()) }
    });
    assert_eq!(moments(&seen, "Readiness probe failed: no"), [6, 7]);
    assert_eq!(moments(&seen, "ready"), [3, 4, 5, 6, 9, 10, 11]);
}

#[test]
fn a_startup_probe_holds_back_the_others() {
    let probe =
        |period: i64| json!({"tcpSocket": {"port": 80}, "periodSeconds": period, "failureThreshold": 9});
    let spec =
        json!({"name": "a", "startupProbe": probe(2), "livenessProbe": probe(1), "readinessProbe": probe(1)});
    let (life, seen) = play(&spec, 8, |which, second| {
        if which == Which::Startup && second < 4 { Err("starting".to_owned()) } else { Ok(()) }
    });
    assert_eq!(moments(&seen, "Startup probe failed"), [0, 2]);
    assert_eq!(moments(&seen, "ready"), [4, 5, 6, 7]);
    assert!(life.containers[0].started);
}

#[test]
fn a_dead_container_is_stopped_within_its_own_grace_and_starts_again() {
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 2, "terminationGracePeriodSeconds": 3});
    let hook = json!({"preStop": {"sleep": {"seconds": 60}}});
    let spec = json!({"name": "a", "livenessProbe": probe, "lifecycle": hook});
    let (life, seen) = play(&spec, 9, |_, second| if second < 3 { Err("dead".to_owned()) } else { Ok(()) });
    assert_eq!(moments(&seen, "Liveness probe failed"), [0, 1]);
    assert_eq!(moments(&seen, "Container a failed liveness probe, will be restarted"), [1]);
    let State::Running(_) = life.containers[0].state else { panic!("{:?}", life.containers[0]) };
    assert_eq!(life.containers[0].restarts, 1);
}
