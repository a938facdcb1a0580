//! Steps: each does what it says, twice, and none moves anything back.

use bcs_engines::{Engine, News};
use bcs_schemas::{
    observation::EndpointPhase,
    resource::app::Registration,
    step::{Instance, Mark, Step, StepResult},
};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Namespace, Node, Pod},
};
use kube::{Api, api::ListParams};

use crate::lab::{Lab, World, drain, instance, scale_down, scale_up};

#[tokio::test]
async fn a_revision_is_created_scaled_drained_and_removed() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    let ready = world.ready(2).await;
    let first = &ready[0];
    assert_eq!((&first.app, &first.revision, first.generation), (&key.app, &key.revision, 1));
    assert!(!first.addresses.is_empty() && first.node.is_some(), "{first:?}");
    assert_eq!(first.ports[0].port, 8080);

    lab.twice(2, scale_up(&key, 3)).await;
    let ready = world.ready(3).await;
    let victim = instance(&ready[1]);
    lab.twice(2, drain(&key, &victim)).await;
    let drained = world
        .until(|w| w.of_phase(EndpointPhase::Draining).pop().ok_or_else(|| "nothing drains".to_owned()))
        .await;
    assert_eq!(instance(&drained), victim);
    assert!(!drained.stopping, "a drained instance still counts among the replicas");
    let pods: Api<Pod> = Api::namespaced(lab.client.clone(), key.project.as_str());
    let marked = pods.get(&victim.name).await.expect("is there").metadata.annotations.unwrap_or_default();
    let cost = marked.get("controller.kubernetes.io/pod-deletion-cost").map(String::as_str);
    assert_eq!(cost, Some("-1000000"), "the controller knows it long before the number falls");

    lab.twice(2, scale_down(&key, 2, std::slice::from_ref(&victim))).await;
    let left = world.ready(2).await;
    assert!(left.iter().all(|e| instance(e) != victim), "the victim is still there");
    assert!(left.iter().all(|e| ready.iter().any(|r| r.uid == e.uid)), "somebody else was replaced");

    let rest: Vec<Instance> = left.iter().map(instance).collect();
    lab.twice(3, scale_down(&key, 0, &rest)).await;
    world.until(|w| if w.endpoints().is_empty() { Ok(()) } else { Err("some are left".to_owned()) }).await;
    world
        .until(|w| match w.workload(&key) {
            Some(w) if w.replicas == 0 && w.ready == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    lab.twice(3, Step::Remove { workload: key.clone() }).await;
    world
        .until(|w| if w.workload(&key).is_none() { Ok(()) } else { Err("it is still there".to_owned()) })
        .await;
    lab.close().await;
}

/// Instances that run keep running, and those to come are told as well.
#[tokio::test]
async fn where_instances_belong_is_written_onto_them_and_onto_those_to_come() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    let before: Vec<Instance> = world.ready(2).await.iter().map(instance).collect();
    let lb: Vec<Registration> =
        serde_json::from_value(serde_json::json!([{ "registry": "lb", "port": "http" }])).expect("is a list");
    for (generation, register) in [(2, Some(lb)), (3, Some(Vec::new())), (4, None)] {
        lab.mark_twice(generation, &key, Mark::Register { register: register.clone() }).await;
        let told = |w: &World| {
            let endpoints = w.endpoints();
            let all = endpoints.iter().all(|e| e.register == register && before.contains(&instance(e)));
            if all { Ok(()) } else { Err(format!("{register:?}: {endpoints:?}")) }
        };
        world.until(told).await;
        let sets: Api<ReplicaSet> = Api::namespaced(lab.client.clone(), key.project.as_str());
        let set = sets.list(&ListParams::default()).await.expect("lists").items.pop().expect("is there");
        let template = set.spec.and_then(|spec| spec.template).and_then(|template| template.metadata);
        let written = template.and_then(|meta| meta.annotations).unwrap_or_default();
        let text = register.as_ref().map(|list| serde_json::to_string(list).expect("is JSON"));
        assert_eq!(written.get("bcs.io/register"), text.as_ref());
    }
    let stale = lab.mark(3, &key, Mark::Register { register: None }).await;
    assert_eq!(stale, StepResult::Stale { stamped: 4 });
    let unknown = lab.mark(4, &key, Mark::Unknown).await;
    assert!(matches!(unknown, StepResult::Refused { reason } if reason.contains("newer agent")));
    lab.close().await;
}

#[tokio::test]
async fn pods_with_a_gate_are_ready_when_they_are_said_to_be_registered_and_not_when_they_drain() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    let Step::ScaleUp { workload, mut template, labels, register, .. } = scale_up(&key, 2) else {
        panic!("it is another step")
    };
    template.readiness_gate = true;
    lab.twice(1, Step::ScaleUp { workload, template, labels, register, replicas: 2 }).await;
    // Ready for the registries, and not yet for anybody else.
    let serving = world.ready(2).await;
    assert!(serving.iter().all(|e| e.registered == Some(false)), "{serving:?}");
    let one = instance(&serving[0]);
    let pods: Api<Pod> = Api::namespaced(lab.client.clone(), key.project.as_str());
    let ready = async |name: &str| {
        let pod = pods.get(name).await.expect("is there");
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    assert!(!ready(&one.name).await);
    let other = Instance { uid: "another incarnation".to_owned(), ..instance(&serving[1]) };
    let known = Mark::Registered { instances: vec![one.clone(), other] };
    lab.mark_twice(1, &key, known.clone()).await;
    let registered = |w: &World| {
        let found = w.endpoints();
        let open = found.iter().filter(|e| e.registered == Some(true)).map(|e| instance(e));
        let open: Vec<Instance> = open.collect();
        if open == [one.clone()] { Ok(()) } else { Err(format!("{found:?}")) }
    };
    world.until(registered).await;
    let until = |wanted: bool| {
        let (ready, one) = (&ready, &one);
        async move {
            for _ in 0..400 {
                if ready(&one.name).await == wanted {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            }
            panic!("ready is not {wanted}");
        }
    };
    until(true).await;
    lab.twice(1, drain(&key, &one)).await;
    until(false).await;
    lab.mark_twice(1, &key, known).await;
    assert!(!ready(&one.name).await, "what drains is not let in again");
    lab.close().await;
}

#[tokio::test]
async fn no_step_raises_or_lowers_what_it_must_not() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    lab.twice(1, scale_up(&key, 1)).await;
    lab.twice(1, scale_down(&key, 5, &[])).await;
    world.ready(2).await;
    world
        .until(|w| match w.workload(&key) {
            Some(w) if w.replicas == 2 && w.ready == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    let refused = lab.run(1, Step::Remove { workload: key.clone() }).await;
    assert!(
        matches!(&refused, StepResult::Refused { reason } if reason.contains("2 instances")),
        "{refused:?}"
    );
    lab.close().await;
}

#[tokio::test]
async fn a_stale_generation_moves_nothing() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(5, scale_up(&key, 1)).await;
    let ready = world.ready(1).await;
    let stale = StepResult::Stale { stamped: 5 };
    let one = instance(&ready[0]);
    for step in [
        scale_up(&key, 9),
        drain(&key, &one),
        scale_down(&key, 0, std::slice::from_ref(&one)),
        Step::Remove { workload: key.clone() },
        scale_up(&lab.revision("r0"), 1),
    ] {
        assert_eq!(lab.run(4, step.clone()).await, stale, "{step:?}");
    }
    // The removed revision carries no stamp any more; its sibling still guards it.
    lab.twice(6, scale_up(&lab.revision("r2"), 1)).await;
    lab.twice(7, scale_down(&key, 0, std::slice::from_ref(&one))).await;
    world
        .until(|w| {
            w.workload(&key)
                .filter(|w| w.replicas == 0 && w.ready == 0)
                .map(|_| ())
                .ok_or_else(|| "r1 runs".to_owned())
        })
        .await;
    lab.twice(7, Step::Remove { workload: key.clone() }).await;
    assert_eq!(lab.run(5, scale_up(&key, 1)).await, StepResult::Stale { stamped: 6 });
    lab.close().await;
}

#[tokio::test]
async fn another_incarnation_is_not_touched() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    let ready = world.ready(2).await;
    let other = Instance { uid: "of-another-life".to_owned(), ..instance(&ready[0]) };
    lab.twice(1, drain(&key, &other)).await;
    lab.twice(1, scale_down(&key, 2, std::slice::from_ref(&other))).await;
    assert_eq!(world.ready(2).await.len(), 2);
    let missing = Instance { name: "nobody".to_owned(), uid: "u".to_owned() };
    lab.twice(1, drain(&key, &missing)).await;
    lab.close().await;
}

#[tokio::test]
async fn many_executors_at_once_agree_with_the_newest() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let steps = (1..=12_u64).map(|n| lab.run(n, scale_up(&key, u32::try_from(n).unwrap_or(1))));
    let results = futures::future::join_all(steps).await;
    assert_eq!(results[11], StepResult::Done, "{results:?}");
    assert!(results.iter().all(|r| matches!(r, StepResult::Done | StepResult::Stale { .. })), "{results:?}");
    assert_eq!(lab.run(11, scale_up(&key, 12)).await, StepResult::Stale { stamped: 12 });
    let mut world = lab.world();
    world.ready(12).await;
    lab.close().await;
}

#[tokio::test]
async fn what_belongs_to_others_is_refused() {
    let lab = Lab::open().await;
    let mut key = lab.key.clone();
    key.project = crate::lab::name("kube-system");
    let refused = lab.run(1, scale_up(&key, 1)).await;
    assert!(
        matches!(&refused, StepResult::Refused { reason } if reason.contains("kube-system")),
        "{refused:?}"
    );
    let refused = lab.run(1, Step::Cordon { node: "nowhere".to_owned(), cordoned: true }).await;
    assert!(matches!(&refused, StepResult::Refused { reason } if reason.contains("nowhere")), "{refused:?}");
    lab.close().await;
}

#[tokio::test]
async fn nodes_are_closed_and_opened() {
    // Not on a real cluster: it belongs to somebody.
    let lab = Lab::open_simulated().await;
    let mut news = lab.engine.watch(crate::lab::name("sim-a"));
    let mut seen = async |wanted: bool| loop {
        match news.next().await.expect("never ends") {
            News::Seen(bcs_engines::Observed::Node(node)) if node.cordoned == wanted => break node.name,
            _ => {}
        }
    };
    let node = seen(false).await;
    let cordon = |cordoned| Step::Cordon { node: node.clone(), cordoned };
    lab.twice(3, cordon(true)).await;
    assert_eq!(seen(true).await, node);
    assert_eq!(lab.run(2, cordon(false)).await, StepResult::Stale { stamped: 3 });
    lab.twice(4, cordon(false)).await;
    assert_eq!(seen(false).await, node);
    // A person closes it afterwards; the same intent, asked again, does not open it.
    let nodes = Api::<Node>::all(lab.client.clone());
    nodes.cordon(&node).await.expect("closes");
    lab.twice(4, cordon(false)).await;
    let found = nodes.get(&node).await.expect("is there");
    assert_eq!(found.spec.and_then(|s| s.unschedulable), Some(true));
    lab.twice(5, cordon(false)).await;
    let found = nodes.get(&node).await.expect("is there");
    assert!(!found.spec.and_then(|s| s.unschedulable).unwrap_or(false));
    lab.close().await;
}

#[tokio::test]
async fn a_namespace_is_made_and_labelled() {
    let lab = Lab::open().await;
    lab.twice(1, scale_up(&lab.key, 1)).await;
    let namespaces = Api::<Namespace>::all(lab.client.clone());
    let found = namespaces.get(lab.key.project.as_str()).await.expect("is there");
    let labels = found.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("bcs"));
    let pods: Api<Pod> = Api::namespaced(lab.client.clone(), lab.key.project.as_str());
    let selector = ListParams::default().labels("bcs.io/app=shop,bcs.io/revision=r1");
    let mut world = lab.world();
    world.ready(1).await;
    assert_eq!(pods.list(&selector).await.expect("lists").items.len(), 1);
    lab.close().await;
}
