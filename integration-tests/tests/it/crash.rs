//! `kill -9` of the whole platform, again and again, at moments that a seed chooses, while somebody commands. Nothing
//! that the bus acknowledged is lost, nothing is done twice, and in the end the world is what the commands say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_client::EventRecord;
use bcs_integration_tests::harness::{Etcd, Failed, Lab, Options, Up, wait_until};
use bcs_kit::Clock;
use bcs_schemas::CommandId;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    ledger::{self, Sum},
    raw::{Sender, subject},
    world::{LONG, app, apply, settled, view},
};

/// How often it is killed.
const KILLS: u32 = 50;
/// Two applications take turns.
const APPS: [&str; 2] = ["left", "right"];

/// The seed of this run: `BCS_SEED` repeats one.
fn seed() -> Result<u64> {
    let named = std::env::var_os("BCS_SEED").map(|text| text.to_string_lossy().parse());
    let fresh = || Clock::system().now().as_nanosecond().unsigned_abs() as u64;
    let seed = named.transpose().context("BCS_SEED is no number")?.unwrap_or_else(fresh);
    eprintln!("repeat it with: BCS_SEED={seed} cargo nextest run -p bcs-integration-tests -E 'test(crash)'");
    Ok(seed)
}

/// Somebody who commands, and remembers what the bus acknowledged.
struct Commander {
    random: StdRng,
    clock: Clock,
    sent: Vec<CommandId>,
}

impl Commander {
    /// The next command: an application, a verb and a payload.
    fn next(&mut self) -> (&'static str, &'static str, Value) {
        let name = APPS[self.random.random_range(0..APPS.len())];
        let replicas = self.random.random_range(0..=3);
        if self.random.random_bool(0.3) {
            let tag = format!("v{}", self.random.random_range(1..=3));
            let document = app(name, &["sim-a", "sim-b"], replicas, &tag, Value::Null);
            return (name, "apply", json!({ "spec": document["spec"] }));
        }
        (name, "scale", json!({ "replicas": replicas }))
    }

    /// Sends some, each until the bus has acknowledged it; a repeat has the same id.
    async fn command(&mut self, nats: &str, count: u32) -> Result<()> {
        for _ in 0..count {
            let (name, verb, payload) = self.next();
            let id = self.clock.fresh_id();
            let (id_text, payload) = (id.to_string(), payload.to_string());
            let send = async || {
                let sender = Sender::connect(nats).await?;
                sender.tell(&subject(name, verb), &[("Nats-Msg-Id", &id_text)], payload.clone()).await
            };
            wait_until(LONG, "the bus takes it", async || send().await.into()).await?;
            self.sent.push(CommandId(id));
        }
        Ok(())
    }
}

/// One life of the platform: started, perhaps commanded, and killed at some moment.
async fn life(lab: &Lab, up: &mut Up, commander: &mut Commander) -> Result<()> {
    up.launch(lab)?;
    if commander.random.random_bool(0.25) {
        // In the middle of its start.
        tokio::time::sleep(Duration::from_millis(commander.random.random_range(0..900))).await;
        return up.kill().await;
    }
    up.ready().await?;
    let moment = Duration::from_millis(commander.random.random_range(0..500));
    let count = commander.random.random_range(1..=4);
    let nats = up.nats().to_owned();
    let killing = async {
        tokio::time::sleep(moment).await;
        up.kill().await
    };
    // What is sent after the kill goes to the nats-server that lives on.
    let (killed, commanded) = tokio::join!(killing, commander.command(&nats, count));
    killed.and(commanded)
}

#[tokio::test]
async fn fifty_kills_lose_no_command_and_do_none_twice() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let random = StdRng::seed_from_u64(seed()?);
        let mut commander = Commander { random, clock: Clock::system(), sent: Vec::new() };
        let etcd = Etcd::start(lab).await?;
        let mut up =
            Up::start(lab, Options { etcd: Some(etcd.url()), log: "warn".to_owned(), ..Options::default() })
                .await?;
        for name in APPS {
            apply(&up, &app(name, &["sim-a", "sim-b"], 1, "v1", Value::Null), &[]).await?;
        }
        up.kill().await?;
        for _ in 1..KILLS {
            life(lab, &mut up, &mut commander).await?;
        }
        up.start_again(lab).await?;
        let events = ledger::balanced(&up.client().await?, &commander.sent).await?;
        let overtaken = overtaken(&commander.sent, &events);
        eprintln!(
            "{} commands, {} events, {overtaken} commands overtaken",
            commander.sent.len(),
            events.len()
        );
        let sums = [ledger::sum(&events, APPS[0])?, ledger::sum(&events, APPS[1])?];
        let wanted = |i: usize| -> Result<_> {
            Ok((APPS[i], usize::try_from(sums[i].replicas)?, sums[i].tag.as_str()))
        };
        settled(&up, Some(&etcd), &[wanted(0)?, wanted(1)?]).await?;
        for (name, sum) in APPS.into_iter().zip(&sums) {
            state_is_the_sum(&up, name, sum).await?;
        }
        up.stop().await?;
        let journal = format!("sqlite:{}", up.journal("deploy").display());
        ledger::is_the_journal(&journal, "events", &events).await
    })
    .await
}

/// Commands that were decided before one that was sent earlier about the same application. After a crash the bus brings
/// what was in hand behind what is new, so a sender that needs an order awaits outcomes or says `bcs-expected-revision`.
fn overtaken(sent: &[CommandId], events: &[EventRecord]) -> usize {
    let decided = |id: &CommandId| {
        let event = events.iter().find(|e| e.headers.causation == *id)?;
        Some((event.subject.target.name.clone(), event.headers.seq))
    };
    let order: Vec<_> = sent.iter().filter_map(decided).collect();
    let late = |(i, (app, seq)): (usize, &(_, u64))| order[..i].iter().any(|(a, s)| a == app && s > seq);
    order.iter().enumerate().filter(|entry| late(*entry)).count()
}

async fn state_is_the_sum(up: &Up, name: &str, sum: &Sum) -> Result<()> {
    let found = view(up, name).await?;
    let found = Sum {
        replicas: found["spec"]["replicas"].as_u64().context("no replicas")?,
        tag: found["spec"]["image"]["tag"].as_str().context("no tag")?.to_owned(),
        generation: found["generation"].as_u64().context("no generation")?,
    };
    ensure!(found == *sum, "{name} is {found:?}, its events add up to {sum:?}");
    Ok(())
}
