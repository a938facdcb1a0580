//! `bcs scale app`.

use bcs_schemas::{Name, deploy::ScaleApp};
use clap::{Args, Subcommand};

use super::restart::{Manner, send_and_wait};
use crate::{Failure, session::Session, wait::Goal};

const AFTER: &str = "\
Examples:
  bcs scale app shop-web --replicas 8 --wait
  bcs scale app shop-web --replicas 8 --plan
  bcs scale app shop-web --replicas 5 --remove shop-web-6d4f-x2x1z";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Change the number of instances of an application
    #[command(alias = "apps", after_help = AFTER)]
    App {
        /// The application
        name: Name,
        /// How many instances, over all clusters together
        #[arg(short, long)]
        replicas: u32,
        /// Instances to remove first when the number shrinks
        #[arg(long, value_name = "INSTANCE", num_args = 1.., value_delimiter = ',')]
        remove: Vec<String>,
        #[command(flatten)]
        manner: Manner,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Kind::App { name, replicas, remove, manner } = self.kind;
        send_and_wait(session, &name, ScaleApp { replicas, remove }, Goal::Available, &manner).await
    }
}
