//! The planner against a small model of the world: engines that keep replicas, instances that start, registries that
//! confirm late, agents whose news is old. Whatever the order of things, what is wanted comes about, and nothing in
//! service is stopped before it was taken out.

use bcs_schemas::resource::{AppSpec, app::Surge};
use proptest::prelude::*;

use super::*;
use crate::domain::{app::AppKey, observed::Kept, under_way::UnderWay};

fn name(text: &str) -> Name {
    Name::new(text).expect("a label")
}

fn app(shares: &[u32], revision: &str) -> App {
    let spec: AppSpec = serde_json::from_value(serde_json::json!({
        "replicas": shares.iter().sum::<u32>(),
        "placement": { "clusters": [{ "name": "c0" }] },
        "image": { "repository": "r", "tag": "t" },
    }))
    .expect("a spec");
    App {
        labels: Default::default(),
        template: spec.template(0),
        spec,
        generation: 1,
        restarts: 0,
        shares: shares.iter().enumerate().map(|(i, s)| (name(&format!("c{i}")), *s)).collect(),
        revision: name(revision),
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

/// The same, which may have so many instances more while it is replaced.
fn surging(app: App, surge: Surge) -> App {
    let mut app = app;
    app.spec.update.max_surge = surge;
    app
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// What an engine really holds, beside what was last seen of it.
#[derive(Clone, Debug, Default)]
struct Engine {
    kept: BTreeMap<Name, (u32, i64)>,
    instances: Vec<Instance>,
    seen: InCluster,
    silent: bool,
}

#[derive(Clone, Debug)]
struct Model {
    engines: BTreeMap<Name, Engine>,
    born: u32,
    second: i64,
}

impl Model {
    fn new(clusters: usize) -> Self {
        let engines = (0..clusters).map(|i| (name(&format!("c{i}")), Engine::default())).collect();
        Self { engines, born: 0, second: 0 }
    }

    fn observed(&self) -> Observed {
        let of = |engine: &Engine| {
            let unusable = engine.silent.then(|| "silent".to_owned());
            InCluster { unusable, ..engine.seen.clone() }
        };
        Observed { clusters: self.engines.iter().map(|(n, e)| (n.clone(), of(e))).collect() }
    }

    /// News arrives from a cluster.
    fn report(&mut self, cluster: &Name) {
        let engine = self.engines.get_mut(cluster).expect("known");
        let kept = |(revision, (replicas, since)): (&Name, &(u32, i64))| {
            (revision.clone(), Kept { replicas: *replicas, reason: None, observed_at: at(*since) })
        };
        engine.seen.workloads = engine.kept.iter().map(kept).collect();
        engine.seen.instances = engine.instances.clone();
    }

    /// The engine makes what is missing and finishes what is stopping.
    fn work(&mut self, cluster: &Name) {
        let engine = self.engines.get_mut(cluster).expect("known");
        engine.instances.retain(|i| i.stage != Stage::Stopping);
        for (revision, (replicas, _)) in &engine.kept {
            let there = engine.instances.iter().filter(|i| i.revision == *revision).count();
            for _ in there..*replicas as usize {
                self.born += 1;
                let name = format!("i{}", self.born);
                engine.instances.push(Instance {
                    uid: name.clone(),
                    name,
                    revision: revision.clone(),
                    stage: Stage::Waiting("starts".to_owned()),
                    since: at(self.second),
                    ready: false,
                    told: true,
                    gated: false,
                });
            }
        }
    }

    /// One instance gets ready and registered, or its drain is confirmed.
    fn progress(&mut self, cluster: &Name, nth: usize, broken: Option<&Name>) {
        let engine = self.engines.get_mut(cluster).expect("known");
        let moving = |i: &&mut Instance| matches!(i.stage, Stage::Waiting(_) | Stage::Draining(_));
        let mut moving: Vec<&mut Instance> = engine.instances.iter_mut().filter(moving).collect();
        if moving.is_empty() {
            return;
        }
        let count = moving.len();
        let instance = &mut *moving[nth % count];
        match instance.stage {
            Stage::Waiting(_) if broken == Some(&instance.revision) => (),
            Stage::Waiting(_) => {
                instance.stage = Stage::Available;
                instance.ready = true;
            }
            _ => instance.stage = Stage::Drained(None),
        }
    }

    /// An agent carries a step out, as the contract of steps says.
    fn carry_out(&mut self, step: &PlannedStep) {
        let second = self.second;
        let engine = self.engines.get_mut(&step.cluster).expect("known");
        assert!(!engine.silent, "a step for a cluster without news: {step:?}");
        match &step.action {
            Action::ScaleUp(replicas) => {
                let kept = engine.kept.entry(step.revision.clone()).or_insert((0, second));
                if *replicas > kept.0 {
                    *kept = (*replicas, second);
                }
            }
            Action::Drain(victim) => {
                for i in engine.instances.iter_mut().filter(|i| i.uid == victim.uid && i.live()) {
                    i.stage = Stage::Draining("asked".to_owned());
                }
            }
            Action::ScaleDown { keep: replicas, victims, .. } => {
                let named = |i: &Instance| victims.iter().any(|v| v.uid == i.uid);
                for victim in engine.instances.iter().filter(|i| named(i)) {
                    let out = matches!(victim.stage, Stage::Drained(_) | Stage::Stopping);
                    assert!(out, "{victim:?} is stopped before it was taken out");
                }
                let others = engine.instances.iter();
                let others =
                    others.filter(|i| i.revision == step.revision && i.stage != Stage::Stopping && !named(i));
                let floor = u32::try_from(others.count()).expect("few");
                engine.instances.iter_mut().filter(|i| named(i)).for_each(|i| i.stage = Stage::Stopping);
                if let Some(kept) = engine.kept.get_mut(&step.revision).filter(|kept| kept.0 > *replicas) {
                    *kept = (kept.0.min((*replicas).max(floor)), second);
                }
            }
            Action::Register => {
                let told = engine.instances.iter_mut().filter(|i| i.revision == step.revision);
                told.for_each(|i| i.told = true);
            }
            Action::Registered(instances) => {
                let known = |i: &Instance| instances.iter().any(|v| v.uid == i.uid);
                engine.instances.iter_mut().filter(|i| known(i)).for_each(|i| i.gated = false);
            }
            Action::Remove => {
                // What is told on old news is refused: an engine forgets only what keeps nothing.
                if engine.kept.get(&step.revision).is_some_and(|kept| kept.0 == 0) {
                    let of = |i: &&Instance| i.revision == step.revision;
                    let left = engine.instances.iter().filter(of).all(|i| i.stage == Stage::Stopping);
                    assert!(left, "removed with instances: {engine:?}");
                    engine.kept.remove(&step.revision);
                }
            }
        }
    }

    /// Instances that serve or shall serve.
    fn live(&self) -> u32 {
        count(&self.engines.values().flat_map(|e| &e.instances).filter(|i| i.live()).collect::<Vec<_>>())
    }

    fn available(&self) -> u32 {
        count(&self.engines.values().flat_map(|e| &e.instances).filter(|i| i.available()).collect::<Vec<_>>())
    }

    fn round(&mut self, app: &App) -> usize {
        let steps = plan(app, &self.observed(), at(self.second));
        steps.iter().for_each(|step| self.carry_out(step));
        steps.len()
    }

    /// Lets everything happen until nothing more does.
    fn settle(&mut self, app: &App) {
        let clusters: Vec<Name> = self.engines.keys().cloned().collect();
        for _ in 0..600 {
            self.second += 1;
            for cluster in &clusters {
                self.engines.get_mut(cluster).expect("known").silent = false;
                self.work(cluster);
                self.progress(cluster, 0, None);
                self.report(cluster);
            }
            if self.round(app) == 0 && self.holds(app).is_ok() {
                break;
            }
        }
    }

    fn holds(&self, app: &App) -> Result<(), String> {
        for (cluster, engine) in &self.engines {
            let share = app.share(cluster);
            let there = &engine.instances;
            let right = there.iter().all(|i| i.available() && i.revision == app.revision);
            let kept: u32 = engine.kept.values().map(|kept| kept.0).sum();
            if !right || count(there) != share || kept != share {
                return Err(format!("{cluster} is to hold {share} of {}: {engine:?}", app.revision));
            }
        }
        Ok(())
    }
}

#[test]
fn a_first_rollout_starts_everything_at_once() {
    let app = app(&[2, 1], "r1");
    let model = Model::new(2);
    let steps = plan(&app, &model.observed(), at(0));
    let asked: Vec<&Action> = steps.iter().map(|s| &s.action).collect();
    assert_eq!(asked, [&Action::ScaleUp(2), &Action::ScaleUp(1)]);
}

#[test]
fn a_new_revision_starts_one_first_and_takes_one_out_when_it_serves() {
    let (old, new) = (app(&[3], "r1"), app(&[3], "r2"));
    let mut model = Model::new(1);
    model.settle(&old);
    let c0 = name("c0");
    assert_eq!(
        plan(&new, &model.observed(), at(0)).iter().map(|s| &s.action).collect::<Vec<_>>(),
        [&Action::ScaleUp(1)]
    );
    model.round(&new);
    model.work(&c0);
    model.report(&c0);
    assert_eq!(plan(&new, &model.observed(), at(0)), [], "waits until the new one serves");
    model.progress(&c0, 0, None);
    model.report(&c0);
    let steps = plan(&new, &model.observed(), at(0));
    assert!(
        matches!(&steps[..], [PlannedStep { action: Action::Drain(_), revision, .. }] if *revision == name("r1")),
        "{steps:?}"
    );
}

#[test]
fn as_many_are_replaced_at_a_time_as_there_may_be_more() {
    let old = app(&[6, 4], "r1");
    for (surge, asked) in [
        (Surge::Instances(1), vec![Action::ScaleUp(1)]),
        (Surge::Percent(30), vec![Action::ScaleUp(3)]),
        (Surge::Instances(8), vec![Action::ScaleUp(6), Action::ScaleUp(2)]),
        (Surge::Percent(100), vec![Action::ScaleUp(6), Action::ScaleUp(4)]),
    ] {
        let new = surging(app(&[6, 4], "r2"), surge);
        let mut model = Model::new(2);
        model.settle(&old);
        let steps = plan(&new, &model.observed(), at(0));
        assert_eq!(steps.iter().map(|s| s.action.clone()).collect::<Vec<_>>(), asked, "{surge}");
        model.round(&new);
        let clusters = [name("c0"), name("c1")];
        for cluster in &clusters {
            model.work(cluster);
            (0..10).for_each(|_| model.progress(cluster, 0, None));
            model.report(cluster);
        }
        let drains = plan(&new, &model.observed(), at(0));
        let drains = drains.iter().filter(|s| matches!(s.action, Action::Drain(_))).count();
        assert_eq!(u32::try_from(drains).expect("few"), surge.of(10), "{surge}");
        model.settle(&new);
        assert_eq!(model.holds(&new), Ok(()));
    }
}

#[test]
fn a_broken_revision_replaces_nothing() {
    let (old, new) = (app(&[3, 2], "r1"), app(&[3, 2], "r2"));
    let mut model = Model::new(2);
    model.settle(&old);
    for second in 0..200 {
        model.second += 1;
        for cluster in [name("c0"), name("c1")] {
            model.work(&cluster);
            model.progress(&cluster, second, Some(&new.revision));
            model.report(&cluster);
        }
        model.round(&new);
        assert!(model.available() >= 5);
    }
    let started =
        model.engines.values().flat_map(|e| &e.instances).filter(|i| i.revision == new.revision).count();
    assert_eq!(started, 1);
}

#[test]
fn instances_that_are_ready_and_only_lost_their_registry_are_not_taken_for_broken() {
    let (old, new) = (app(&[3], "r1"), app(&[3], "r2"));
    let mut model = Model::new(1);
    model.settle(&old);
    model.round(&new);
    let c0 = name("c0");
    model.work(&c0);
    for i in &mut model.engines.get_mut(&c0).expect("known").instances {
        i.stage = Stage::Waiting("registry etcd does not answer".to_owned());
        i.ready = true;
    }
    model.report(&c0);
    assert_eq!(plan(&new, &model.observed(), at(0)), []);
}

#[test]
fn an_application_that_moves_serves_from_its_old_cluster_until_the_new_one_does() {
    let mut moved = app(&[4, 0], "r1");
    let mut model = Model::new(2);
    model.settle(&moved);
    moved.shares = [(name("c1"), 4)].into();
    for turn in 0..200 {
        model.round(&moved);
        for cluster in [name("c0"), name("c1")] {
            model.work(&cluster);
            model.progress(&cluster, turn, None);
            model.report(&cluster);
        }
        assert!(model.available() >= 4, "{model:?}");
    }
    model.settle(&moved);
    assert_eq!(model.holds(&moved), Ok(()));
}

#[test]
fn instances_that_no_registry_ever_knew_can_be_replaced_and_deleted() {
    let (old, mut new) = (app(&[3], "r1"), app(&[3], "r2"));
    let mut model = Model::new(1);
    model.settle(&old);
    let c0 = name("c0");
    for i in &mut model.engines.get_mut(&c0).expect("known").instances {
        i.stage = Stage::Waiting("no sidecar keeps registry fiel".to_owned());
    }
    model.report(&c0);
    new.deleting_since = Some(at(1));
    let leave = plan(&new, &model.observed(), at(0));
    assert_eq!(leave.len(), 3, "{leave:?}");
    new.deleting_since = None;
    model.round(&new);
    model.work(&c0);
    model.progress(&c0, 3, None);
    model.report(&c0);
    let steps = plan(&new, &model.observed(), at(0));
    assert!(steps.iter().any(|s| matches!(s.action, Action::Drain(_))), "{steps:?}");
}

#[test]
fn instances_that_stay_are_told_once_where_they_belong_and_keep_running() {
    let mut wanted = app(&[3], "r1");
    let mut model = Model::new(1);
    model.settle(&wanted);
    let c0 = name("c0");
    for (i, stage) in [(0, Stage::Available), (1, Stage::Waiting("is starting".to_owned()))] {
        let instance = &mut model.engines.get_mut(&c0).expect("known").instances[i];
        (instance.told, instance.stage) = (false, stage);
    }
    model.report(&c0);
    let steps = plan(&wanted, &model.observed(), at(0));
    assert_eq!(steps.iter().map(|s| &s.action).collect::<Vec<_>>(), [&Action::Register]);
    model.settle(&wanted);
    assert_eq!(model.holds(&wanted), Ok(()));
    assert_eq!(model.born, 3, "nothing was started anew");
    // Who leaves is not told any more.
    model.engines.get_mut(&c0).expect("known").instances.iter_mut().for_each(|i| i.told = false);
    model.report(&c0);
    wanted.deleting_since = Some(at(1));
    let steps = plan(&wanted, &model.observed(), at(0));
    assert!(steps.iter().all(|s| matches!(s.action, Action::Drain(_))), "{steps:?}");
}

#[test]
fn the_engine_hears_of_those_that_every_registry_has_confirmed_and_of_no_others() {
    let wanted = app(&[3], "r1");
    let mut model = Model::new(1);
    model.settle(&wanted);
    let instances = &mut model.engines.get_mut(&name("c0")).expect("known").instances;
    instances.iter_mut().for_each(|i| i.gated = true);
    instances[1].stage = Stage::Waiting("registry dns has not confirmed it".to_owned());
    let known = [Victim::of(&instances[0]), Victim::of(&instances[2])];
    model.report(&name("c0"));
    let steps = plan(&wanted, &model.observed(), at(0));
    assert_eq!(steps.iter().map(|s| &s.action).collect::<Vec<_>>(), [&Action::Registered(known.to_vec())]);
    model.settle(&wanted);
    assert_eq!(plan(&wanted, &model.observed(), at(0)), []);
}

#[test]
fn named_instances_go_first() {
    let mut four = app(&[4], "r1");
    let mut model = Model::new(1);
    model.settle(&four);
    four.shares.insert(name("c0"), 2);
    four.remove = vec!["i2".to_owned(), "i3".to_owned()];
    model.settle(&four);
    let left: Vec<&str> = model.engines[&name("c0")].instances.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(left, ["i1", "i4"]);
}

#[test]
fn nothing_is_done_in_a_silent_cluster_and_nothing_is_taken_out_on_its_account() {
    let (old, new) = (app(&[2, 2], "r1"), app(&[2, 2], "r2"));
    let mut model = Model::new(2);
    model.settle(&old);
    model.engines.get_mut(&name("c1")).expect("known").silent = true;
    for _ in 0..100 {
        for cluster in [name("c0"), name("c1")] {
            model.work(&cluster);
            model.progress(&cluster, 0, None);
        }
        model.report(&name("c0"));
        model.round(&new);
    }
    let old_left =
        model.engines[&name("c0")].instances.iter().filter(|i| i.available() && i.revision == old.revision);
    assert_eq!(old_left.count(), 2);
}

#[test]
fn a_deleted_application_leaves_nothing() {
    let mut gone = app(&[3, 2], "r1");
    let mut model = Model::new(2);
    model.settle(&gone);
    gone.deleting_since = Some(at(1));
    model.settle(&gone);
    assert!(model.engines.values().all(|e| e.instances.is_empty() && e.kept.is_empty()), "{model:?}");
}

/// What may happen between two looks.
#[derive(Clone, Debug)]
enum Happening {
    Plan,
    Work(u8),
    Progress(u8, u8),
    Report(u8),
    Silence(u8),
    Speak(u8),
    Later(u8),
    Killed(u8, u8),
    Scale([u8; 2]),
    Release(u8),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        6 => Just(Happening::Plan),
        4 => (0u8..2).prop_map(Happening::Work),
        6 => (0u8..2, 0u8..8).prop_map(|(c, n)| Happening::Progress(c, n)),
        5 => (0u8..2).prop_map(Happening::Report),
        1 => (0u8..2).prop_map(Happening::Silence),
        1 => (0u8..2).prop_map(Happening::Speak),
        1 => (0u8..20).prop_map(Happening::Later),
        1 => (0u8..2, 0u8..8).prop_map(|(c, n)| Happening::Killed(c, n)),
        1 => (0u8..5, 0u8..5).prop_map(|(a, b)| Happening::Scale([a, b])),
        1 => (0u8..3).prop_map(Happening::Release),
    ];
    proptest::collection::vec(one, 0..120)
}

fn surges() -> impl Strategy<Value = Surge> {
    prop_oneof![
        2 => Just(Surge::default()),
        2 => (1u32..10).prop_map(Surge::Instances),
        1 => (1u32..=100).prop_map(Surge::Percent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_what_is_wanted_comes_about_and_nothing_in_service_is_stopped(
        happenings in happenings(), surge in surges(),
    ) {
        let mut wanted = surging(app(&[2, 1], "r0"), surge);
        let mut model = Model::new(2);
        for happening in happenings {
            let cluster = |c: u8| name(&format!("c{c}"));
            match happening {
                Happening::Plan => drop(model.round(&wanted)),
                Happening::Work(c) => model.work(&cluster(c)),
                Happening::Progress(c, n) => model.progress(&cluster(c), n.into(), None),
                Happening::Report(c) => model.report(&cluster(c)),
                Happening::Silence(c) => model.engines.get_mut(&cluster(c)).expect("known").silent = true,
                Happening::Speak(c) => {
                    // An agent that comes back has read everything before it says so.
                    model.report(&cluster(c));
                    model.engines.get_mut(&cluster(c)).expect("known").silent = false;
                }
                Happening::Later(seconds) => model.second += i64::from(seconds),
                Happening::Killed(c, n) => {
                    let instances = &mut model.engines.get_mut(&cluster(c)).expect("known").instances;
                    let there = instances.len();
                    if there > 0 {
                        instances.remove(usize::from(n) % there);
                    }
                }
                Happening::Scale([a, b]) => {
                    wanted.shares = [(cluster(0), a.into()), (cluster(1), b.into())].into();
                    wanted.spec.replicas = u32::from(a) + u32::from(b);
                }
                Happening::Release(n) => wanted.revision = name(&format!("r{n}")),
            }
        }
        model.settle(&wanted);
        prop_assert_eq!(model.holds(&wanted), Ok(()));
        prop_assert_eq!(plan(&wanted, &model.observed(), at(model.second)), vec![], "and then nothing is left to do");
    }

    #[test]
    fn a_rollout_never_serves_with_fewer_than_wanted(
        happenings in proptest::collection::vec((0u8..4, 0u8..2, 0u8..8), 0..300), shares in (1u32..5, 0u32..4),
    ) {
        let shares = [shares.0, shares.1];
        let (old, new) = (app(&shares, "r1"), app(&shares, "r2"));
        let mut model = Model::new(2);
        model.settle(&old);
        for (what, c, n) in happenings {
            let cluster = name(&format!("c{c}"));
            match what {
                0 => drop(model.round(&new)),
                1 => model.work(&cluster),
                2 => model.progress(&cluster, n.into(), None),
                _ => model.report(&cluster),
            }
            prop_assert!(model.available() >= new.total(), "{model:?}");
        }
        model.settle(&new);
        prop_assert_eq!(model.holds(&new), Ok(()));
    }

    #[test]
    fn with_any_surge_never_fewer_serve_than_wanted_and_never_more_are_there_than_may_be(
        happenings in proptest::collection::vec((0u8..4, 0u8..2, 0u8..8), 0..300), shares in (1u32..5, 0u32..4),
        surge in surges(),
    ) {
        let shares = [shares.0, shares.1];
        let (old, new) = (app(&shares, "r1"), surging(app(&shares, "r2"), surge));
        let mut model = Model::new(2);
        model.settle(&old);
        for (what, c, n) in happenings {
            let cluster = name(&format!("c{c}"));
            match what {
                // An agent says what it did before it answers.
                0 => plan(&new, &model.observed(), at(model.second)).iter().for_each(|step| {
                    model.carry_out(step);
                    model.report(&step.cluster);
                }),
                1 => model.work(&cluster),
                2 => model.progress(&cluster, n.into(), None),
                _ => model.report(&cluster),
            }
            prop_assert!(model.available() >= new.total(), "{model:?}");
            prop_assert!(model.live() <= new.total() + surge.of(new.total()), "{model:?}");
        }
        model.settle(&new);
        prop_assert_eq!(model.holds(&new), Ok(()));
    }

    #[test]
    fn clusters_that_are_worked_on_at_once_never_take_out_too_much_together(
        happenings in proptest::collection::vec((0u8..6, 0u8..2, 0u8..8), 0..300), shares in (1u32..5, 1u32..4),
        surge in surges(),
    ) {
        let shares = [shares.0, shares.1];
        let (old, new) = (app(&shares, "r1"), surging(app(&shares, "r2"), surge));
        let key = AppKey { project: name("demo"), name: name("web") };
        let mut model = Model::new(2);
        model.settle(&old);
        let mut under_way = UnderWay::default();
        let mut asked: BTreeMap<Name, Vec<PlannedStep>> = BTreeMap::new();
        for (what, c, n) in happenings {
            let cluster = name(&format!("c{c}"));
            match what {
                0 | 1 => {
                    let next = under_way.next(&key, &new, model.observed(), at(model.second)).remove(&cluster);
                    prop_assert!(next.is_none() || !asked.contains_key(&cluster), "one at a time in a cluster");
                    if let Some(steps) = next {
                        under_way.begin(&key, &cluster, steps.clone());
                        asked.insert(cluster, steps);
                    }
                }
                2 => {
                    // An agent says what it did before it answers.
                    for step in asked.remove(&cluster).unwrap_or_default() {
                        model.carry_out(&step);
                        model.report(&cluster);
                    }
                    under_way.end(&key, &cluster);
                }
                3 => model.work(&cluster),
                4 => model.progress(&cluster, n.into(), None),
                _ => model.report(&cluster),
            }
            prop_assert!(model.available() >= new.total(), "{model:?}");
        }
        model.settle(&new);
        prop_assert_eq!(model.holds(&new), Ok(()));
    }
}
