//! The floor: the same promises by hand and nothing else. A command is kept by the bus, inserted and synced with its batch,
//! its event published, its sender answered, and then acknowledged.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result, bail};
use async_nats::{
    Client, HeaderMap, Subscriber,
    jetstream::{self, Message, consumer::pull, context::PublishAckFuture, stream},
};
use bcs_kit::{Clock, Tasks};
use futures::StreamExt;
use sqlx::{AnyPool, AssertSqlSafe, any::AnyPoolOptions};
use tokio::sync::mpsc;

use super::{BODY, PUBLISHERS, Publisher, READY, Serve, Side};
use crate::harness::Process;

const COMMANDS: &str = "FLOOR_COMMANDS";
const EVENTS: &str = "FLOOR_EVENTS";
const ID: &str = "Nats-Msg-Id";
const REPLY_TO: &str = "reply-to";
/// Most commands in one insert.
const BATCH: usize = 256;

/// The service.
pub(in crate::bench) async fn serve(serve: Serve) -> Result<()> {
    let client = async_nats::connect(&serve.nats).await?;
    let jetstream = jetstream::new(client.clone());
    for (name, subject) in [(COMMANDS, "floor.commands.*"), (EVENTS, "floor.events.*")] {
        jetstream.create_stream(settings(name, subject)).await?;
    }
    let pool = database(&serve.database).await?;
    let messages = messages(&jetstream).await?;
    let (acks, due) = mpsc::channel(4);
    let tasks = Tasks::new();
    tasks.spawn("acks", confirmed(due));
    let service = Service { client, jetstream, pool, acks };
    writeln!(std::io::stdout(), "{READY}")?;
    let mut batches = messages.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        service.work(batch.into_iter().collect::<Result<_, _>>()?).await?;
    }
    bail!("the commands ended")
}

/// As the streams of the platform are.
fn settings(name: &str, subject: &str) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        duplicate_window: Duration::from_secs(300),
        allow_direct: true,
        compression: (name == EVENTS).then_some(stream::Compression::S2),
        ..Default::default()
    }
}

async fn messages(jetstream: &jetstream::Context) -> Result<pull::Stream> {
    let config = pull::Config {
        durable_name: Some("floor".to_owned()),
        ack_policy: jetstream::consumer::AckPolicy::Explicit,
        max_ack_pending: 2048,
        ..Default::default()
    };
    let consumer = jetstream.create_consumer_on_stream(config, COMMANDS).await?;
    Ok(consumer.stream().max_messages_per_batch(BATCH).messages().await?)
}

async fn database(url: &str) -> Result<AnyPool> {
    sqlx::any::install_default_drivers();
    let sqlite = url.starts_with("sqlite:");
    let pool = AnyPoolOptions::new().max_connections(1);
    let pool = pool.connect(&if sqlite { format!("{url}?mode=rwc") } else { url.to_owned() }).await?;
    let bytes = if sqlite { "BLOB" } else { "BYTEA" };
    let settings: &[&str] =
        if sqlite { &["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"] } else { &[] };
    for setting in settings {
        sqlx::query(AssertSqlSafe((*setting).to_owned())).execute(&pool).await?;
    }
    let table = format!("CREATE TABLE floor (id TEXT NOT NULL PRIMARY KEY, payload {bytes} NOT NULL)");
    sqlx::query(AssertSqlSafe(table)).execute(&pool).await?;
    Ok(pool)
}

/// Events are confirmed by the bus while the next batch is at work.
async fn confirmed(mut due: mpsc::Receiver<Vec<PublishAckFuture>>) {
    while let Some(acks) = due.recv().await {
        for ack in acks {
            if let Err(error) = ack.await {
                eprintln!("an event was not stored: {error}");
            }
        }
    }
}

struct Service {
    client: Client,
    jetstream: jetstream::Context,
    pool: AnyPool,
    acks: mpsc::Sender<Vec<PublishAckFuture>>,
}

impl Service {
    async fn work(&self, batch: Vec<Message>) -> Result<()> {
        self.insert(&batch).await?;
        let mut acks = Vec::with_capacity(batch.len());
        for message in &batch {
            let mut headers = HeaderMap::new();
            headers.insert(ID, header(message, ID)?);
            let event = message.subject.replacen("commands", "events", 1);
            acks.push(self.jetstream.publish_with_headers(event, headers, message.payload.clone()).await?);
        }
        self.acks.send(acks).await.context("nobody confirms events")?;
        for message in batch {
            let inbox = header(&message, REPLY_TO)?.to_owned();
            self.client.publish(inbox, "accepted".into()).await?;
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        Ok(())
    }

    /// One statement, and so one transaction and one sync.
    async fn insert(&self, batch: &[Message]) -> Result<()> {
        let places: Vec<String> =
            (0..batch.len()).map(|n| format!("(${}, ${})", 2 * n + 1, 2 * n + 2)).collect();
        let sql = format!("INSERT INTO floor (id, payload) VALUES {}", places.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for message in batch {
            query = query.bind(header(message, ID)?.to_owned()).bind(message.payload.to_vec());
        }
        query.execute(&self.pool).await?;
        Ok(())
    }
}

fn header<'a>(message: &'a Message, name: &str) -> Result<&'a str> {
    let value = message.headers.as_ref().and_then(|headers| headers.get(name));
    Ok(value.with_context(|| format!("a command without {name}"))?.as_str())
}

pub(super) struct ByHand {
    jetstream: jetstream::Context,
    answers: Subscriber,
    inbox: String,
    subject: String,
    clock: Clock,
}

/// Its publishers share a connection; each has its inbox.
pub(super) async fn side(process: Process, nats: &str) -> Result<Side<ByHand>> {
    let client = async_nats::connect(nats).await?;
    let jetstream = jetstream::new(client.clone());
    let mut publishers = Vec::new();
    for number in 0..PUBLISHERS {
        let inbox = client.new_inbox();
        publishers.push(ByHand {
            jetstream: jetstream.clone(),
            answers: client.subscribe(inbox.clone()).await?,
            inbox,
            subject: format!("floor.commands.publisher-{number}"),
            clock: Clock::system(),
        });
    }
    Ok(Side { process, publishers, jetstream, events: EVENTS })
}

impl Publisher for ByHand {
    async fn ask(&mut self) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(ID, self.clock.fresh_id().to_string());
        headers.insert(REPLY_TO, self.inbox.as_str());
        let body = "x".repeat(BODY).into();
        self.jetstream.publish_with_headers(self.subject.clone(), headers, body).await?.await?;
        self.answers.next().await.context("the inbox was closed")?;
        Ok(())
    }
}
