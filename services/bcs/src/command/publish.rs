//! `bcs publish`: what any program can do with any NATS client, for people and scripts. Nothing is checked here, so that
//! it also shows how the platform answers what is wrong.

use std::io::Read;

use bcs_client::Raw;
use bcs_schemas::{
    Millis,
    codec::{self, ContentType},
    envelope::header,
    outcome::Outcome,
};
use clap::Args;
use serde_json::json;

use crate::{
    Exit, Failure, color, output,
    plan::{Planning, Wish},
    selector::pair,
    session::Session,
};

const AFTER: &str = "\
Examples:
  bcs publish bcs.cmd.deploy.local.demo.app.shop-web.scale '{\"replicas\": 3}'
  bcs publish bcs.cmd.deploy.local.demo.app.shop-web.restart --plan
  bcs publish bcs.cmd.deploy.local.demo.app.shop-web.restart --header bcs-mode=plan -o json
  bcs publish bcs.cmd.deploy.local.demo.app.shop-web.scale - --msgpack < scale.json
  bcs publish bcs.cmd.deploy.local.demo.app.shop-web.restart --header bcs-actor=ada

On a bus with keys you are named in bcs-actor unless you name somebody, and your key signs for it.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// bcs.cmd.<service>.<site>.<project>.<kind>.<name>.<verb>
    subject: String,
    /// The payload, - for standard input; empty for a command without parameters
    #[arg(value_name = "JSON", default_value = "")]
    payload: String,
    /// Send the JSON as MessagePack
    #[arg(long, conflicts_with_all = ["plan", "plan_file"])]
    msgpack: bool,
    /// Header to send, such as bcs-mode=plan; may be repeated
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME=VALUE",
        value_parser = pair,
        conflicts_with_all = ["plan", "plan_file"]
    )]
    headers: Vec<(String, String)>,
    /// Do not wait for the outcome
    #[arg(long, conflicts_with_all = ["plan", "plan_file"])]
    no_wait: bool,
    /// How long to wait for the outcome
    #[arg(long, default_value = "30s")]
    timeout: Millis,
    #[command(flatten)]
    planning: Planning,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.planning.wanted() {
            return self.plan(session).await;
        }
        let mut raw = self.raw()?;
        let _log = session.log()?;
        let client = session.connect().await?;
        let names = |name: &str| raw.headers.iter().any(|(other, _)| other == name);
        // Whoever logs in with a key is somebody, and on such a bus nobody else may ask for anything.
        if client.vouches() && !names(header::ACTOR) && !names(header::ACTOR_CLAIM) {
            raw.headers.push((header::ACTOR.to_owned(), session.actor()));
        }
        let wait = (!self.no_wait).then(|| self.timeout.std());
        let (id, outcome) = client.publish_raw(raw, wait).await?;
        let Some(outcome) = outcome else {
            if session.format().for_people() {
                output::line(format!("the bus keeps command {id}"));
                return Ok(());
            }
            return output::answer(session.format(), [id.clone()], &json!({ "command_id": id }));
        };
        if session.format().for_people() {
            tell(&outcome);
        } else {
            output::answer(session.format(), [id], &outcome)?;
        }
        match outcome {
            Outcome::Accepted(_) => Ok(()),
            // The outcome was shown already.
            Outcome::Rejected(_) => Err(Failure { exit: Exit::Rejected, message: String::new() }),
        }
    }

    async fn plan(&self, session: &Session) -> Result<(), Failure> {
        let wish = Wish::published(&self.subject, &self.payload()?)?;
        let _log = session.log()?;
        let client = session.connect().await?;
        self.planning.make(session, &client, vec![wish]).await
    }

    fn payload(&self) -> Result<Vec<u8>, Failure> {
        if self.payload != "-" {
            return Ok(self.payload.clone().into_bytes());
        }
        let mut payload = Vec::new();
        let read = std::io::stdin().read_to_end(&mut payload);
        read.map_err(|e| Failure::usage(format!("standard input: {e}")))?;
        Ok(payload)
    }

    fn raw(&self) -> Result<Raw, Failure> {
        let mut payload = self.payload()?;
        let mut content_type = None;
        if self.msgpack {
            let value: serde_json::Value = serde_json::from_slice(&payload)
                .map_err(|e| Failure::usage(format!("the payload is no JSON: {e}")))?;
            payload = codec::encode(&value).map_err(|e| Failure::usage(e.to_string()))?.to_vec();
            content_type = Some(ContentType::MessagePack);
        }
        Ok(Raw {
            subject: self.subject.clone(),
            payload: payload.into(),
            content_type,
            headers: self.headers.clone(),
        })
    }
}

fn tell(outcome: &Outcome) {
    match outcome {
        Outcome::Accepted(accepted) => {
            let what = if accepted.plan { "would decide" } else { "accepted" };
            let line = format!("command {} {what}, revision {}", accepted.command_id, accepted.revision);
            output::line(color::strong(&line));
            for event in &accepted.events {
                let payload = event.payload.as_ref().map(ToString::to_string).unwrap_or_default();
                output::line(format!("  {} {} #{} {payload}", event.target, event.type_name, event.seq));
            }
            if accepted.events.is_empty() {
                output::line("  nothing to change");
            }
        }
        Outcome::Rejected(rejected) => {
            output::line(format!("{} ({}): {}", color::bad("rejected"), rejected.code, rejected.message));
            // One that stands alone is in the message already.
            for field in rejected.fields.iter().filter(|_| rejected.fields.len() > 1) {
                output::line(format!("  {field}"));
            }
        }
    }
}
