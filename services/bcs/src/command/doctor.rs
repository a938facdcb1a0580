//! `bcs doctor`: everything that can be looked at from here, what it means, and what to do.

use std::time::Duration;

use bcs_schemas::Service;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    Failure, color,
    doctor::{Finding, Verdict, gather, verdict, worst},
    output,
    session::Session,
    view::table,
};

const HELP: &str = "\
Examples:
  bcs doctor                          look at everything, as whoever the context says
  bcs doctor --replicas 3             on a bus of three servers: every stream has a copy on each
  bcs doctor -o json | jq '.findings[] | select(.verdict != \"ok\")'
  bcs doctor -q || mail-somebody      say only what is not well

Exit code 0: all is ok, or there are only warnings. 1: there is a problem, or something could not be asked.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Copies that each stream and bucket must have: 1 on a single server, 3 on a cluster
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Say only what is not well
    #[arg(short, long)]
    quiet: bool,
}

/// Whoever does not answer by then is not there.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let begun = tokio::time::Instant::now();
        let (as_of, findings) = Box::pin(self.look(session)).await?;
        let worst = worst(&findings);
        let shown: Vec<&Finding> =
            findings.iter().filter(|f| !self.quiet || f.verdict != Verdict::Ok).collect();
        if session.format().for_people() {
            tell(&shown);
        } else {
            let names = shown.iter().map(|f| format!("{} {}", f.verdict.as_str(), name(f)));
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let all = json!({ "as_of": as_of, "verdict": worst, "took_ms": took, "findings": shown });
            output::answer(session.format(), names, &all)?;
        }
        if worst <= Verdict::Warning {
            return Ok(());
        }
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (problems, unknown) = (count(Verdict::Problem), count(Verdict::Unknown));
        Err(Failure::failed(format!("{problems} problems, and {unknown} that could not be asked")))
    }

    async fn look(&self, session: &Session) -> Result<(Timestamp, Vec<Finding>), Failure> {
        // What is wrong with the command line or the context is no finding.
        session.context()?;
        let connected = tokio::time::timeout(CONNECTED_WITHIN, session.connect()).await;
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(failure)) => {
                return Ok((bcs_kit::Clock::system().now(), vec![unreached(failure.message)]));
            }
            Err(_) => {
                let why = format!("the bus does not answer within {CONNECTED_WITHIN:?}");
                return Ok((bcs_kit::Clock::system().now(), vec![unreached(why)]));
            }
        };
        let facts = Box::pin(gather::gather(session, &client, self.replicas.into())).await?;
        Ok((facts.now, verdict::examine(&facts)))
    }
}

fn unreached(why: String) -> Finding {
    let advice = "look whether nats-server runs there, and at `bcs context show`: address, --ca, --credentials; nothing else can be \
                  looked at without the bus";
    Finding::problem("bus", "", why, advice)
}

fn name(finding: &Finding) -> String {
    if finding.about.is_empty() {
        finding.check.to_owned()
    } else {
        format!("{}/{}", finding.check, finding.about)
    }
}

fn tell(findings: &[&Finding]) {
    let row = |finding: &&Finding| {
        let found = finding.found.lines().next().unwrap_or_default().to_owned();
        vec![name(finding), color::state(finding.verdict.as_str()), found]
    };
    if !findings.is_empty() {
        output::line(table(&["CHECK", "VERDICT", "FOUND"], findings.iter().map(row)));
    }
    let advice: Vec<(&&Finding, &String)> =
        findings.iter().filter_map(|f| f.advice.as_ref().map(|advice| (f, advice))).collect();
    if advice.is_empty() {
        let all = format!("all is well: bus, {} services, clusters and registries", Service::ALL.len());
        output::note(all);
        return;
    }
    output::line("\nWhat to do:");
    for (finding, advice) in advice {
        output::line(format!("  {}: {advice}", color::strong(&name(finding))));
    }
}
