use bcs_kit::machine::{Fact, StateMachine, target};
use bcs_schemas::{
    Name,
    deploy::{DeleteApp, RestartApp},
    resource::{
        AppSpec,
        app::{ClusterSelector, ClusterWeight},
    },
};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a label")
}

fn key() -> AppKey {
    AppKey { project: name("demo"), name: name("shop") }
}

fn spec(replicas: u32) -> AppSpec {
    let text = serde_json::json!({
        "replicas": replicas,
        "placement": { "clusters": [{ "name": "sim-a", "weight": 2 }, { "name": "sim-b" }] },
        "image": { "repository": "shop/web", "tag": "v1" },
    });
    serde_json::from_value(text).expect("a spec")
}

fn labels(list: &[(&str, &str)]) -> Labels {
    list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Two clusters and nothing else.
fn world() -> Deploy {
    let mut state = Deploy::default();
    for (cluster, region) in [("sim-a", "eu"), ("sim-b", "us")] {
        let joined = internal(
            &state,
            &cluster_target(cluster),
            &Internal::ObserveCluster(labels(&[("region", region)])),
        );
        take_in(&mut state, &joined);
    }
    state
}

fn cluster_target(cluster: &str) -> Target {
    target(&Name::system(), "cluster", &name(cluster))
}

fn take_in(state: &mut Deploy, events: &[(Target, DeployEvent)]) {
    for (target, event) in events {
        state.evolve(&Fact { seq: 1, at: Timestamp::UNIX_EPOCH, target, event });
    }
}

/// Decides and takes in; the facts that were written.
fn ask(state: &mut Deploy, wish: impl Into<DeployCommand>) -> Result<Vec<String>, Rejection> {
    let events = command(state, &key(), &wish.into())?;
    take_in(state, &events);
    use bcs_schemas::MessageSet;
    Ok(events.iter().map(|(_, event)| event.type_name().verb).collect())
}

fn shares(state: &Deploy) -> Vec<(String, u32)> {
    state.apps[&key()].shares.iter().map(|(n, s)| (n.to_string(), *s)).collect()
}

#[test]
fn the_life_of_an_application_in_events() {
    let mut state = world();
    assert_eq!(
        ask(&mut state, apply(6)),
        Ok(vec!["applied".into(), "placed".into(), "rollout-started".into()])
    );
    assert_eq!(shares(&state), [("sim-a".to_owned(), 4), ("sim-b".to_owned(), 2)]);
    assert_eq!(ask(&mut state, apply(6)), Ok(vec![]), "the same again changes nothing");
    assert_eq!(
        ask(&mut state, ScaleApp { replicas: 9, remove: vec![] }),
        Ok(vec!["scaled".into(), "placed".into()])
    );
    assert_eq!(ask(&mut state, RestartApp {}), Ok(vec!["restarted".into(), "rollout-started".into()]));
    assert_eq!(ask(&mut state, DeleteApp::default()), Ok(vec!["deletion-requested".into()]));
    assert_eq!(ask(&mut state, DeleteApp::default()), Ok(vec![]));
    let refused = ask(&mut state, apply(6)).expect_err("is being deleted");
    assert_eq!(refused.code, RejectionCode::Precondition);
    let generation = state.apps[&key()].generation;
    assert_eq!(generation, 4);
    assert!(internal(&state, &key().target(), &forget(3, &[])).is_empty(), "an old wish");
    let gone = internal(&state, &key().target(), &forget(generation, &[]));
    take_in(&mut state, &gone);
    assert!(state.apps.is_empty());
    ask(&mut state, apply(1)).expect("may come back");
    assert_eq!(
        state.apps[&key()].generation,
        generation + 1,
        "and counts on, so that nothing old looks newer"
    );
}

#[test]
fn what_is_wrong_is_named_with_what_was_expected() {
    let mut state = world();
    let mut apply = |change: fn(&mut AppSpec)| {
        let mut spec = spec(6);
        change(&mut spec);
        ask(&mut state, ApplyApp { labels: Labels::new(), spec }).expect_err("wrong")
    };
    let unknown = apply(|spec| spec.placement.clusters[1].name = name("moon"));
    assert_eq!(unknown.fields[0].field, "spec.placement.clusters[1].name");
    assert!(unknown.fields[0].problem.contains("known are sim-a, sim-b"), "{unknown}");
    let nobody = apply(|spec| {
        spec.placement.clusters.clear();
        let match_labels = labels(&[("region", "asia")]);
        spec.placement.selector = Some(ClusterSelector { match_labels, weights: Default::default() });
    });
    assert!(nobody.fields[0].problem.contains("no cluster carries region=asia"), "{nobody}");
    let many = apply(|spec| spec.replicas = 1_000_000);
    assert_eq!(many.fields[0].field, "spec.replicas");
    let missing = ask(&mut state, ScaleApp { replicas: 1, remove: vec![] }).expect_err("no app");
    assert_eq!(missing.code, RejectionCode::NotFound);
}

#[test]
fn an_application_placed_by_selector_follows_the_clusters() {
    let mut state = world();
    let mut by_label = spec(4);
    by_label.placement.clusters.clear();
    let match_labels = labels(&[("region", "eu")]);
    by_label.placement.selector = Some(ClusterSelector { match_labels, weights: Default::default() });
    ask(&mut state, ApplyApp { labels: Labels::new(), spec: by_label }).expect("accepted");
    assert_eq!(shares(&state), [("sim-a".to_owned(), 4)]);
    let joined =
        internal(&state, &cluster_target("sim-c"), &Internal::ObserveCluster(labels(&[("region", "eu")])));
    take_in(&mut state, &joined);
    assert_eq!(shares(&state), [("sim-a".to_owned(), 2), ("sim-c".to_owned(), 2)]);
    let left = internal(&state, &cluster_target("sim-a"), &Internal::ForgetCluster);
    take_in(&mut state, &left);
    assert_eq!(shares(&state), [("sim-c".to_owned(), 4)]);
    let relabelled =
        internal(&state, &cluster_target("sim-c"), &Internal::ObserveCluster(labels(&[("region", "asia")])));
    take_in(&mut state, &relabelled);
    assert_eq!(shares(&state), [("sim-c".to_owned(), 4)], "a label that is lost stops nothing");
}

#[test]
fn an_application_placed_by_name_stays_where_it_was_put() {
    let mut state = world();
    let placement = vec![ClusterWeight { name: name("sim-a"), weight: 1 }];
    let mut one = spec(4);
    one.placement.clusters = placement;
    ask(&mut state, ApplyApp { labels: Labels::new(), spec: one }).expect("accepted");
    let left = internal(&state, &cluster_target("sim-a"), &Internal::ForgetCluster);
    take_in(&mut state, &left);
    assert_eq!(shares(&state), [("sim-a".to_owned(), 4)]);
}

fn forget(generation: u64, leftovers: &[&str]) -> Internal {
    Internal::Forget { generation, leftovers: leftovers.iter().map(|cluster| name(cluster)).collect() }
}

fn apply(replicas: u32) -> ApplyApp {
    ApplyApp { labels: Labels::new(), spec: spec(replicas) }
}

/// Deleted while `leftovers` were away.
fn buried(state: &mut Deploy, leftovers: &[&str]) {
    ask(state, apply(6)).expect("accepted");
    ask(state, DeleteApp::default()).expect("accepted");
    let gone = internal(state, &key().target(), &forget(state.apps[&key()].generation, leftovers));
    take_in(state, &gone);
}

#[test]
fn a_deletion_under_way_can_be_forced_once() {
    let mut state = world();
    ask(&mut state, apply(6)).expect("accepted");
    ask(&mut state, DeleteApp::default()).expect("accepted");
    let since = state.apps[&key()].deleting_since;
    assert_eq!(ask(&mut state, DeleteApp { force: true }), Ok(vec!["deletion-requested".into()]));
    assert!(state.apps[&key()].forced);
    assert_eq!(state.apps[&key()].deleting_since, since);
    assert_eq!(ask(&mut state, DeleteApp { force: true }), Ok(vec![]));
    assert_eq!(ask(&mut state, DeleteApp::default()), Ok(vec![]));
}

#[test]
fn what_may_be_left_of_a_deleted_application_is_remembered_until_the_clusters_are_empty() {
    let mut state = world();
    buried(&mut state, &["sim-a", "sim-b"]);
    assert!(state.apps.is_empty());
    let left = state.wanted(&key()).expect("is remembered");
    assert_eq!(
        (left.total(), left.generation, left.forced),
        (0, 2, true),
        "to be stopped, on its last intent"
    );
    let mut swept = |clusters: &[&str]| {
        let clusters = clusters.iter().map(|cluster| name(cluster)).collect();
        let events = internal(&state, &key().target(), &Internal::Swept { clusters });
        take_in(&mut state, &events);
        (events.len(), state.tombstones.get(&key()).map(|left| left.clusters.len()))
    };
    assert_eq!(swept(&["sim-c"]), (0, Some(2)));
    assert_eq!(swept(&["sim-b"]), (1, Some(1)));
    assert_eq!(swept(&["sim-b"]), (0, Some(1)));
    assert_eq!(swept(&["sim-a", "sim-b"]), (1, None));
    assert_eq!(state.wanted(&key()), None);
}

#[test]
fn an_application_made_again_takes_over_what_is_left_of_the_former() {
    let mut state = world();
    buried(&mut state, &["sim-z"]);
    ask(&mut state, apply(6)).expect("accepted");
    assert!(state.tombstones.is_empty());
    assert_eq!(state.apps[&key()].held, [name("sim-a"), name("sim-b"), name("sim-z")].into());
}

#[test]
fn an_application_that_left_nothing_behind_is_forgotten() {
    let mut state = world();
    buried(&mut state, &[]);
    assert!(state.tombstones.is_empty());
}

fn any_command() -> impl Strategy<Value = DeployCommand> {
    prop_oneof![
        (0u32..20, 0u8..3).prop_map(|(replicas, tag)| {
            let mut spec = spec(replicas);
            spec.image.tag = format!("v{tag}");
            ApplyApp { labels: Labels::new(), spec }.into()
        }),
        (0u32..20).prop_map(|replicas| ScaleApp { replicas, remove: vec![] }.into()),
        Just(RestartApp {}.into()),
        Just(DeleteApp::default().into()),
    ]
}

proptest! {
    #[test]
    fn generations_only_grow_and_shares_always_sum_to_the_replicas(
        commands in proptest::collection::vec(any_command(), 1..30),
    ) {
        let mut state = world();
        let mut generation = 0;
        for wish in commands {
            let changed = ask(&mut state, wish).is_ok_and(|events| !events.is_empty());
            if let Some(app) = state.apps.get(&key()) {
                prop_assert_eq!(app.generation, generation + u64::from(changed));
                prop_assert_eq!(app.shares.values().sum::<u32>(), app.spec.replicas);
                prop_assert_eq!(&app.revision, &app.spec.template(app.restarts).revision());
                generation = app.generation;
            }
        }
    }
}
