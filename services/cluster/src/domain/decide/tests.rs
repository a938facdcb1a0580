use bcs_schemas::{
    CommandId,
    cluster::{CordonNode, Health, LabelCluster, RemoveCluster, UncordonNode},
    resource::ClusterSpec,
};
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::domain::view::view;

/// The service without its shell: decides, evolves, counts.
#[derive(Default)]
struct World {
    state: State,
    seq: u64,
}

fn target(project: &str, cluster: &str) -> Target {
    let name = |text: &str| Name::new(text).expect("is a name");
    Target { project: name(project), kind: name("cluster"), name: name(cluster) }
}

impl World {
    fn ask(
        &mut self,
        name: &str,
        request: &Request<ClusterCommand, Internal>,
    ) -> Result<Vec<ClusterEvent>, Rejection> {
        let now = Timestamp::UNIX_EPOCH;
        let ctx = Ctx { now, actor: "ada".to_owned(), command: CommandId::derived("test", "x") };
        let events = self.state.decide(&target("system", name), request, &ctx)?;
        for (target, event) in &events {
            self.seq += 1;
            self.state.evolve(&Fact { seq: self.seq, at: now, target, event });
        }
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }

    fn command(
        &mut self,
        name: &str,
        command: impl Into<ClusterCommand>,
    ) -> Result<Vec<ClusterEvent>, Rejection> {
        self.ask(name, &Request::Command(command.into()))
    }
}

fn spec(file: &str) -> ClusterSpec {
    serde_json::from_value(json!({ "kubeconfig": { "file": file } })).expect("is a spec")
}

fn import(file: &str, labels: &[(&str, &str)]) -> ImportCluster {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ImportCluster { labels, spec: spec(file) }
}

fn cordon_n1() -> CordonNode {
    CordonNode { node: "n1".to_owned() }
}

#[test]
fn an_import_repeated_changes_nothing_and_a_changed_one_counts_on() {
    let mut world = World::default();
    let first = world.command("sim-a", import("/a", &[])).expect("accepted");
    assert!(matches!(&first[..], [ClusterEvent::ClusterImported(i)] if i.generation == 1));
    assert_eq!(world.command("sim-a", import("/a", &[])), Ok(vec![]));
    let again = world.command("sim-a", import("/b", &[("zone", "x")])).expect("accepted");
    assert!(matches!(&again[..], [ClusterEvent::ClusterImported(i)] if i.generation == 2));
    let member = &world.state.members[&Name::new("sim-a").expect("is a name")];
    assert_eq!((member.spec.clone(), member.health), (spec("/b"), Health::Unknown));
    assert_eq!(member.labels.get("zone").map(String::as_str), Some("x"));
}

#[test]
fn wrong_fields_are_named() {
    let mut world = World::default();
    let rejection = world.command("sim-a", import("relative", &[("bad key", "x")])).expect_err("refused");
    let fields: Vec<&str> = rejection.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!((rejection.code, fields), (RejectionCode::Invalid, vec!["spec.kubeconfig.file", "labels"]));
    let ctx = Ctx { now: Timestamp::UNIX_EPOCH, actor: String::new(), command: CommandId::derived("t", "x") };
    let command = Request::Command(import("/a", &[]).into());
    let rejection = world.state.decide(&target("demo", "sim-a"), &command, &ctx).expect_err("refused");
    assert_eq!(rejection.fields[0].field, "metadata.project");
    world.command("sim-a", import("/a", &[])).expect("accepted");
    for node in ["", "Not A Node", "a..b", &"n".repeat(300)] {
        let rejection = world.command("sim-a", CordonNode { node: node.to_owned() }).expect_err(node);
        assert_eq!(rejection.fields[0].field, "node");
    }
}

#[test]
fn an_unknown_cluster_is_answered_with_the_known_ones() {
    let mut world = World::default();
    let commands: [ClusterCommand; 4] = [
        RemoveCluster {}.into(),
        LabelCluster { labels: Labels::new() }.into(),
        cordon_n1().into(),
        UncordonNode { node: "n1".to_owned() }.into(),
    ];
    for command in commands.clone() {
        let rejection = world.command("nowhere", command).expect_err("refused");
        assert_eq!(rejection.code, RejectionCode::NotFound);
        assert!(rejection.message.contains("there is none yet"), "{rejection}");
    }
    world.command("sim-a", import("/a", &[])).expect("accepted");
    world.command("sim-b", import("/b", &[])).expect("accepted");
    for command in commands {
        let rejection = world.command("nowhere", command).expect_err("refused");
        assert!(rejection.message.contains("sim-a, sim-b"), "{rejection}");
    }
}

#[test]
fn generations_never_go_back_not_even_over_a_removal() {
    let mut world = World::default();
    world.command("sim-a", import("/a", &[])).expect("accepted");
    let closed = world.command("sim-a", cordon_n1()).expect("accepted");
    assert!(matches!(&closed[..], [ClusterEvent::NodeCordoned(it)] if it.generation == 2));
    assert_eq!(world.command("sim-a", cordon_n1()), Ok(vec![]), "it is closed already");
    let opened = world.command("sim-a", UncordonNode { node: "n1".to_owned() }).expect("accepted");
    assert!(matches!(&opened[..], [ClusterEvent::NodeUncordoned(it)] if it.generation == 3));
    world.command("sim-a", RemoveCluster {}).expect("accepted");
    assert!(world.state.members.is_empty());
    let back = world.command("sim-a", import("/a", &[])).expect("accepted");
    assert!(matches!(&back[..], [ClusterEvent::ClusterImported(i)] if i.generation == 4));
}

#[test]
fn what_was_asked_of_a_node_that_is_gone_is_void_and_what_was_asked_since_is_not() {
    let mut world = World::default();
    world.command("sim-a", import("/a", &[])).expect("accepted");
    world.command("sim-a", cordon_n1()).expect("accepted");
    let gone = |generation| Request::Internal(Internal::ForgetNode { node: "n1".to_owned(), generation });
    assert_eq!(world.ask("sim-a", &gone(1)), Ok(vec![]), "an older intent than the one that stands");
    let void = world.ask("sim-a", &gone(2)).expect("accepted");
    assert_eq!(void, [NodeGone { node: "n1".to_owned(), generation: 2 }.into()]);
    assert_eq!(world.ask("sim-a", &gone(2)), Ok(vec![]), "it is void already");
    let again = world.command("sim-a", cordon_n1()).expect("accepted");
    assert!(matches!(&again[..], [ClusterEvent::NodeCordoned(it)] if it.generation == 3));
}

#[test]
fn health_is_written_only_when_it_changes() {
    let mut world = World::default();
    world.command("sim-a", import("/a", &[])).expect("accepted");
    let wish = |to| Request::Internal(Internal::SetHealth { to, reason: "why".to_owned() });
    assert_eq!(world.ask("sim-a", &wish(Health::Unknown)), Ok(vec![]));
    let changed = world.ask("sim-a", &wish(Health::Healthy)).expect("accepted");
    assert!(matches!(&changed[..], [ClusterEvent::ClusterHealthChanged(it)] if it.from == Health::Unknown));
    assert_eq!(world.ask("sim-a", &wish(Health::Healthy)), Ok(vec![]));
    let name = Name::new("sim-a").expect("is a name");
    let shown = view(&name, &world.state.members[&name], 2, None);
    assert_eq!(
        (shown.health, shown.reason.as_deref(), shown.observed_at),
        (Health::Healthy, Some("why"), None)
    );
}
