//! A cluster in which things go wrong: every step that fails can be tried again until it is done, what is seen stays true,
//! and nothing is taken for gone that is only out of sight.

use std::time::Duration;

use bcs_engines::{Engine, Kind, Observed, ProbeError};
use bcs_kubesim::{Crash, Faults};
use bcs_schemas::{
    observation::{Endpoint, EndpointPhase, Node},
    step::{Step, StepResult},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};

use crate::lab::{Lab, World, drain, instance, scale_down, scale_up};

const HOUR: Duration = Duration::from_secs(3600);

/// Repeats a step until it is done; a server that errs must never make it refuse.
async fn insist(lab: &Lab, generation: u64, step: Step) {
    for _ in 0..200 {
        match lab.run(generation, step.clone()).await {
            StepResult::Done => return,
            StepResult::Failed { .. } => {}
            other => panic!("{step:?}: {other:?}"),
        }
    }
    panic!("{step:?} was never done");
}

fn faults(lab: &Lab) -> &Faults {
    lab.sim.as_ref().expect("is simulated").faults()
}

fn nodes(world: &World) -> Vec<Node> {
    let node = |it: &Observed| match it {
        Observed::Node(node) => Some(node.clone()),
        _ => None,
    };
    world.things.values().filter_map(node).collect()
}

/// Waits until so many instances start, each for a reason that contains these words.
async fn held_up(world: &mut World, count: usize, words: &str) -> Vec<Endpoint> {
    world
        .until(|world| {
            let starting = world.of_phase(EndpointPhase::Starting);
            let said = |e: &&Endpoint| e.reason.as_deref().unwrap_or_default().contains(words);
            let held = starting.iter().filter(said).count();
            if held == count {
                Ok(starting)
            } else {
                Err(format!("{held} of {count} say {words:?}: {starting:?}"))
            }
        })
        .await
}

fn same(mut one: Vec<Endpoint>, mut other: Vec<Endpoint>) {
    let uids = |list: &mut Vec<Endpoint>| {
        let mut uids: Vec<String> = list.drain(..).map(|e| e.uid).collect();
        uids.sort();
        uids
    };
    assert_eq!(uids(&mut one), uids(&mut other), "the same instances");
}

#[tokio::test]
async fn steps_that_fail_half_way_can_be_repeated() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let faults = || faults(&lab);
    faults().set_seed(7);
    faults().set_api_errors(0.3);
    faults().set_conflicts(0.3);
    insist(&lab, 1, scale_up(&key, 4)).await;
    insist(&lab, 2, scale_up(&key, 5)).await;
    faults().reset();
    let mut world = lab.world();
    let ready = world.ready(5).await;
    let victims: Vec<_> = ready.iter().take(2).map(instance).collect();
    faults().set_api_errors(0.3);
    faults().set_conflicts(0.3);
    for victim in &victims {
        insist(&lab, 2, drain(&key, victim)).await;
    }
    insist(&lab, 2, scale_down(&key, 3, &victims)).await;
    faults().reset();
    let left = world.ready(3).await;
    assert!(left.iter().all(|e| ready[2..].iter().any(|r| r.uid == e.uid)), "another one went");
    assert!(left.iter().all(|e| e.phase == EndpointPhase::Ready));
    lab.close().await;
}

#[tokio::test]
async fn lost_watches_and_lost_history_hide_nothing_while_steps_go_on() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    faults(&lab).set_seed(3);
    for turn in 1..=6_u32 {
        faults(&lab).set_api_errors(0.1);
        match turn % 3 {
            0 => faults(&lab).drop_watches(),
            1 => faults(&lab).compact(),
            _ => {
                faults(&lab).compact();
                faults(&lab).drop_watches();
            }
        }
        insist(&lab, turn.into(), scale_up(&key, turn)).await;
        let ready = world.ready(turn as usize).await;
        let generations = ready.iter().filter(|e| e.generation == u64::from(turn)).count();
        assert!(generations >= 1, "the new one carries the generation that asked for it: {ready:?}");
    }
    lab.close().await;
}

#[tokio::test]
async fn a_partition_hides_everything_and_changes_nothing() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    let before = world.ready(2).await;
    let lost = before[0].node.clone().expect("has a node");
    faults(&lab).partition(HOUR);
    for step in [scale_up(&key, 3), drain(&key, &instance(&before[0]))] {
        let result = lab.run(2, step.clone()).await;
        assert!(matches!(result, StepResult::Failed { .. }), "{step:?}: {result:?}");
    }
    let answer = lab.engine.probe().await;
    assert!(matches!(answer, Err(ProbeError::Unreachable(_))), "{answer:?}");
    // What happens behind it is not seen, and what was seen is not taken for gone.
    faults(&lab).node_down(&lost);
    let failed = world.failures.clone();
    world
        .until(|world| {
            let again = Kind::ALL.iter().all(|kind| world.failures.get(kind) > failed.get(kind));
            if again { Ok(()) } else { Err(format!("{:?}", world.failures)) }
        })
        .await;
    same(world.of_phase(EndpointPhase::Ready), before.clone());
    faults(&lab).partition(Duration::ZERO);
    world
        .until(|world| {
            let hidden = nodes(world).iter().any(|node| node.name == lost && !node.ready);
            if hidden { Ok(()) } else { Err("the lost node is not seen".to_owned()) }
        })
        .await;
    faults(&lab).node_up(&lost);
    lab.twice(2, scale_up(&key, 3)).await;
    let after = world.ready(3).await;
    assert!(before.iter().all(|b| after.iter().any(|a| a.uid == b.uid)), "nobody was replaced");
    lab.close().await;
}

#[tokio::test]
async fn a_lost_node_takes_its_instances_out_of_service_and_brings_them_back() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 3)).await;
    let before = world.ready(3).await;
    let lost = before[0].node.clone().expect("has a node");
    let on_it = before.iter().filter(|e| e.node.as_ref() == Some(&lost)).count();
    faults(&lab).node_down(&lost);
    world
        .until(|world| {
            let away = world.of_phase(EndpointPhase::Starting).len();
            let node = nodes(world).into_iter().find(|node| node.name == lost).ok_or("no node")?;
            if away == on_it && !node.ready && node.reason.is_some() {
                Ok(())
            } else {
                Err(format!("{away} of {on_it} are away, {node:?}"))
            }
        })
        .await;
    // New ones start elsewhere.
    lab.twice(2, scale_up(&key, 5)).await;
    let new = world
        .until(|world| {
            let ready = world.of_phase(EndpointPhase::Ready);
            if ready.len() == 5 - on_it { Ok(ready) } else { Err(format!("{ready:?}")) }
        })
        .await;
    assert!(new.iter().all(|e| e.node.as_ref() != Some(&lost)), "{new:?}");
    faults(&lab).node_up(&lost);
    let after = world.ready(5).await;
    assert!(before.iter().all(|b| after.iter().any(|a| a.uid == b.uid)), "nobody was replaced");
    lab.close().await;
}

#[tokio::test]
async fn slow_starts_are_starts_and_not_failures() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    faults(&lab).set_slow_start(HOUR);
    lab.twice(1, scale_up(&key, 2)).await;
    let starting = held_up(&mut world, 2, "").await;
    let workload = world.until(|world| world.workload(&key).cloned().ok_or_else(|| "none".to_owned())).await;
    assert_eq!((workload.replicas, workload.ready), (2, 0));
    faults(&lab).set_slow_start(Duration::ZERO);
    same(world.ready(2).await, starting);
    lab.close().await;
}

#[tokio::test]
async fn images_that_cannot_be_pulled_are_said_to_be_the_reason() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    faults(&lab).set_image_pull_errors(1.0);
    lab.twice(1, scale_up(&key, 2)).await;
    let waiting = held_up(&mut world, 2, "ImagePullBackOff").await;
    faults(&lab).set_image_pull_errors(0.0);
    same(world.ready(2).await, waiting);
    lab.close().await;
}

#[tokio::test]
async fn instances_that_crash_leave_and_come_back_as_the_same_ones() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    let before = world.ready(2).await;
    let crash = Crash { app: Some(key.app.to_string()), ..Crash::default() };
    assert_eq!(faults(&lab).crash(&crash).expect("crashes").len(), 2);
    let pods: Api<Pod> = Api::namespaced(lab.client.clone(), key.project.as_str());
    let restarted = async |count: i32| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let found = pods.list(&ListParams::default()).await.expect("a list").items;
            let restarts = |pod: &Pod| {
                let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
                statuses.first().map(|status| status.restart_count)
            };
            if found.iter().all(|pod| restarts(pod) == Some(count)) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "not restarted {count} times: {found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    restarted(1).await;
    same(world.ready(2).await, before.clone());
    // The second time they are held back, and out of service as long as that.
    faults(&lab).crash(&crash).expect("crashes");
    held_up(&mut world, 2, "CrashLoopBackOff").await;
    restarted(2).await;
    same(world.ready(2).await, before);
    lab.close().await;
}
