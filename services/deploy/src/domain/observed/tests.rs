use bcs_schemas::{
    bucket::Keyed,
    resource::{AppSpec, Labels},
};

use super::*;
use crate::domain::doubt;

fn name(text: &str) -> Name {
    Name::new(text).expect("a label")
}

fn key() -> AppKey {
    AppKey { project: name("demo"), name: name("web") }
}

fn app(register: serde_json::Value) -> App {
    let spec: AppSpec = serde_json::from_value(serde_json::json!({
        "replicas": 1,
        "placement": { "clusters": [{ "name": "sim-a" }] },
        "image": { "repository": "r", "tag": "t" },
        "register": register,
        "drain": { "deadline": "30s" },
    }))
    .expect("a spec");
    App {
        labels: Labels::new(),
        template: spec.template(0),
        spec,
        generation: 1,
        restarts: 0,
        shares: [(name("sim-a"), 1)].into(),
        revision: name("r1"),
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

/// One instance in `sim-a`, with what two registries say of it.
struct World {
    all: Observations,
    members: Clusters,
}

impl World {
    fn new(phase: EndpointPhase, registrations: &[(&str, RegistrationState)]) -> Self {
        let mut all = Observations::default();
        let at = Timestamp::UNIX_EPOCH;
        let health = ClusterHealth {
            cluster: name("sim-a"),
            reachable: true,
            reason: None,
            synced: true,
            version: None,
            nodes: 1,
            nodes_ready: 1,
            capacity: Default::default(),
            observed_at: at,
        };
        all.clusters.insert(health.key(), Arc::new(health));
        let endpoint = Endpoint {
            cluster: name("sim-a"),
            project: name("demo"),
            app: name("web"),
            revision: name("r1"),
            instance: "web-1".to_owned(),
            uid: "u1".to_owned(),
            node: None,
            zone: None,
            addresses: Vec::new(),
            ports: Vec::new(),
            weight: 100,
            labels: Labels::new(),
            register: None,
            registered: None,
            phase,
            stopping: false,
            reason: None,
            since: at,
            generation: 1,
            observed_at: at,
        };
        all.endpoints.insert(endpoint.key(), Arc::new(endpoint));
        for registry in ["dns", "etcd"] {
            let status = RegistryStatus {
                sidecar: None,
                cluster: name("sim-a"),
                registry: name(registry),
                driver: "file".to_owned(),
                scope: Default::default(),
                reachable: true,
                reason: None,
                epoch: 1,
                entries: 0,
                pending: 0,
                oldest_pending_since: None,
                drift_repaired: 0,
                quarantined: 0,
                writes: 0,
                failures: 0,
                observed_at: at,
            };
            all.registries.insert(status.key(), Arc::new(status));
        }
        for (registry, state) in registrations {
            let registration = Registration {
                cluster: name("sim-a"),
                project: name("demo"),
                app: name("web"),
                instance: "web-1".to_owned(),
                uid: "u1".to_owned(),
                registry: name(registry),
                address: String::new(),
                state: *state,
                reason: None,
                since: at,
                retry_at: None,
                observed_at: at,
            };
            all.registrations.insert(registration.key(), Arc::new(registration));
        }
        Self { all, members: [(name("sim-a"), Labels::new())].into_iter().collect() }
    }

    /// The instance carries what the application wants of registries.
    fn told(mut self, app: &App) -> Self {
        for endpoint in self.all.endpoints.clone().into_iter().map(|(_, endpoint)| endpoint) {
            let told = Endpoint { register: app.spec.register.clone(), ..(*endpoint).clone() };
            self.all.endpoints.insert(told.key(), Arc::new(told));
        }
        self
    }

    fn join(&self, app: &App, seconds: i64) -> Observed {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        Observed::join(&key(), app, &self.members, &self.all, now)
    }

    fn stage(&self, app: &App, seconds: i64) -> Stage {
        self.join(app, seconds).clusters[&name("sim-a")].instances[0].stage.clone()
    }
}

#[test]
fn an_instance_is_available_when_it_is_ready_and_every_asked_registry_has_confirmed_it() {
    use RegistrationState::{Confirmed, Failed, Pending};
    let (all, only, none) = (
        app(serde_json::json!(null)),
        app(serde_json::json!([{ "registry": "dns" }])),
        app(serde_json::json!([])),
    );
    let cases = [
        (vec![("dns", Confirmed), ("etcd", Confirmed)], true, true, true),
        (vec![("dns", Confirmed), ("etcd", Pending)], false, true, true),
        (vec![("dns", Failed), ("etcd", Confirmed)], false, false, true),
        (vec![], false, false, true),
    ];
    for (registrations, by_all, by_one, by_none) in cases {
        let world = World::new(EndpointPhase::Ready, &registrations);
        for (app, expected) in [(&all, by_all), (&only, by_one), (&none, by_none)] {
            assert_eq!(
                world.stage(app, 1) == Stage::Available,
                expected,
                "{registrations:?} {:?}",
                app.spec.register
            );
        }
        let starting = World::new(EndpointPhase::Starting, &registrations);
        assert!(matches!(starting.stage(&none, 1), Stage::Waiting(_)));
    }
}

#[test]
fn a_registry_that_nobody_keeps_is_waited_for_with_the_reason() {
    let world = World::new(EndpointPhase::Ready, &[]);
    let asked = app(serde_json::json!([{ "registry": "consul" }]));
    let Stage::Waiting(why) = world.stage(&asked, 1) else { panic!("waits") };
    assert_eq!(why, "no sidecar keeps registry consul for cluster sim-a");
}

#[test]
fn a_registry_is_waited_for_only_when_it_takes_the_application() {
    use RegistrationState::{Confirmed, Drained};
    let scoped = |registry: &str, scope: serde_json::Value, phase, said: &[(&str, RegistrationState)]| {
        let mut world = World::new(phase, said);
        let key = format!("sim-a.{registry}");
        let status = world.all.registries.get(&key).expect("is there").clone();
        let scope = serde_json::from_value(scope).expect("a scope");
        world.all.registries.insert(key, Arc::new(RegistryStatus { scope, ..(*status).clone() }));
        world
    };
    let (unasked, named) = (app(serde_json::json!(null)), app(serde_json::json!([{ "registry": "dns" }])));
    for scope in [
        serde_json::json!({ "optIn": true }),
        serde_json::json!({ "onlyIf": { "projects": ["other"] } }),
        serde_json::json!({ "onlyIf": { "matchLabels": { "tier": "front" } } }),
    ] {
        let world = scoped("dns", scope.clone(), EndpointPhase::Ready, &[("etcd", Confirmed)]);
        assert_eq!(world.stage(&unasked, 1), Stage::Available, "{scope}");
        let draining = scoped("dns", scope, EndpointPhase::Draining, &[("etcd", Drained)]);
        assert_eq!(draining.stage(&unasked, 1), Stage::Drained(None));
    }
    let asked = scoped("dns", serde_json::json!({ "optIn": true }), EndpointPhase::Ready, &[]);
    assert!(matches!(asked.stage(&named, 1), Stage::Waiting(why) if why.contains("has not been told")));
    let only = serde_json::json!({ "onlyIf": { "projects": ["other"] } });
    let refused = scoped("dns", only, EndpointPhase::Ready, &[]);
    assert!(matches!(refused.stage(&named, 1), Stage::Waiting(why) if why.contains("does not take it")));
}

#[test]
fn an_instance_that_leaves_is_waited_for_where_it_was_told_to_be() {
    use RegistrationState::Drained;
    let before = app(serde_json::json!([{ "registry": "etcd" }]));
    let world = World::new(EndpointPhase::Draining, &[("etcd", Drained)]).told(&before);
    let now = app(serde_json::json!([{ "registry": "dns" }]));
    assert_eq!(world.stage(&now, 1), Stage::Drained(None), "dns never heard of it");
    assert!(!world.join(&now, 1).clusters[&name("sim-a")].instances[0].told);
}

#[test]
fn an_instance_without_the_port_that_is_wanted_now_stays_entered_as_it_is() {
    let told = |register: serde_json::Value| {
        let world = World::new(EndpointPhase::Ready, &[]);
        world.join(&app(register), 1).clusters[&name("sim-a")].instances[0].told
    };
    assert!(!told(serde_json::json!([{ "registry": "dns" }])));
    assert!(told(serde_json::json!([{ "registry": "dns", "port": "new" }])), "it never had that port");
}

#[test]
fn a_drain_is_through_when_every_registry_says_so_or_its_deadline_has_passed() {
    use RegistrationState::{Confirmed, Drained, Draining};
    let app = app(serde_json::json!([{ "registry": "dns" }]));
    let stage = |registrations: &[(&str, RegistrationState)], seconds| {
        World::new(EndpointPhase::Draining, registrations).told(&app).stage(&app, seconds)
    };
    assert_eq!(stage(&[("dns", Drained), ("etcd", Drained)], 1), Stage::Drained(None));
    assert_eq!(stage(&[("dns", Drained)], 1), Stage::Drained(None));
    assert!(matches!(stage(&[("dns", Draining)], 29), Stage::Draining(_)));
    assert!(matches!(stage(&[], 1), Stage::Draining(_)), "nobody has said anything yet");
    assert!(
        matches!(stage(&[("dns", Drained), ("etcd", Confirmed)], 1), Stage::Draining(_)),
        "known there, asked or not"
    );
    assert!(matches!(stage(&[("dns", Draining)], 31), Stage::Drained(Some(_))));
    let mut ask = app.clone();
    ask.spec.drain.on_deadline = OnDeadline::Ask;
    let world = World::new(EndpointPhase::Draining, &[("dns", Draining)]).told(&ask);
    assert!(
        matches!(world.stage(&ask, 31), Stage::Draining(why) if why.contains("set drain.onDeadline to force"))
    );
}

#[test]
fn what_another_incarnation_did_says_nothing() {
    let mut world = World::new(
        EndpointPhase::Draining,
        &[("dns", RegistrationState::Drained), ("etcd", RegistrationState::Drained)],
    );
    let endpoint = world.all.endpoints.values().next().expect("one").clone();
    let reborn = Endpoint { uid: "u2".to_owned(), ..(*endpoint).clone() };
    world.all.endpoints.insert(reborn.key(), Arc::new(reborn));
    assert!(matches!(world.stage(&app(serde_json::json!(null)), 1), Stage::Draining(_)));
}

#[test]
fn a_silent_cluster_is_not_acted_upon() {
    let world = World::new(EndpointPhase::Ready, &[]);
    let unusable =
        |seconds| world.join(&app(serde_json::json!([])), seconds).clusters[&name("sim-a")].unusable.clone();
    assert_eq!(unusable(39), None);
    assert!(unusable(41).is_some_and(|why| why.contains("silent")));
}

#[test]
fn a_cluster_that_is_heard_is_acted_upon_whatever_its_clock_says() {
    let mut world = World::new(EndpointPhase::Ready, &[]);
    let unusable = |world: &World, seconds| {
        world.join(&app(serde_json::json!([])), seconds).clusters[&name("sim-a")].unusable.clone()
    };
    assert!(unusable(&world, -41).is_some(), "its news is of tomorrow, and nobody heard it since we began");
    let heard = Timestamp::from_second(9_000).expect("a time");
    world.all.heard.insert("sim-a".to_owned(), heard);
    assert_eq!(unusable(&world, 9_040), None, "its clock is wrong by hours");
    assert!(unusable(&world, 9_041).is_some_and(|why| why.contains("silent since 1970-01-01T02:30:00Z")));
}

#[test]
fn a_removed_cluster_holds_up_no_deletion() {
    let mut world = World::new(EndpointPhase::Ready, &[]);
    world.members = Clusters::new();
    world.all.clusters.clear();
    let mut app = app(serde_json::json!([]));
    let why = world.join(&app, 1).clusters[&name("sim-a")].unusable.clone();
    assert!(why.is_some_and(|why| why.contains("was removed from the platform")));
    app.deleting_since = Some(Timestamp::UNIX_EPOCH);
    assert!(world.join(&app, 1).clusters.is_empty());
}

#[test]
fn an_application_that_wants_nothing_of_a_removed_cluster_does_not_care_about_it() {
    let mut world = World::new(EndpointPhase::Ready, &[]);
    world.members = Clusters::new();
    let mut moved = app(serde_json::json!([]));
    moved.shares = [(name("sim-a"), 0)].into();
    assert!(world.join(&moved, 1).clusters.is_empty());
}

#[test]
fn a_deletion_looks_wherever_the_application_ever_was() {
    let world = World::new(EndpointPhase::Ready, &[]);
    let mut moved = app(serde_json::json!([]));
    moved.shares = [(name("sim-b"), 1)].into();
    moved.held = [name("sim-a"), name("sim-b")].into();
    moved.deleting_since = Some(Timestamp::UNIX_EPOCH);
    let mut emptied = World { all: world.all.clone(), members: world.members.clone() };
    emptied.all.endpoints.clear();
    let leftovers =
        |world: &World, second| doubt::leftovers(&moved, &world.join(&moved, second), &Default::default());
    assert_eq!(leftovers(&world, 1), moved.held, "one holds something, the other was removed");
    assert_eq!(leftovers(&emptied, 1), [name("sim-b")].into());
    assert_eq!(leftovers(&emptied, 60), moved.held, "silent for too long");
}
