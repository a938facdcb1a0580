//! Whatever the numbers and in whatever order pods become ready: a rollout keeps to its bounds and comes to its end.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan;
use crate::object;

#[derive(Debug, Clone, Copy)]
struct Set {
    wanted: i64,
    available: i64,
}

impl Set {
    fn value(self, name: &str) -> Arc<Value> {
        Arc::new(json!({
            "metadata": {"name": name}, "spec": {"replicas": self.wanted},
            "status": {"replicas": self.wanted, "availableReplicas": self.available},
        }))
    }
}

fn bound() -> impl Strategy<Value = Value> {
    prop_oneof![(0_i64..5).prop_map(|n| json!(n)), (0_i64..=100).prop_map(|n| json!(format!("{n}%")))]
}

fn deployment(replicas: i64, surge: &Value, unavailable: &Value) -> Value {
    let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
    json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}})
}

fn take(sets: &mut [Set; 3], steps: &[plan::Step]) {
    for (key, count) in steps {
        let at = usize::from(key.name != "old") + usize::from(key.name == "new");
        sets[at] = Set { wanted: *count, available: sets[at].available.min(*count) };
    }
}

proptest! {
    #[test]
    fn rollouts_keep_to_their_bounds_and_end(
        replicas in 0_i64..12,
        surge in bound(),
        unavailable in bound(),
        older in 0_i64..12,
        luck in prop::collection::vec(0_usize..3, 0..60),
    ) {
        let deployment = deployment(replicas, &surge, &unavailable);
        let (most, missing) = plan::bounds(&deployment);
        let older = older.min(replicas);
        let mut sets = [
            Set { wanted: older, available: older },
            Set { wanted: replicas - older, available: replicas - older },
            Set { wanted: 0, available: 0 },
        ];
        let mut luck = luck.into_iter();
        // Every round makes at least one step or one pod available, so this is enough.
        for _ in 0..200 {
            let [old, middle, new] = ["old", "middle", "new"].map(|n| {
                let at = usize::from(n != "old") + usize::from(n == "new");
                sets[at].value(n)
            });
            let steps = plan::rolling(&deployment, &new, &[old, middle]);
            take(&mut sets, &steps);
            let total: i64 = sets.iter().map(|s| s.wanted).sum();
            let serving: i64 = sets.iter().map(|s| s.available).sum();
            prop_assert!(total <= replicas + most, "{total} pods of at most {replicas} + {most}");
            prop_assert!(serving >= replicas - missing, "{serving} serve, {missing} of {replicas} may not");
            if steps.is_empty() || luck.next() == Some(2) {
                sets[2].available = sets[2].wanted.min(sets[2].available + 1);
            }
        }
        prop_assert_eq!(sets.map(|s| s.wanted), [0, 0, replicas]);
        prop_assert_eq!(sets[2].available, replicas);
    }

    #[test]
    fn a_shared_number_adds_up(
        counts in prop::collection::vec(1_i64..20, 2..5),
        room in 0_i64..10,
        wanted in 0_i64..40,
        surge in bound(),
    ) {
        let deployment = deployment(wanted, &surge, &json!("25%"));
        let before = counts.iter().sum::<i64>() + room;
        let sets: Vec<Arc<Value>> = counts.iter().enumerate().map(|(at, count)| {
            let mut set = (*Set { wanted: *count, available: 0 }.value(&format!("s{at}"))).clone();
            let most = json!({"deployment.kubernetes.io/max-replicas": before.to_string()});
            object::set(&mut set, &["metadata", "annotations"], most);
            Arc::new(set)
        }).collect();
        let steps = plan::follow_number(&deployment, None, &sets);
        let total: i64 = steps.iter().map(|(_, count)| count).sum();
        let most = if wanted == 0 { 0 } else { wanted + plan::bounds(&deployment).0 };
        prop_assert!(steps.iter().all(|(_, count)| *count >= 0));
        prop_assert_eq!(total, most);
    }
}
