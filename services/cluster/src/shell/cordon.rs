//! Lets agents close and open nodes until what was asked is so, or the node is gone.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bcs_kit::{
    Bus, Clock,
    machine::{self, Machine, target},
    reconcile::{self, Reconciler},
    run::Deps,
};
use bcs_schemas::{
    CommandId, Name,
    step::{StepRequest, StepResult},
    subject,
};
use jiff::SignedDuration;

use super::{Observed, decided, node_key};
use crate::domain::{
    State,
    plan::{Known, plan},
    state::Internal,
};

/// How long an agent may take over a step.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeKey {
    cluster: Name,
    node: String,
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.node)
    }
}

/// Why a node is not yet as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("agent was not reached")]
    Bus(#[from] bcs_kit::bus::Error),
    #[error("agent could not do it: {0}")]
    Failed(String),
    #[error("what was asked of a node that is gone could not be made void")]
    Machine(#[from] machine::Error),
}

struct Cordons {
    machine: Machine<State>,
    observed: Observed,
    bus: Bus,
    clock: Clock,
    done: Mutex<BTreeMap<NodeKey, u64>>,
}

/// Reconciles until the group stops.
pub(crate) fn start(machine: Machine<State>, observed: Observed, deps: &Deps) {
    let done = Mutex::default();
    let cordons = Arc::new(Cordons {
        machine,
        observed: observed.clone(),
        bus: deps.bus.clone(),
        clock: deps.clock.clone(),
        done,
    });
    let (waker, wakes) = reconcile::waker();
    let (following, stopping) = (cordons.clone(), deps.tasks.stopping());
    deps.tasks.spawn("cordon-wakes", async move {
        let mut touched = following.machine.touched();
        let mut changes = observed.nodes.changes();
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                more = decided(&mut touched) => if !more { break },
                change = changes.next() => if change.is_none() { break },
            }
            following.unsettled().into_iter().for_each(|key| waker.wake(key));
        }
    });
    reconcile::run(&deps.tasks, "cordon", cordons, wakes);
}

impl Cordons {
    fn known(&self, key: &NodeKey) -> Known {
        let seen = self.observed.nodes.snapshot();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        Known {
            cordoned: seen.get(&node_key(&key.cluster, &key.node)).map(|n| n.cordoned),
            done,
            absent: self.observed.lacks(&key.cluster, &key.node),
        }
    }

    async fn forget(&self, key: &NodeKey, generation: u64) -> Result<(), Error> {
        let id = CommandId::derived(&key.to_string(), &format!("gone, so void is {generation}"));
        let target = target(&Name::system(), "cluster", &key.cluster);
        let wish = Internal::ForgetNode { node: key.node.clone(), generation };
        self.machine.submit(id, target, wish).await?;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(())
    }

    /// Nodes that are not as asked, as far as is known.
    fn unsettled(&self) -> Vec<NodeKey> {
        let live = self.machine.live();
        let asked = |key: &NodeKey| live.state.members.get(&key.cluster)?.nodes.get(&key.node).copied();
        let open = |key: &NodeKey| asked(key).is_some_and(|a| plan(&key.node, a, self.known(key)).is_some());
        self.keys().into_iter().filter(open).collect()
    }
}

impl Reconciler for Cordons {
    type Key = NodeKey;
    type Lane = Name;
    type Error = Error;
    const PLACES: usize = 8;

    fn keys(&self) -> Vec<NodeKey> {
        let live = self.machine.live();
        let nodes = |(cluster, member): (&Name, &crate::domain::Member)| {
            let key = |node: &String| NodeKey { cluster: cluster.clone(), node: node.clone() };
            member.nodes.keys().map(key).collect::<Vec<_>>()
        };
        live.state.members.iter().flat_map(nodes).collect()
    }

    /// An agent that answers late keeps nodes of its own cluster waiting, and no others.
    fn lane(&self, key: &NodeKey) -> Name {
        key.cluster.clone()
    }

    async fn reconcile(&self, key: &NodeKey) -> Result<Option<Duration>, Error> {
        let live = self.machine.live();
        let asked = live.state.members.get(&key.cluster).and_then(|m| m.nodes.get(&key.node)).copied();
        let known = self.known(key);
        let Some(step) = asked.and_then(|asked| plan(&key.node, asked, known)) else {
            return Ok(None);
        };
        let not_after =
            self.clock.now().saturating_add(SignedDuration::try_from(PATIENCE).unwrap_or_default()).ok();
        let step = StepRequest { not_after, ..step };
        let subject = subject::agent_steps(self.bus.site(), &key.cluster);
        match self.bus.insist(subject, &step, PATIENCE).await? {
            StepResult::Done => {
                let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                done.insert(key.clone(), step.generation);
                Ok(None)
            }
            StepResult::Stale { stamped } => {
                Err(Error::Failed(format!("the node carries generation {stamped}, somebody else leads it")))
            }
            // The complete list and the engine agree.
            StepResult::Refused { reason } if known.absent => {
                tracing::info!(%key, reason, "the node is gone, what was asked of it is void");
                self.forget(key, step.generation).await.map(|()| None)
            }
            StepResult::Failed { reason } | StepResult::Refused { reason } => Err(Error::Failed(reason)),
        }
    }
}
