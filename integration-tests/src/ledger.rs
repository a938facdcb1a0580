//! Accounts: what the bus took, what was decided, and what followed. Every command has one outcome, every event one
//! cause, and nothing happened twice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use bcs_client::{Client, EventRecord, Position};
use bcs_schemas::{CommandId, Service, outcome::Outcome};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use crate::harness::{LONG, NotYet, Poll, Ready, wait_until};

/// What the events of an application add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub replicas: u64,
    pub tag: String,
    pub generation: u64,
}

/// Waits until every command is decided, then checks the books. All events of `deploy`, in order.
pub async fn balanced(client: &Client, commands: &[CommandId]) -> Result<Vec<EventRecord>> {
    balanced_of(client, Service::Deploy, commands).await
}

/// The same for another service.
pub async fn balanced_of(
    client: &Client,
    service: Service,
    commands: &[CommandId],
) -> Result<Vec<EventRecord>> {
    wait_until(LONG, "no command waits", async || match client.waiting_commands(service).await {
        Ok(Some(0)) => Ready(()),
        other => NotYet(format!("{other:?} commands wait")),
    })
    .await?;
    let outcomes = outcomes(client, service, commands).await?;
    let events =
        wait_until(LONG, "every event is on the bus", async || published(client, service).await).await?;
    once_and_without_gaps(&events)?;
    each_cause_has_its_effects(&outcomes, &events)?;
    Ok(events)
}

async fn outcomes(
    client: &Client,
    service: Service,
    commands: &[CommandId],
) -> Result<BTreeMap<CommandId, Outcome>> {
    let mut found = BTreeMap::new();
    for id in commands {
        let outcome = client.outcome(service, *id).await?.data;
        let outcome =
            outcome.with_context(|| format!("command {id} was acknowledged by the bus and is lost"))?;
        found.insert(*id, outcome);
    }
    ensure!(found.len() == commands.len(), "the test sent an id twice");
    Ok(found)
}

/// Everything on the bus, once the service says that nothing is left to publish.
async fn published(client: &Client, service: Service) -> Poll<Vec<EventRecord>> {
    let status = match client.service_status(service).await {
        Ok(answer) => answer.data,
        Err(error) => return NotYet(error.to_string()),
    };
    let mut events = match client.events(&[service], Position::All).await {
        Ok(events) => events,
        Err(error) => return NotYet(error.to_string()),
    };
    let mut all = Vec::new();
    while let Some(event) = events.next_past().await {
        all.push(event);
    }
    let last = all.last().map_or(0, |event| event.headers.seq);
    if status.unpublished == 0 && last >= status.revision {
        Ready(all)
    } else {
        NotYet(format!("the journal is at {}, the bus at {last}", status.revision))
    }
}

fn once_and_without_gaps(events: &[EventRecord]) -> Result<()> {
    let mut ids = BTreeSet::new();
    for (expected, event) in (1..).zip(events) {
        let headers = &event.headers;
        ensure!(ids.insert(headers.id), "event {} is twice on the bus", headers.id);
        ensure!(headers.seq == expected, "after event {} comes {}", expected - 1, headers.seq);
    }
    Ok(())
}

fn each_cause_has_its_effects(outcomes: &BTreeMap<CommandId, Outcome>, events: &[EventRecord]) -> Result<()> {
    let mut effects: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events {
        effects.entry(event.headers.causation.to_string()).or_default().push(event.headers.id);
    }
    for (id, outcome) in outcomes {
        let caused = effects.remove(&id.to_string()).unwrap_or_default();
        let promised: Vec<_> = match outcome {
            Outcome::Accepted(accepted) => accepted.events.iter().map(|e| e.id).collect(),
            Outcome::Rejected(_) => Vec::new(),
        };
        ensure!(caused == promised, "command {id} promised {promised:?} and caused {caused:?}");
    }
    Ok(())
}

/// What the events of one application add up to; every intent counts its generation up by one.
pub fn sum(events: &[EventRecord], app: &str) -> Result<Sum> {
    let mut sum = Sum::default();
    for event in events.iter().filter(|e| e.subject.target.name.as_str() == app) {
        let payload = &event.payload;
        match event.headers.type_name.verb.as_str() {
            "applied" => {
                sum.replicas = payload["spec"]["replicas"].as_u64().context("no replicas")?;
                sum.tag = payload["spec"]["image"]["tag"].as_str().context("no tag")?.to_owned();
            }
            "scaled" => sum.replicas = payload["replicas"].as_u64().context("no replicas")?,
            "restarted" => (),
            _ => continue,
        }
        let generation = payload["generation"].as_u64().context("no generation")?;
        if generation != sum.generation + 1 {
            bail!("after generation {} comes {generation}", sum.generation);
        }
        sum.generation = generation;
    }
    Ok(sum)
}

/// The journal, in its table at `url`, begins with exactly these events. Some may have been decided since they were read.
pub async fn is_the_journal(url: &str, table: &str, events: &[EventRecord]) -> Result<()> {
    sqlx::any::install_default_drivers();
    let mut journal = AnyConnection::connect(url).await?;
    let sql = format!("SELECT seq, id, command_id FROM {table} ORDER BY seq");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut journal).await?;
    let written: Vec<(u64, String, String)> = rows
        .iter()
        .map(|row| Ok((u64::try_from(row.try_get::<i64, _>(0)?)?, row.try_get(1)?, row.try_get(2)?)))
        .collect::<Result<_>>()?;
    let told = |e: &EventRecord| (e.headers.seq, e.headers.id.to_string(), e.headers.causation.to_string());
    let published: Vec<_> = events.iter().map(told).collect();
    ensure!(
        written.get(..published.len()) == Some(&published),
        "the journal holds {written:?}, the bus {published:?}"
    );
    Ok(())
}
