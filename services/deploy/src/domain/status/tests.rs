use bcs_schemas::resource::AppSpec;
use jiff::SignedDuration;
use proptest::prelude::*;

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
        forced: false,
        held: Default::default(),
        stalled_generation: None,
    }
}

fn seen(stages: &[(&str, Stage)]) -> Observed {
    let instance = |(i, (revision, stage)): (usize, &(&str, Stage))| Instance {
        name: format!("i{i}"),
        uid: format!("u{i}"),
        revision: name(revision),
        ready: *stage == Stage::Available,
        told: true,
        gated: false,
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
    let cluster = InCluster { unusable: None, heard_at: None, workloads, instances };
    Observed { clusters: [(name("sim-a"), cluster)].into() }
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn waiting(why: &str) -> Stage {
    Stage::Waiting(why.to_owned())
}

/// The first look.
fn first(app: &App, observed: &Observed, seconds: i64) -> Assessment {
    assess(app, observed, None, Before::default(), after(seconds))
}

fn next(app: &App, observed: &Observed, before: &Assessment, seconds: i64) -> Assessment {
    let before = Before { status: Some(&before.status), progress: Some(&before.progress) };
    assess(app, observed, None, before, after(seconds))
}

fn silent(observed: &mut Observed) {
    for cluster in observed.clusters.values_mut() {
        cluster.unusable = Some("cluster sim-a is silent".to_owned());
        cluster.heard_at = Some(after(3));
    }
}

fn healthy() -> App {
    App { healthy_revision: Some(name("r2")), ..app() }
}

fn up() -> (&'static str, Stage) {
    ("r2", Stage::Available)
}

#[test]
fn phases_follow_from_what_is_seen() {
    let up = up();
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
        let found = first(&app, &observed, seconds);
        assert_eq!((found.status.phase, found.verdict), (phase, verdict), "{what}: {:?}", found.status);
    }
}

#[test]
fn whatever_waits_says_why_and_for_what() {
    let observed = seen(&[("r2", Stage::Available), ("r2", waiting("image pull fails: no such tag"))]);
    let status = first(&app(), &observed, 5).status;
    assert_eq!(status.reason.as_deref(), Some("instance i1 is not available: image pull fails: no such tag"));
    assert_eq!(status.blocking.as_deref(), Some("sim-a/i1"));
    assert_eq!(status.deadline, Some(after(60)));
}

#[test]
fn nothing_is_green_on_silence() {
    let mut observed = seen(&[("r2", Stage::Available), ("r2", Stage::Available)]);
    silent(&mut observed);
    let status = first(&app(), &observed, 5).status;
    assert_ne!(status.phase, AppPhase::Available);
    assert_eq!(status.reason.as_deref(), Some("cluster sim-a is silent"));
    assert_eq!(status.clusters[&name("sim-a")].stale.as_deref(), Some("cluster sim-a is silent"));
}

#[test]
fn more_instances_are_progress_and_only_a_loss_degrades() {
    let two = first(&healthy(), &seen(&[up(), up()]), 1);
    assert_eq!(two.status.phase, AppPhase::Available);
    let mut four = healthy();
    (four.generation, four.spec.replicas, four.changed_at) = (4, 4, after(10));
    four.shares.insert(name("sim-a"), 4);
    let starting = [up(), up(), ("r2", waiting("is starting")), ("r2", waiting("is starting"))];
    let growing = next(&four, &seen(&starting), &two, 11);
    assert_eq!(growing.status.phase, AppPhase::Progressing, "{:?}", growing.status);
    assert!(growing.status.reason.is_some());
    let late = next(&four, &seen(&starting), &growing, 75);
    assert_eq!(late.status.phase, AppPhase::Degraded, "its time is over");
    let whole = next(&four, &seen(&[up(), up(), up(), up()]), &growing, 12);
    assert_eq!(whole.status.phase, AppPhase::Available);
    let lost = next(&four, &seen(&[up(), up(), up(), ("r2", waiting("crashed"))]), &whole, 13);
    assert_eq!(lost.status.phase, AppPhase::Degraded);
}

#[test]
fn instances_that_do_not_show_up_are_named_as_the_reason() {
    let nothing = Observed { clusters: [(name("sim-a"), InCluster::default())].into() };
    let reason = |observed: &Observed| first(&app(), observed, 1).status.reason.unwrap_or_default();
    assert_eq!(reason(&nothing), "2 of 2 instances are still to be started in cluster sim-a");
    let mut kept = seen(&[up()]);
    let workloads = &mut kept.clusters.get_mut(&name("sim-a")).expect("is there").workloads;
    workloads.get_mut(&name("r2")).expect("is kept").replicas = 2;
    assert_eq!(reason(&kept), "1 of 2 instances have not shown up in cluster sim-a");
    let late = first(&app(), &kept, 61);
    assert_eq!((late.status.phase, late.verdict), (AppPhase::Stalled, Verdict::Stalled));
}

#[test]
fn an_instance_that_comes_and_goes_is_no_progress() {
    let mut last = first(&app(), &seen(&[up(), ("r2", waiting("crashed"))]), 1);
    let since = last.status.since;
    for second in (2..60).step_by(2) {
        let why = if second % 4 == 0 { "crashed" } else { "is starting" };
        let mut observed = seen(&[up(), ("r2", waiting(why))]);
        for cluster in observed.clusters.values_mut() {
            cluster.instances[1].since = after(second);
        }
        last = next(&app(), &observed, &last, second);
        assert_eq!((last.status.phase, last.status.since), (AppPhase::Progressing, since));
        assert_eq!(last.status.deadline, Some(after(60)));
    }
    assert_eq!(next(&app(), &seen(&[up(), ("r2", waiting("crashed"))]), &last, 61).verdict, Verdict::Stalled);
}

#[test]
fn what_comes_further_gets_its_time_anew() {
    let one = first(&app(), &seen(&[("r2", waiting("is starting")), ("r1", Stage::Available)]), 50);
    let two = next(&app(), &seen(&[up(), ("r1", Stage::Available)]), &one, 59);
    let three = next(&app(), &seen(&[up(), ("r1", Stage::Draining("asked".to_owned()))]), &two, 70);
    assert_ne!(three.status.phase, AppPhase::Stalled);
    let four = next(&app(), &seen(&[up(), ("r1", Stage::Stopping)]), &three, 125);
    assert_eq!(four.status.phase, AppPhase::Progressing, "{:?}", four.status);
    assert_eq!(next(&app(), &seen(&[up(), ("r1", Stage::Stopping)]), &four, 186).verdict, Verdict::Stalled);
}

#[test]
fn a_silent_cluster_in_which_nothing_is_wanted_holds_up_nothing() {
    let mut moved = app();
    moved.shares = [(name("sim-a"), 0), (name("sim-b"), 2)].into();
    let mut observed = seen(&[("r1", Stage::Available)]);
    silent(&mut observed);
    observed.clusters.extend(seen(&[up(), up()]).clusters.into_values().map(|c| (name("sim-b"), c)));
    let found = first(&moved, &observed, 5);
    assert_eq!((found.status.phase, found.verdict), (AppPhase::Available, Verdict::Complete));
    let reason = found.status.reason.expect("says what is left there");
    assert!(reason.contains("not wanted there") && reason.contains("is silent"), "{reason}");
    assert_eq!(found.status.since, after(3), "since it was last heard of");
    let nothing = InCluster { unusable: Some("silent".to_owned()), ..Default::default() };
    observed.clusters.insert(name("sim-a"), nothing);
    assert_eq!(first(&moved, &observed, 5).status.reason, None);
}

#[test]
fn a_deletion_that_a_silent_cluster_holds_up_says_how_to_go_on_and_does() {
    let mut observed = seen(&[up(), up()]);
    silent(&mut observed);
    let mut deleting = App { deleting_since: Some(after(1)), ..app() };
    let waits = first(&deleting, &observed, 5);
    assert_eq!(waits.verdict, Verdict::None);
    assert!(waits.status.reason.is_some_and(|why| why.contains("delete the app with force")));
    deleting.forced = true;
    assert_eq!(first(&deleting, &observed, 5).verdict, Verdict::Gone);
}

#[test]
fn looks_become_rarer_the_longer_something_waits_and_none_misses_the_deadline() {
    let waits = first(&app(), &seen(&[up(), ("r2", waiting("is starting"))]), 1).status;
    let pause = |seconds| look_again(&waits, true, after(seconds)).map(|pause| pause.as_secs());
    assert_eq!([pause(1), pause(20), pause(57)], [Some(2), Some(5), Some(3)]);
    let mut observed = seen(&[up(), up()]);
    silent(&mut observed);
    let silent = first(&app(), &observed, 1000).status;
    assert_eq!(look_again(&silent, true, after(1000)), Some(Duration::from_secs(30)));
    let there = first(&app(), &seen(&[up(), up()]), 1).status;
    assert_eq!(look_again(&there, true, after(2)), None);
    assert!(look_again(&there, false, after(2)).is_some(), "steps were asked for");
}

fn any_stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        Just(Stage::Available),
        Just(waiting("is starting")),
        Just(Stage::Draining("asked".to_owned())),
        Just(Stage::Drained(None)),
        Just(Stage::Stopping),
    ]
}

fn any_cluster() -> impl Strategy<Value = InCluster> {
    let instance = ("r[12]", any_stage());
    let parts = (any::<bool>(), proptest::collection::vec(instance, 0..4), proptest::option::of(0u32..4));
    parts.prop_map(|(usable, instances, kept)| {
        let stages: Vec<(&str, Stage)> = instances.iter().map(|(r, s)| (r.as_str(), s.clone())).collect();
        let mut cluster = seen(&stages).clusters.remove(&name("sim-a")).unwrap_or_default();
        let kept = kept.map(|replicas| Kept { replicas, reason: None, observed_at: Timestamp::UNIX_EPOCH });
        cluster.workloads.extend(kept.map(|kept| (name("r2"), kept)));
        cluster.unusable = (!usable).then(|| "silent".to_owned());
        cluster
    })
}

proptest! {
    #[test]
    fn whatever_is_not_as_wanted_has_a_reason(
        a in any_cluster(), b in any_cluster(), shares in (0u32..4, 0u32..4), deleting: bool, healthy: bool, forced: bool,
    ) {
        let mut app = app();
        app.shares = [(name("sim-a"), shares.0), (name("sim-b"), shares.1)].into();
        app.spec.replicas = shares.0 + shares.1;
        app.deleting_since = deleting.then_some(Timestamp::UNIX_EPOCH);
        app.healthy_revision = healthy.then(|| name("r2"));
        app.forced = deleting && forced;
        let observed = Observed { clusters: [(name("sim-a"), a), (name("sim-b"), b)].into() };
        let Assessment { status, verdict, .. } = first(&app, &observed, 5);
        let done = matches!(verdict, Verdict::Complete | Verdict::Gone);
        prop_assert!(done || (status.reason.is_some() && status.blocking.is_some()), "{status:?}");
        prop_assert_eq!(status.phase == AppPhase::Available, verdict == Verdict::Complete);
        if verdict == Verdict::Complete {
            let serving = |(n, c): (&Name, &InCluster)| app.share(n) == 0 || c.unusable.is_none();
            prop_assert!(observed.clusters.iter().all(serving), "green on silence");
            prop_assert_eq!(wanted_available(&app, &observed), app.total());
        }
    }
}
