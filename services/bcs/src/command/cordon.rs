//! `bcs cordon` and `bcs uncordon`.

use bcs_schemas::{
    Name,
    cluster::{CordonNode, UncordonNode},
};
use clap::Args;

use super::label::{send_to_cluster, to_cluster};
use crate::{Failure, plan::Planning, session::Session};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bcs cordon sim-a sim-a-node-1\n  bcs cordon sim-a sim-a-node-1 --plan")]
pub struct Arguments {
    /// The cluster
    cluster: Name,
    /// The node, by its name in the cluster
    node: String,
    #[command(flatten)]
    planning: Planning,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bcs uncordon sim-a sim-a-node-1")]
pub struct Release {
    /// The cluster
    cluster: Name,
    /// The node, by its name in the cluster
    node: String,
    #[command(flatten)]
    planning: Planning,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        let wish = to_cluster(&self.cluster, CordonNode { node: self.node })?;
        send_to_cluster(session, &client, wish, &self.planning).await
    }
}

impl Release {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        let wish = to_cluster(&self.cluster, UncordonNode { node: self.node })?;
        send_to_cluster(session, &client, wish, &self.planning).await
    }
}
