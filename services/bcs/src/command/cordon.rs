//! `bcs cordon` and `bcs uncordon`.

use bcs_schemas::{
    Name,
    cluster::{CordonNode, UncordonNode},
};
use clap::Args;

use super::label::send_to_cluster;
use crate::{Failure, session::Session};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bcs cordon sim-a sim-a-node-1")]
pub struct Arguments {
    /// The cluster
    cluster: Name,
    /// The node, by its name in the cluster
    node: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bcs uncordon sim-a sim-a-node-1")]
pub struct Release {
    /// The cluster
    cluster: Name,
    /// The node, by its name in the cluster
    node: String,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        send_to_cluster(session, &client, &self.cluster, CordonNode { node: self.node }, None).await
    }
}

impl Release {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        send_to_cluster(session, &client, &self.cluster, UncordonNode { node: self.node }, None).await
    }
}
