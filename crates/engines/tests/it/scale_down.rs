//! Which instance goes: always the one that was named.

use std::collections::BTreeSet;

use bcs_schemas::{
    observation::{Endpoint, EndpointPhase},
    step::{Instance, Step, StepResult},
};

use crate::lab::{Lab, World, instance, scale_down, scale_up};

fn uids(endpoints: &[Endpoint]) -> BTreeSet<String> {
    endpoints.iter().map(|e| e.uid.clone()).collect()
}

/// Waits until exactly the wanted ones are there, ready or not.
async fn left(world: &mut World, wanted: &BTreeSet<String>) {
    world
        .until(|w| {
            let there: BTreeSet<String> = w.endpoints().iter().map(|e| e.uid.clone()).collect();
            if there == *wanted { Ok(()) } else { Err(format!("{there:?} are there, not {wanted:?}")) }
        })
        .await;
}

#[tokio::test]
async fn any_named_instance_can_go() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 6)).await;
    let ready = world.ready(6).await;
    // Neither the newest nor the oldest, which the controller would choose by itself.
    let victims: Vec<Instance> = [1, 4].map(|i| instance(&ready[i])).to_vec();
    lab.twice(1, scale_down(&key, 4, &victims)).await;
    let wanted = uids(&ready).into_iter().filter(|uid| victims.iter().all(|v| v.uid != *uid)).collect();
    left(&mut world, &wanted).await;
    lab.close().await;
}

#[tokio::test]
async fn a_ready_victim_goes_and_an_unready_bystander_stays() {
    // The replacement that may begin between deletion and lower number must not be ready at once: see scale_down.rs.
    let lab = Lab::open_slow().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 3)).await;
    let ready = world.ready(3).await;
    let sick = &ready[0];
    let victim = ready.iter().find(|e| e.node != sick.node).expect("pods are spread over the nodes");
    let faults = lab.sim.as_ref().expect("is simulated").faults();
    faults.node_down(sick.node.as_deref().expect("has a node"));
    world
        .until(|w| {
            let starting = w.of_phase(EndpointPhase::Starting);
            if uids(&starting).contains(&sick.uid) { Ok(()) } else { Err("nobody is unready".to_owned()) }
        })
        .await;
    lab.twice(1, scale_down(&key, 2, &[instance(victim)])).await;
    let wanted = uids(&ready).into_iter().filter(|uid| *uid != victim.uid).collect();
    left(&mut world, &wanted).await;
    lab.close().await;
}

#[tokio::test]
async fn a_number_below_the_named_victims_is_not_served_by_killing_others() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 3)).await;
    let ready = world.ready(3).await;
    let result = lab.run(1, scale_down(&key, 1, &[])).await;
    let words = "which nobody named";
    assert!(
        matches!(&result, bcs_schemas::step::StepResult::Failed { reason } if reason.contains(words)),
        "{result:?}"
    );
    left(&mut world, &uids(&ready)).await;
    lab.close().await;
}

#[tokio::test]
async fn a_number_that_was_worked_out_on_an_old_view_stops_nothing() {
    let lab = Lab::open_slow().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 1)).await;
    world.ready(1).await;
    // Two more are starting. Whoever asks now saw two in all, of which one had drained and is gone.
    lab.twice(1, scale_up(&key, 3)).await;
    let three = world
        .until(|w| {
            let there: BTreeSet<String> = w.endpoints().iter().map(|e| e.uid.clone()).collect();
            if there.len() == 3 { Ok(there) } else { Err(format!("{there:?}")) }
        })
        .await;
    let gone = Instance { name: "gone".to_owned(), uid: "u0".to_owned() };
    let Step::ScaleDown { workload, replicas, victims, .. } = scale_down(&key, 1, &[gone]) else {
        unreachable!("is one")
    };
    let step = |from| Step::ScaleDown {
        workload: workload.clone(),
        replicas,
        from: Some(from),
        victims: victims.clone(),
    };
    let result = lab.run(1, step(2)).await;
    let words = "3 are kept now, not 2: look again";
    assert!(matches!(&result, StepResult::Failed { reason } if reason.contains(words)), "{result:?}");
    world.ready(3).await;
    left(&mut world, &three).await;
    lab.close().await;
}

#[tokio::test]
async fn an_instance_is_replaced_when_the_number_stays() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    let ready = world.ready(2).await;
    lab.twice(1, scale_down(&key, 2, &[instance(&ready[0])])).await;
    world
        .until(|w| {
            let now = w.of_phase(EndpointPhase::Ready);
            let kept = uids(&now).contains(&ready[1].uid) && !uids(&now).contains(&ready[0].uid);
            if kept && now.len() == 2 && w.endpoints().len() == 2 { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    lab.close().await;
}
