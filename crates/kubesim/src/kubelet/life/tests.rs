//! Whole lives of pods, played in a moment.

use jiff::SignedDuration;
use serde_json::json;

use super::{super::status, *};

/// A pod and a clock that jumps from one step to the next.
struct Play {
    pod: Value,
    life: Life,
    images: Images,
    origin: Instant,
    now: Duration,
    events: Vec<String>,
}

impl Play {
    fn new(annotations: &Value, spec: &Value) -> Self {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "annotations": annotations}, "spec": spec});
        crate::object::default(&mut pod, &["spec", "restartPolicy"], json!("Always"));
        let origin = Instant::now();
        let life = Life::new(&pod, Now { at: origin, wall: jiff::Timestamp::UNIX_EPOCH });
        let mut play =
            Self { pod, life, images: Images::default(), origin, now: Duration::ZERO, events: Vec::new() };
        play.life.sandbox = true;
        play.step();
        play
    }

    fn now(&self) -> Now {
        let wall = jiff::Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.now).expect("a duration");
        Now { at: self.origin + self.now, wall }
    }

    /// Lets everything happen that happens at this moment.
    fn step(&mut self) {
        let (now, pod) = (self.now(), self.pod.clone());
        let plan = plan::plan(&pod, Duration::ZERO);
        let view =
            View { pod: &pod, plan: &plan, now, deleting: crate::object::deleting(&pod), probing: true };
        loop {
            let effects = self.life.advance(&view, &mut self.images);
            if effects.is_empty() {
                break;
            }
            self.events.extend(effects.into_iter().map(|effect| match effect {
                Effect::Event { reason, .. } => reason.to_owned(),
                other => format!("{other:?}"),
            }));
        }
        self.pod = status::write(&pod, &self.life, None, &now);
    }

    fn until(&mut self, millis: u64) {
        let end = Duration::from_millis(millis);
        while self.now < end {
            let pod = self.pod.clone();
            let plan = plan::plan(&pod, Duration::ZERO);
            let deleting = crate::object::deleting(&pod);
            let view = View { pod: &pod, plan: &plan, now: self.now(), deleting, probing: true };
            let next = self.life.next(&view).map_or(end, |at| at - self.origin);
            self.now = next.min(end);
            self.step();
        }
    }

    fn delete(&mut self, grace: i64) {
        self.pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.step();
    }

    fn at(&self, pointer: &str) -> &Value {
        self.pod.pointer(&format!("/status{pointer}")).unwrap_or(&Value::Null)
    }

    fn condition(&self, kind: &str) -> (&str, &str) {
        let found = crate::object::condition(&self.pod, kind).expect("a condition");
        (text(found, "/status"), text(found, "/reason"))
    }

    fn saw(&self, wanted: &[&str]) {
        let mut seen = self.events.iter();
        for one in wanted {
            assert!(seen.any(|event| event == one), "{one} in its place in {:?}", self.events);
        }
    }
}

fn app(name: &str) -> Value {
    json!({"name": name, "image": "web:1"})
}

#[test]
fn a_plain_pod_runs_at_once() {
    let play = Play::new(&json!({}), &json!({"containers": [app("a")]}));
    assert_eq!(play.at("/phase"), "Running");
    assert_eq!(play.condition("Ready"), ("True", ""));
    assert_eq!(play.at("/containerStatuses/0/started"), true);
    assert_eq!(play.events, ["Pulling", "Pulled", "Start(0)"]);
}

#[test]
fn init_containers_run_in_order_and_a_sidecar_stays() {
    let spec = json!({
        "initContainers": [app("first"), {"name": "proxy", "image": "p:1", "restartPolicy": "Always"}, app("second")],
        "containers": [app("main")],
    });
    let annotations = json!({"sim.bcs/first.complete-after": "1s", "sim.bcs/second.complete-after": "1s"});
    let mut play = Play::new(&annotations, &spec);
    assert_eq!(play.at("/phase"), "Pending");
    assert_eq!(play.condition("Initialized"), ("False", "ContainersNotInitialized"));
    assert_eq!(play.at("/containerStatuses/0/state/waiting/reason"), "PodInitializing");
    assert_eq!(play.at("/initContainerStatuses/2/state/waiting/reason"), "ContainerCreating");
    play.until(1500);
    assert_eq!(play.at("/initContainerStatuses/0/state/terminated/reason"), "Completed");
    assert_eq!(play.at("/initContainerStatuses/0/ready"), true);
    assert!(play.at("/initContainerStatuses/1/state/running").is_object());
    assert!(play.at("/initContainerStatuses/2/state/running").is_object());
    play.until(2500);
    assert_eq!(play.at("/phase"), "Running");
    assert_eq!(play.condition("Ready"), ("True", ""));
    play.saw(&["Start(0)", "Start(1)", "Start(2)", "Start(3)"]);
    play.delete(30);
    play.until(5000);
    play.saw(&["Start(3)", "Terminate(3)", "Terminate(1)"]);
    assert!(!play.life.any_running());
    assert_eq!(play.at("/phase"), "Succeeded");
}

#[test]
fn a_failed_init_container_is_tried_again_or_fails_the_pod() {
    let annotations = json!({"sim.bcs/setup.crash-after": "1s", "sim.bcs/setup.complete-after": "9s", "sim.bcs/setup.exit-code": "3"});
    for (policy, phase, restarts) in [("Always", "Pending", true), ("Never", "Failed", false)] {
        let spec =
            json!({"restartPolicy": policy, "initContainers": [app("setup")], "containers": [app("a")]});
        let mut play = Play::new(&annotations, &spec);
        play.until(5000);
        assert_eq!(play.at("/phase"), phase, "{policy}");
        assert_eq!(play.at("/initContainerStatuses/0/restartCount").as_i64() > Some(0), restarts);
        assert!(!play.life.initialized);
    }
}

#[test]
fn the_restart_policy_decides_how_a_pod_ends() {
    let done = json!({"sim.bcs/complete-after": "1s"});
    let crash = json!({"sim.bcs/crash-after": "1s", "sim.bcs/exit-code": "7"});
    for (annotations, policy, phase, reason) in [
        (&done, "Never", "Succeeded", "PodCompleted"),
        (&done, "OnFailure", "Succeeded", "PodCompleted"),
        (&crash, "Never", "Failed", "PodFailed"),
        (&crash, "OnFailure", "Running", "ContainersNotReady"),
        (&done, "Always", "Running", "ContainersNotReady"),
    ] {
        let mut play = Play::new(annotations, &json!({"restartPolicy": policy, "containers": [app("a")]}));
        play.until(2100);
        assert_eq!(play.at("/phase"), phase, "{policy} {annotations}");
        assert_eq!(play.condition("Ready"), ("False", reason), "{policy} {annotations}");
        assert_eq!(play.condition("ContainersReady"), ("False", reason), "{policy} {annotations}");
    }
}

#[test]
fn a_crash_loop_is_told_as_the_kubelet_tells_it() {
    let annotations = json!({"sim.bcs/a.crash-after": "1s", "sim.bcs/a.exit-code": "7"});
    let mut play = Play::new(&annotations, &json!({"containers": [app("a"), app("b")]}));
    play.until(1500);
    assert_eq!(play.at("/containerStatuses/0/restartCount"), 1, "the first restart is immediate");
    assert_eq!(play.at("/containerStatuses/0/lastState/terminated/exitCode"), 7);
    play.until(2100);
    assert_eq!(play.at("/containerStatuses/0/state/waiting/reason"), "CrashLoopBackOff");
    assert_eq!(play.at("/containerStatuses/1/ready"), true, "the neighbour does not suffer");
    assert_eq!(play.at("/phase"), "Running");
    let found = crate::object::condition(&play.pod, "ContainersReady").expect("a condition");
    assert_eq!(found["message"], "containers with unready status: [a]");
    play.saw(&["Start(0)", "Start(0)", "BackOff"]);
}

#[test]
fn an_image_that_is_missing_holds_only_its_own_container() {
    let spec = json!({"containers": [{"name": "a", "image": "web:missing"}, app("b")]});
    let mut play = Play::new(&json!({"sim.bcs/b.image-pull": "2s"}), &spec);
    assert_eq!(play.at("/containerStatuses/0/state/waiting/reason"), "ErrImagePull");
    play.until(500);
    assert_eq!(play.at("/containerStatuses/0/state/waiting/reason"), "ImagePullBackOff");
    assert_eq!(play.at("/containerStatuses/1/state/waiting/reason"), "ContainerCreating");
    play.until(2500);
    assert!(play.at("/containerStatuses/1/state/running").is_object());
    assert_eq!(play.at("/phase"), "Pending");
    play.pod["spec"]["containers"][0]["image"] = json!("web:1");
    play.step();
    assert_eq!(play.at("/phase"), "Running", "another image is tried at once");
}

#[test]
fn a_pod_is_stopped_by_hook_signal_and_force_within_its_grace() {
    let hook = json!({"preStop": {"sleep": {"seconds": 2}}});
    let spec = json!({"containers": [{"name": "a", "image": "web:1", "lifecycle": hook}]});
    for (shutdown, grace, told, gone, code) in [
        ("1s", 10, 2000, 3000, 0),
        ("1m", 5, 2000, 5000, 137),
        // The hook used up the grace, so the process gets a little more.
        ("1m", 1, 1000, 2000, 137),
    ] {
        let mut play = Play::new(&json!({"sim.bcs/shutdown": shutdown}), &spec);
        play.delete(grace);
        assert_eq!(play.condition("Ready"), ("True", ""), "it serves on while it stops");
        play.until(told - 1);
        assert!(!play.events.contains(&"Terminate(0)".to_owned()), "{shutdown}");
        play.until(told);
        play.saw(&["Killing", "Terminate(0)"]);
        play.until(gone - 1);
        assert!(play.life.any_running(), "{shutdown}");
        play.until(gone);
        assert!(!play.life.any_running(), "{shutdown}");
        assert_eq!(play.at("/containerStatuses/0/state/terminated/exitCode"), code);
        assert_eq!(play.condition("Ready").0, "False");
    }
}

#[test]
fn a_container_with_another_image_starts_again_whatever_its_policy_is() {
    let mut play =
        Play::new(&json!({}), &json!({"restartPolicy": "Never", "containers": [app("a"), app("b")]}));
    play.pod["spec"]["containers"][0]["image"] = json!("web:2");
    play.step();
    play.until(100);
    play.saw(&["Start(0)", "Killing", "Terminate(0)", "Start(0)"]);
    assert_eq!(play.at("/containerStatuses/0/restartCount"), 1);
    assert_eq!(play.at("/containerStatuses/0/image"), "web:2");
    assert_eq!(play.at("/containerStatuses/1/restartCount"), 0);
    assert_eq!(play.at("/phase"), "Running");
}

#[test]
fn what_ends_lets_others_go_on_in_the_same_moment() {
    let spec = json!({
        "containers": [app("work")],
        "initContainers": [{"name": "proxy", "image": "p:1", "restartPolicy": "Always"}],
    });
    let mut play = Play::new(&json!({"sim.bcs/shutdown": "1s", "sim.bcs/proxy.shutdown": "1h"}), &spec);
    play.delete(30);
    play.until(1000);
    play.saw(&["Killing", "Terminate(1)", "Killing", "Terminate(0)"]);
}

#[test]
fn a_job_with_a_sidecar_ends_when_its_work_does() {
    let spec = json!({
        "restartPolicy": "Never", "containers": [app("work")],
        "initContainers": [{"name": "proxy", "image": "p:1", "restartPolicy": "Always"}],
    });
    let mut play = Play::new(&json!({"sim.bcs/complete-after": "1s"}), &spec);
    play.until(1500);
    play.saw(&["Start(1)", "Killing", "Terminate(0)"]);
    assert_eq!(play.at("/phase"), "Succeeded");
}

#[test]
fn a_pod_may_not_be_active_beyond_its_deadline() {
    let spec = json!({"activeDeadlineSeconds": 2, "containers": [app("a")]});
    let mut play = Play::new(&json!({}), &spec);
    play.until(2500);
    assert_eq!((play.at("/phase"), play.at("/reason")), (&json!("Failed"), &json!("DeadlineExceeded")));
}

#[test]
fn annotations_about_readiness_decide_alone() {
    let probe = json!({"httpGet": {"port": 1}, "periodSeconds": 1});
    let spec = json!({"containers": [{"name": "a", "image": "web:1", "readinessProbe": probe}]});
    let mut play = Play::new(&json!({"sim.bcs/ready-after": "3s"}), &spec);
    assert_eq!(play.condition("Ready").0, "False");
    play.until(3000);
    assert_eq!(play.condition("Ready").0, "True");
    assert!(!play.events.iter().any(|e| e.starts_with("Probe")), "{:?}", play.events);
}
