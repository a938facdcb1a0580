//! `bcs dlq`: quarantine, where messages lie that could be neither handled nor answered.

use bcs_kit::quarantine;
use bcs_schemas::quarantine::Quarantined;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    Failure, output,
    session::Session,
    view::{ago, detail::short, table},
};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what lies in quarantine
    #[command(after_help = "Example:\n  bcs dlq ls", alias = "list")]
    Ls,
    /// Show one message with its reason, headers and payload
    #[command(after_help = "Example:\n  bcs dlq show 7")]
    Show {
        /// Its number
        number: u64,
    },
    /// Publish a message again, as a new command that names the old one and is asked for by you, and drop it here
    #[command(after_help = "Example:\n  bcs dlq replay 7")]
    Replay {
        /// Its number
        number: u64,
    },
    /// Drop messages for good
    #[command(after_help = "Example:\n  bcs dlq drop 7 8 9")]
    Drop {
        /// Their numbers
        #[arg(required = true)]
        numbers: Vec<u64>,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        match self.action {
            Action::Ls => list(session, &quarantine::list(client.bus()).await?, client.clock().now()),
            Action::Show { number } => {
                let found = quarantine::show(client.bus(), number).await?;
                show(session, number, &found.ok_or_else(|| missing(number))?.1)
            }
            Action::Replay { number } => {
                let (actor, id, now) = (session.actor(), client.fresh_id(), client.clock().now());
                let replay = quarantine::Replay { actor, id, now };
                let id = quarantine::replay(client.bus(), number, replay).await?;
                let id = id.ok_or_else(|| missing(number))?;
                if session.format().for_people() {
                    output::line(format!("message {number} was published again as command {id}"));
                    return Ok(());
                }
                let replayed = json!({ "number": number, "command_id": id });
                output::answer(session.format(), [id.to_string()], &replayed)
            }
            Action::Drop { numbers } => {
                let mut dropped = Vec::new();
                let mut outcome = Ok(());
                for number in numbers {
                    if !quarantine::drop_letter(client.bus(), number).await? {
                        outcome = Err(missing(number));
                        break;
                    }
                    if session.format().for_people() {
                        output::line(format!("message {number} was dropped"));
                    }
                    dropped.push(number);
                }
                if !session.format().for_people() {
                    let names: Vec<String> = dropped.iter().map(u64::to_string).collect();
                    output::answer(session.format(), names, &json!({ "dropped": dropped }))?;
                }
                outcome
            }
        }
    }
}

fn missing(number: u64) -> Failure {
    Failure::failed(format!("there is no message {number} in quarantine: see `bcs dlq ls`"))
}

fn list(session: &Session, letters: &[(u64, Quarantined)], now: jiff::Timestamp) -> Result<(), Failure> {
    if !session.format().for_people() {
        let all: Vec<_> =
            letters.iter().map(|(number, l)| json!({ "number": number, "message": l })).collect();
        return output::answer(session.format(), letters.iter().map(|(number, _)| number.to_string()), &all);
    }
    if letters.is_empty() {
        output::note("nothing lies in quarantine");
        return Ok(());
    }
    let row = |(number, letter): &(u64, Quarantined)| {
        vec![
            number.to_string(),
            ago(letter.quarantined_at, now),
            letter.code.clone(),
            letter.subject.clone(),
            short(&letter.reason),
        ]
    };
    output::line(table(&["NUMBER", "WHEN", "CODE", "SUBJECT", "REASON"], letters.iter().map(row)));
    Ok(())
}

fn show(session: &Session, number: u64, letter: &Quarantined) -> Result<(), Failure> {
    if !session.format().for_people() {
        return output::answer(session.format(), [number.to_string()], letter);
    }
    let payload = quarantine::unhex(&letter.payload_hex);
    let readable = std::str::from_utf8(&payload).ok().filter(|text| !text.chars().any(char::is_control));
    let payload_text = match readable {
        Some(text) => short(text),
        None => format!("{} bytes, in hexadecimal {}", payload.len(), short(&letter.payload_hex)),
    };
    output::line(format!("subject     {}", letter.subject));
    output::line(format!("reason      {} ({})", letter.reason, letter.code));
    output::line(format!(
        "came from   {} #{}, consumer {}",
        letter.stream, letter.stream_seq, letter.consumer
    ));
    output::line(format!("delivered   {} times", letter.deliveries));
    output::line(format!("since       {}", letter.quarantined_at));
    for (name, value) in &letter.headers {
        output::line(format!("header      {name}: {value}"));
    }
    output::line(format!("payload     {payload_text}"));
    Ok(())
}
