//! The part that talks: to the bus, to agents, and (in an agent) to a cluster.

pub(crate) mod admission;
pub mod agent;
pub(crate) mod agents;
pub(crate) mod cordon;
pub(crate) mod diagnosis;

use bcs_kit::kv::View;
use bcs_schemas::{
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

/// Waits for the next decision about anything; false when there will be none.
pub(crate) async fn decided(touched: &mut Receiver<Target>) -> bool {
    !matches!(touched.recv().await, Err(RecvError::Closed))
}
