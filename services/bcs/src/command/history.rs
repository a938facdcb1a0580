//! `bcs history`: what was decided about one object, by whom, from the journal of its service.

use bcs_schemas::{
    Name, Service,
    query::{Answered, HistoryQuery},
    subject::Target,
};
use clap::{Args, Subcommand};

use crate::{
    Failure,
    session::{Session, short, target},
    view::Listing,
};

const APP: &str = "\
Examples:
  bcs history app shop-web
  bcs history app shop-web --limit 100 -o wide
  bcs history app shop-web --all -o json";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// An application, also one that is gone
    #[command(alias = "apps", after_help = APP)]
    App {
        /// The application
        name: Name,
        #[command(flatten)]
        range: Range,
    },
    /// A cluster, also one that was removed
    #[command(alias = "clusters", after_help = "Example:\n  bcs history cluster sim-a")]
    Cluster {
        /// The cluster
        name: Name,
        #[command(flatten)]
        range: Range,
    },
}

#[derive(Debug, Args)]
struct Range {
    /// How many decisions at most; the newest come first
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        match self.kind {
            Kind::App { name, range } => {
                show(session, Service::Deploy, target(&session.project()?, "app", &name), &range).await
            }
            Kind::Cluster { name, range } => {
                show(session, Service::Cluster, target(&Name::system(), "cluster", &name), &range).await
            }
        }
    }
}

async fn show(session: &Session, service: Service, object: Target, range: &Range) -> Result<(), Failure> {
    let client = session.connect().await?;
    let question = HistoryQuery {
        object: Some(object.to_string()),
        newest_first: true,
        limit: (!range.all).then_some(range.limit.max(1)),
        ..HistoryQuery::default()
    };
    let Answered { revision, as_of, data, .. } = client.events_of(service, &question).await?;
    if data.is_empty() {
        let words =
            format!("nothing was ever decided about {} in project {}", short(&object), object.project);
        return Err(Failure::failed(words));
    }
    Listing { items: data, as_of, revision: Some(revision), with_project: false, single: false }
        .show(session.format())
}
