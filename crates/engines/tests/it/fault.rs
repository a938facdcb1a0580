//! A server that errs: every step that fails can be tried again until it is done.

use bcs_schemas::{
    observation::EndpointPhase,
    step::{Step, StepResult},
};

use crate::lab::{Lab, drain, instance, scale_down, scale_up};

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

#[tokio::test]
async fn steps_that_fail_half_way_can_be_repeated() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let faults = || lab.sim.as_ref().expect("is simulated").faults();
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
