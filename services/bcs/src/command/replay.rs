//! `bcs replay`: the state of a service as of some position of its journal, folded here, to look at an incident offline.
//! The same position gives the same file, byte for byte.

use std::path::PathBuf;

use bcs_client::Client;
use bcs_kit::machine::{Live, Silent, StateMachine};
use bcs_schemas::{Service, query::HistoryQuery};
use clap::Args;

use crate::{Failure, output, session::Session};

const AFTER: &str = "\
Examples:
  bcs replay --service deploy --until 1200 --out state.json
  bcs replay --service cluster | jq .state.members";

/// Decisions asked for at a time.
const PAGE: u32 = 1000;

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// Whose state: cluster, deploy, network, metrics
    #[arg(long)]
    service: Service,
    /// The last position of the journal that is taken in; its end when absent
    #[arg(long, value_name = "REVISION")]
    until: Option<u64>,
    /// File to write; standard output when absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        let (seq, text) = match self.service {
            Service::Deploy => self.fold::<bcs_deploy::domain::state::Deploy>(&client).await?,
            Service::Cluster => self.fold::<bcs_cluster::domain::State>(&client).await?,
            Service::Network => self.fold::<Silent<2>>(&client).await?,
            Service::Metrics => self.fold::<Silent<3>>(&client).await?,
        };
        match &self.out {
            None => output::raw(text.as_bytes()),
            Some(path) => {
                let failed = |e| Failure::failed(format!("{}: {e}", path.display()));
                std::fs::write(path, text).map_err(failed)?;
                output::note(format!("{}: {} as of revision {seq}", path.display(), self.service));
            }
        }
        Ok(())
    }

    /// Folds the journal page by page; the position that was reached, and the state as text.
    async fn fold<S: StateMachine>(&self, client: &Client) -> Result<(u64, String), Failure> {
        let mut live = Live::<S>::default();
        let until = self.until.unwrap_or(u64::MAX);
        let mut question = HistoryQuery { limit: Some(PAGE), ..HistoryQuery::default() };
        loop {
            let page = client.events_of(self.service, &question).await?;
            if let Some(seq) = self.until.filter(|seq| *seq > page.revision) {
                let end = page.revision;
                let words =
                    format!("--until: {seq} is still to come: the journal of {} ends at {end}", self.service);
                return Err(Failure::usage(words));
            }
            for event in page.data.iter().take_while(|event| event.seq <= until) {
                live.follow(event).map_err(|e| Failure::failed(e.to_string()))?;
            }
            match page.next {
                Some(next) if live.seq < until => question.after = Some(next),
                _ => break,
            }
        }
        let text = live.text().map_err(|e| Failure::failed(format!("the state cannot be written: {e}")))?;
        Ok((live.seq, text))
    }
}
