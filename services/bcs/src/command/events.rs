//! `bcs events`: the durable record of every decision.

use bcs_client::{EventRecord, Events, Position};
use bcs_schemas::{Millis, Name, Service, subject::Target};
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
    /// Go on showing what happens; as JSON, one document a line
    #[arg(short, long)]
    follow: bool,
    /// Begin this long ago, such as 10m; with --follow now, else with the oldest
    #[arg(long, value_name = "AGE")]
    since: Option<Millis>,
    /// Only of this service: cluster, deploy, network, metrics
    #[arg(long)]
    service: Option<Service>,
    /// Only about this object: shop-web, app/shop-web, cluster/sim-a or demo/app/shop-web
    #[arg(long, value_name = "[PROJECT/][KIND/]NAME")]
    object: Option<String>,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let object = self.object.as_deref().map(|object| about(object, session)).transpose()?;
        let _log = session.log()?;
        let client = session.connect().await?;
        let from = match (self.since, self.follow) {
            (Some(age), _) => Position::Since(client.clock().now() - age.signed()),
            (None, true) => Position::New,
            (None, false) => Position::All,
        };
        let services: Vec<Service> = self.service.into_iter().collect();
        let mut events = match &object {
            Some(object) => client.events_about(object, &services, from).await?,
            None => client.events(&services, from).await?,
        };
        if !self.follow && session.format() == Format::Json {
            return all(&mut events).await;
        }
        while let Some(event) = events.next_past().await {
            show(session.format(), &event)?;
            if output::closed() {
                return Ok(());
            }
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
                    Some(event) => {
                        show(session.format(), &event)?;
                        if output::closed() {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

/// The object that is meant: clusters belong to the platform, all else to the project.
pub(super) fn about(object: &str, session: &Session) -> Result<Target, Failure> {
    let full = match object.split('/').collect::<Vec<_>>().as_slice() {
        [name] => format!("{}/app/{name}", session.project()?),
        ["cluster", name] => format!("{}/cluster/{name}", Name::system()),
        [kind, name] => format!("{}/{kind}/{name}", session.project()?),
        _ => object.to_owned(),
    };
    full.parse().map_err(|e| {
        Failure::usage(format!("{object:?} is no object: expected such as demo/app/shop-web: {e}"))
    })
}

/// All of them as one document, written as they come: there may be more than fit into memory.
async fn all(events: &mut Events) -> Result<(), Failure> {
    let mut before = "{\"items\": [\n";
    while let Some(event) = events.next_past().await {
        output::line(format!("{before}{}", as_json(&event)));
        before = ",";
        if output::closed() {
            return Ok(());
        }
    }
    output::line(if before == "," { "]}" } else { "{\"items\": []}" });
    Ok(())
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
