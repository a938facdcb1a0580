//! `bcs audit`: every decision of every service in a file that shows when it was touched.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use bcs_client::Client;
use bcs_schemas::{Service, query::HistoryQuery};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    Failure,
    audit::{self, Chain, Entry},
    moment::Moment,
    output,
    session::Session,
};

const EXPORT: &str = "\
Examples:
  bcs audit export --out audit.jsonl
  bcs audit export --since 24h --out audit.jsonl
  bcs audit export --since 2026-11-22 | gzip > audit.jsonl.gz

The hash of the last line stands for the whole file. Keep it elsewhere: `bcs audit verify FILE --head HASH`.";

const VERIFY: &str = "\
Examples:
  bcs audit verify audit.jsonl
  bcs audit verify audit.jsonl --head 3f2a…";

/// Decisions asked for at a time.
const PAGE: u32 = 1000;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write every decision as JSON lines, each with the hash of the line before
    #[command(after_help = EXPORT)]
    Export {
        /// Begin with the first decision at this time (2026-11-22T10:00, in UTC) or this long ago (24h)
        #[arg(long, value_name = "TIME|AGE")]
        since: Option<Moment>,
        /// File to write; standard output when absent
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Look whether such a file is as it was written
    #[command(after_help = VERIFY)]
    Verify {
        /// The file
        file: PathBuf,
        /// The hash of the last line, as the export told it
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::Export { since, out } => export(session, since, out.as_deref()).await,
            Action::Verify { file, head } => verify(session, &file, head.as_deref()),
        }
    }
}

async fn export(session: &Session, since: Option<Moment>, out: Option<&Path>) -> Result<(), Failure> {
    if let Some(Moment::Revision(_)) = since {
        return Err(Failure::usage("--since: a revision belongs to one service: expected a time or an age"));
    }
    let _log = session.log()?;
    let client = session.connect().await?;
    let now = client.clock().now();
    let since = since.and_then(|moment| moment.time(now));
    let failed = |what: &dyn std::fmt::Display| Failure::failed(format!("the audit is not written: {what}"));
    let mut chain = Chain::new();
    let head = match out {
        None => {
            write(&client, since, now, &mut chain, &mut |line| {
                output::raw(line.as_bytes());
                Ok(())
            })
            .await?;
            chain.head()
        }
        Some(path) => {
            let file = File::create(path).map_err(|e| failed(&format!("{}: {e}", path.display())))?;
            let mut file = BufWriter::new(file);
            write(&client, since, now, &mut chain, &mut |line| {
                file.write_all(line.as_bytes()).map_err(|e| failed(&e))
            })
            .await?;
            let file = file.into_inner().map_err(|e| failed(&e))?;
            file.sync_all().map_err(|e| failed(&e))?;
            chain.head()
        }
    };
    output::note(format!("{} decisions, last hash {head}", chain.events()));
    Ok(())
}

/// One service after the other, each in the order of its journal.
async fn write(
    client: &Client,
    since: Option<Timestamp>,
    now: Timestamp,
    chain: &mut Chain,
    keep: &mut (dyn FnMut(String) -> Result<(), Failure> + Send),
) -> Result<(), Failure> {
    let unwritable = |e: serde_json::Error| Failure::failed(e.to_string());
    let begin = json!({ "format": "bcs-audit/1", "at": now, "since": since, "site": client.bus().site() });
    keep(chain.line(Entry::Begin(begin)).map_err(unwritable)?)?;
    for service in Service::ALL {
        let mut question = HistoryQuery { since, limit: Some(PAGE), ..HistoryQuery::default() };
        let mut begun = since.is_none();
        loop {
            let page = client.events_of(service, &question).await?;
            for event in page.data {
                // The service counts in whole seconds, and a clock may once have gone back: nothing behind is left out.
                begun = begun || since.is_none_or(|since| event.time >= since);
                if begun {
                    let entry = Entry::Event(json!({ "service": service, "event": event }));
                    keep(chain.line(entry).map_err(unwritable)?)?;
                }
            }
            let Some(next) = page.next else { break };
            question = HistoryQuery { after: Some(next), since: None, limit: Some(PAGE), ..question };
        }
    }
    keep(chain.end().map_err(unwritable)?)
}

fn verify(session: &Session, path: &Path, head: Option<&str>) -> Result<(), Failure> {
    let file = File::open(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    let wrong = |what: String| Failure::failed(format!("{}: {what}", path.display()));
    let chain = audit::verify(BufReader::new(file)).map_err(wrong)?;
    if let Some(head) = head.filter(|head| *head != chain.head()) {
        return Err(wrong(format!("the last hash is {}, expected {head}: it is another file", chain.head())));
    }
    if session.format().for_people() {
        output::line(format!("whole: {} decisions, last hash {}", chain.events(), chain.head()));
        return Ok(());
    }
    let found = json!({ "events": chain.events(), "head": chain.head() });
    output::answer(session.format(), [chain.head().to_owned()], &found)
}
