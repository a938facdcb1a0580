//! `bcs events`: the durable record of every decision.

use bcs_client::{EventRecord, Position};
use bcs_schemas::{Millis, Service, subject::Target};
use clap::Args;
use serde_json::{Value, json};

use crate::{Failure, color, output, output::Format, session::Session, view::detail::short};

const AFTER: &str = "\
Examples:
  bcs events --since 10m
  bcs events --follow --service deploy
  bcs events --object demo/app/shop-web -o json";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// Go on showing what happens
    #[arg(short, long)]
    follow: bool,
    /// Begin this long ago, such as 10m; with --follow now, else with the oldest
    #[arg(long, value_name = "AGE")]
    since: Option<Millis>,
    /// Only of this service: cluster, deploy, network, metrics
    #[arg(long)]
    service: Option<Service>,
    /// Only about this object: demo/app/shop-web
    #[arg(long, value_name = "PROJECT/KIND/NAME")]
    object: Option<Target>,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        let from = match (self.since, self.follow) {
            (Some(age), _) => Position::Since(client.clock().now() - age.signed()),
            (None, true) => Position::New,
            (None, false) => Position::All,
        };
        let services: Vec<Service> = self.service.into_iter().collect();
        let mut events = match &self.object {
            Some(object) => client.events_about(object, &services, from).await?,
            None => client.events(&services, from).await?,
        };
        while let Some(event) = events.next_past().await {
            show(session.format(), &event)?;
        }
        if !self.follow {
            return Ok(());
        }
        if session.format().for_people() {
            output::note(color::dim("following; stop with Ctrl-C"));
        }
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => show(session.format(), &event)?,
                    None => return Ok(()),
                },
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

/// One event a line, so that a follower sees each as it comes; JSON too, one document a line.
fn show(format: Format, event: &EventRecord) -> Result<(), Failure> {
    output::line(text(format, event)?);
    Ok(())
}

fn text(format: Format, event: &EventRecord) -> Result<String, Failure> {
    let headers = &event.headers;
    Ok(match format {
        Format::Name => event.subject.target.to_string(),
        Format::Json => as_json(event).to_string(),
        Format::Yaml => format!("---\n{}", output::text(format, &as_json(event))?),
        Format::Table | Format::Wide => {
            let payload = event.payload.to_string();
            let payload = if format == Format::Wide { payload } else { short(&payload) };
            let time = headers.time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string();
            let target = event.subject.target.to_string();
            let verb = color::strong(&headers.type_name.verb);
            let who = color::dim(&format!("{} #{}", headers.actor, headers.seq));
            format!("{time}  {:8} {target}  {verb}  {payload}  {who}", headers.type_name.service.as_str())
        }
    })
}

/// An event as programs get it.
pub(super) fn as_json(event: &EventRecord) -> Value {
    let headers = &event.headers;
    json!({
        "id": headers.id,
        "type": headers.type_name.to_string(),
        "subject": event.subject.to_string(),
        "object": event.subject.target.to_string(),
        "time": headers.time,
        "seq": headers.seq,
        "stream_seq": event.stream_seq,
        "actor": headers.actor,
        "command_id": headers.causation,
        "correlation_id": headers.correlation,
        "payload": event.payload,
    })
}
