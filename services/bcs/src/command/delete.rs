//! `bcs delete app` and `bcs delete cluster`.

use bcs_schemas::{Name, cluster::RemoveCluster, deploy::DeleteApp};
use clap::{Args, Subcommand};

use super::{
    label::{send_to_cluster, to_cluster},
    restart::{Manner, send_and_wait},
};
use crate::{Failure, plan::Planning, session::Session, wait::Goal};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Drain and stop every instance of an application, then forget it
    #[command(
        alias = "apps",
        after_help = "Examples:\n  bcs delete app shop-web --wait\n  bcs delete app shop-web --plan"
    )]
    App {
        /// The application
        name: Name,
        /// Let nothing hold it up for ever: drains go on when their deadline has passed, and what a silent cluster holds
        /// is stopped when it is back
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        manner: Manner,
    },
    /// Let a cluster go; what runs there goes on running
    #[command(alias = "clusters", after_help = "Example:\n  bcs delete cluster sim-b")]
    Cluster {
        /// The cluster
        name: Name,
        #[command(flatten)]
        planning: Planning,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.kind {
            Kind::App { name, force, manner } => {
                send_and_wait(session, &name, DeleteApp { force }, Goal::Gone, &manner).await
            }
            Kind::Cluster { name, planning } => {
                let client = session.connect().await?;
                send_to_cluster(session, &client, to_cluster(&name, RemoveCluster {})?, &planning).await
            }
        }
    }
}
