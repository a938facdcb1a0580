//! The part that talks: to the bus, to agents, and (in an agent) to a cluster.

pub(crate) mod admission;
pub mod agent;
pub(crate) mod agents;
pub(crate) mod cordon;
pub(crate) mod diagnosis;
pub mod injector;

use bcs_kit::kv::View;
use bcs_schemas::{
    Name,
    observation::{ClusterHealth, Node},
    subject::Target,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// What agents have said.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) clusters: View<ClusterHealth>,
    pub(crate) nodes: View<Node>,
}

impl Observed {
    /// Whether a node is known to be not there: only an agent that has seen everything can say that.
    pub(crate) fn lacks(&self, cluster: &Name, node: &str) -> bool {
        let clusters = self.clusters.snapshot();
        let complete = clusters.get(cluster.as_str()).is_some_and(|health| health.synced);
        complete && self.nodes.is_synced() && !self.nodes.snapshot().contains_key(&node_key(cluster, node))
    }
}

/// Key of a node in its bucket.
pub(crate) fn node_key(cluster: &Name, node: &str) -> String {
    format!("{cluster}.{node}")
}

/// Waits for the next decision about anything; false when there will be none.
pub(crate) async fn decided(touched: &mut Receiver<Target>) -> bool {
    !matches!(touched.recv().await, Err(RecvError::Closed))
}
