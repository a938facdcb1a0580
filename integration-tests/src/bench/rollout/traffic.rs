//! Users of an application: open load, that does not wait for answers before it asks again. Some ask a proxy, some resolve the
//! name and ask an instance itself; every request is on a connection of its own.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use reqwest::Client;
use tokio::{
    sync::{Mutex, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::bench::{load, registry::Dns};

/// Users who resolve, each for itself.
const RESOLVERS: usize = 8;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of how many failures the words are kept.
const WORDS: usize = 5;

/// What became of the requests of one way.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) sent: usize,
    answered: usize,
    /// Of the first that failed.
    pub(super) words: Vec<String>,
}

/// What became of all.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) haproxy: Way,
    pub(super) bind: Way,
}

/// Requests that go on until they are stopped.
pub(super) struct Traffic {
    stop: oneshot::Sender<()>,
    running: JoinSet<Asked>,
}

impl Way {
    pub(super) const fn failed(&self) -> usize {
        self.sent - self.answered
    }

    fn note(&mut self, result: Result<()>) {
        self.sent += 1;
        match result {
            Ok(()) => self.answered += 1,
            Err(error) if self.words.len() < WORDS => self.words.push(format!("{error:#}")),
            Err(_) => (),
        }
    }
}

impl Traffic {
    /// Begins with so many requests a second: every other through the proxy, the rest to what the name server tells.
    pub(super) fn start(front: u16, (port, name): (u16, String), rate: u32) -> Self {
        let (stop, stopped) = oneshot::channel();
        let resolvers = (0..RESOLVERS).map(|_| Resolver {
            dns: Dns::new(port),
            name: name.clone(),
            known: Mutex::default(),
        });
        let resolvers: Arc<[Resolver]> = resolvers.collect();
        let mut running = JoinSet::new();
        running.spawn(ask(format!("http://127.0.0.1:{front}/"), resolvers, rate, stopped));
        Self { stop, running }
    }

    /// Stops asking, and waits for what was asked.
    pub(super) async fn stop(mut self) -> Result<Asked> {
        // It may have ended by a panic, which comes next.
        let _ = self.stop.send(());
        Ok(self.running.join_next().await.context("nobody asked")??)
    }
}

async fn ask(
    front: String,
    resolvers: Arc<[Resolver]>,
    rate: u32,
    mut stopped: oneshot::Receiver<()>,
) -> Asked {
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE).build();
    let Ok(client) = client else { return Asked::default() };
    let mut requests = JoinSet::new();
    let mut asked = Asked::default();
    let begin = Instant::now();
    for number in 0.. {
        tokio::select! {
            _ = &mut stopped => break,
            () = sleep_until(load::due(begin, rate, number)) => (),
        }
        let (client, front, resolvers) = (client.clone(), front.clone(), resolvers.clone());
        requests.spawn(async move {
            let resolver = &resolvers[(number as usize / 2) % RESOLVERS];
            match number % 2 {
                0 => (true, get(&client, &front).await),
                _ => (false, resolver.get(&client).await),
            }
        });
        while let Some(done) = requests.try_join_next() {
            asked.note(done);
        }
    }
    while let Some(done) = requests.join_next().await {
        asked.note(done);
    }
    asked
}

impl Asked {
    fn note(&mut self, done: Result<(bool, Result<()>), tokio::task::JoinError>) {
        match done {
            Ok((true, result)) => self.haproxy.note(result),
            Ok((false, result)) => self.bind.note(result),
            Err(error) => self.bind.note(Err(error.into())),
        }
    }
}

async fn get(client: &Client, url: &str) -> Result<()> {
    client.get(url).send().await?.error_for_status()?.text().await?;
    Ok(())
}

/// A user who asks a name server and remembers the answer as long as it may be remembered.
struct Resolver {
    dns: Dns,
    name: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<Ipv4Addr>,
    until: Option<Instant>,
    next: usize,
}

impl Resolver {
    async fn get(&self, client: &Client) -> Result<()> {
        let address = self.resolve().await?;
        get(client, &format!("http://{address}:8080/")).await
    }

    /// The addresses in turn.
    async fn resolve(&self) -> Result<Ipv4Addr> {
        let mut known = self.known.lock().await;
        if known.until.is_none_or(|until| Instant::now() >= until) {
            let mut found = self.dns.ask(std::slice::from_ref(&self.name)).await.context("resolving")?;
            let found = found.pop().unwrap_or_default();
            // It may be remembered from when it is here.
            known.until = Some(Instant::now() + found.ttl);
            known.addresses = found.addresses;
        }
        known.next += 1;
        match known.addresses.len() {
            0 => bail!("the name has no address"),
            count => Ok(known.addresses[known.next % count]),
        }
    }
}
