//! `bcs delete app` and `bcs delete cluster`.

use bcs_schemas::{Millis, Name, cluster::RemoveCluster, deploy::DeleteApp};
use clap::{Args, Subcommand};

use super::{label::send_to_cluster, restart::send_and_wait};
use crate::{Failure, session::Session, wait::Goal};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Drain and stop every instance of an application, then forget it
    #[command(alias = "apps", after_help = "Example:\n  bcs delete app shop-web --wait")]
    App {
        /// The application
        name: Name,
        /// Let nothing hold it up for ever: drains go on when their deadline has passed, and what a silent cluster holds
        /// is stopped when it is back
        #[arg(long)]
        force: bool,
        /// Wait until nothing is left
        #[arg(short, long)]
        wait: bool,
        /// How long to wait
        #[arg(long, default_value = "5m")]
        timeout: Millis,
    },
    /// Let a cluster go; what runs there goes on running
    #[command(alias = "clusters", after_help = "Example:\n  bcs delete cluster sim-b")]
    Cluster {
        /// The cluster
        name: Name,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.kind {
            Kind::App { name, force, wait, timeout } => {
                send_and_wait(session, &name, DeleteApp { force }, wait.then_some(Goal::Gone), timeout).await
            }
            Kind::Cluster { name } => {
                let client = session.connect().await?;
                send_to_cluster(session, &client, &name, RemoveCluster {}, None).await
            }
        }
    }
}
