use bcs_schemas::resource::AppSpec;
use jiff::SignedDuration;

use super::*;
use crate::domain::observed::{Instance, Kept};

fn name(text: &str) -> Name {
    Name::new(text).expect("a label")
}

fn app() -> App {
    let spec: AppSpec = serde_json::from_value(serde_json::json!({
        "replicas": 2,
        "placement": { "clusters": [{ "name": "sim-a" }] },
        "image": { "repository": "r", "tag": "t" },
        "update": { "progressDeadline": "60s" },
    }))
    .expect("a spec");
    App {
        labels: Default::default(),
        template: spec.template(0),
        spec,
        generation: 3,
        restarts: 0,
        shares: [(name("sim-a"), 2)].into(),
        revision: name("r2"),
        healthy_revision: None,
        remove: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
        deleting_since: None,
        stalled_generation: None,
    }
}

fn seen(stages: &[(&str, Stage)]) -> Observed {
    let instance = |(i, (revision, stage)): (usize, &(&str, Stage))| Instance {
        name: format!("i{i}"),
        uid: format!("u{i}"),
        revision: name(revision),
        ready: *stage == Stage::Available,
        stage: stage.clone(),
        since: Timestamp::UNIX_EPOCH,
    };
    let mut workloads = BTreeMap::new();
    for (revision, stage) in stages {
        let kept = workloads.entry(name(revision)).or_insert(Kept {
            replicas: 0,
            reason: None,
            observed_at: Timestamp::UNIX_EPOCH,
        });
        kept.replicas += u32::from(*stage != Stage::Stopping);
    }
    let instances = stages.iter().enumerate().map(instance).collect();
    let cluster = InCluster { unusable: None, workloads, instances };
    Observed { clusters: [(name("sim-a"), cluster)].into() }
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn waiting(why: &str) -> Stage {
    Stage::Waiting(why.to_owned())
}

#[test]
fn phases_follow_from_what_is_seen() {
    let up = ("r2", Stage::Available);
    let healthy = App { healthy_revision: Some(name("r2")), ..app() };
    let deleting = App { deleting_since: Some(Timestamp::UNIX_EPOCH), ..app() };
    let nothing = Observed { clusters: [(name("sim-a"), InCluster::default())].into() };
    let cases = [
        ("nothing yet", app(), nothing.clone(), 1, AppPhase::Progressing, Verdict::None),
        ("all there", app(), seen(&[up.clone(), up.clone()]), 1, AppPhase::Available, Verdict::Complete),
        (
            "an old one left",
            app(),
            seen(&[up.clone(), up.clone(), ("r1", Stage::Available)]),
            1,
            AppPhase::Progressing,
            Verdict::None,
        ),
        (
            "one stops",
            app(),
            seen(&[up.clone(), up.clone(), ("r2", Stage::Stopping)]),
            1,
            AppPhase::Progressing,
            Verdict::None,
        ),
        (
            "one broke",
            healthy,
            seen(&[up.clone(), ("r2", waiting("crashed"))]),
            1,
            AppPhase::Degraded,
            Verdict::None,
        ),
        (
            "too late",
            app(),
            seen(&[up.clone(), ("r2", waiting("no image"))]),
            61,
            AppPhase::Stalled,
            Verdict::Stalled,
        ),
        (
            "in time",
            app(),
            seen(&[up.clone(), ("r2", waiting("no image"))]),
            59,
            AppPhase::Progressing,
            Verdict::None,
        ),
        ("going", deleting.clone(), seen(&[up]), 1, AppPhase::Deleting, Verdict::None),
        ("gone", deleting, nothing, 1, AppPhase::Deleting, Verdict::Gone),
    ];
    for (what, app, observed, seconds, phase, verdict) in cases {
        let found = assess(&app, &observed, None, after(seconds));
        assert_eq!((found.status.phase, found.verdict), (phase, verdict), "{what}: {:?}", found.status);
    }
}

#[test]
fn whatever_waits_says_why_and_for_what() {
    let observed = seen(&[("r2", Stage::Available), ("r2", waiting("image pull fails: no such tag"))]);
    let status = assess(&app(), &observed, None, after(5)).status;
    assert_eq!(status.reason.as_deref(), Some("instance i1 is not available: image pull fails: no such tag"));
    assert_eq!(status.blocking.as_deref(), Some("sim-a/i1"));
    assert_eq!(status.deadline, Some(after(60)));
}

#[test]
fn nothing_is_green_on_silence() {
    let mut observed = seen(&[("r2", Stage::Available), ("r2", Stage::Available)]);
    for cluster in observed.clusters.values_mut() {
        cluster.unusable = Some("cluster sim-a is silent".to_owned());
    }
    let status = assess(&app(), &observed, None, after(5)).status;
    assert_ne!(status.phase, AppPhase::Available);
    assert_eq!(status.reason.as_deref(), Some("cluster sim-a is silent"));
    assert_eq!(status.clusters[&name("sim-a")].stale.as_deref(), Some("cluster sim-a is silent"));
}
