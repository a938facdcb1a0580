//! Zones of DNS servers by updates (RFC 2136) that are signed (TSIG). Every batch is one message that the server applies
//! whole or not at all, and that requires the epoch record and every ownership record to be what we believe: a replaced
//! sidecar and a foreign entry are safe whatever that is.

mod adoption;
mod client;
mod held;
mod host;
mod journal;
mod layout;
mod session;
mod sign;
mod update;
mod words;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bcs_kit::Clock;
use bcs_schemas::resource::registry::DnsDriver;
use futures::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use tokio::time::{Instant, sleep};

use self::{client::Client, held::Held, layout::Zone, session::Session};
use super::{Able, Capabilities, Drift, Driver, Fence, Host, Listing, Owner, OwnerSlot};
use crate::domain::{Adoption, Change, Entry, Failure, Found, Layout, Outcome, Place};

/// With what each of them requires and its neighbours in a record set, most of them fit into the 64 KiB of a message. The others
/// follow in the next.
const BATCH: usize = 240;

/// How often the serial number of the zone is asked for.
const LOOK: Duration = Duration::from_secs(2);

/// When a look came to nothing because we were writing.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Looks are so many times longer apart than a transfer of the zone takes, since one may follow each.
const SHARE: u32 = 20;

/// The driver.
pub struct Dns {
    settings: DnsDriver,
    clock: Clock,
    zone: Zone,
    session: tokio::sync::Mutex<Option<Session>>,
    held: Arc<Mutex<Held>>,
    count: Arc<Mutex<Count>>,
    /// How many ownership records each address had, whoever wrote them, when everything was read.
    shared: Mutex<HashMap<held::Shared, u32>>,
}

/// The serial number of the zone when it was read, and how many changes came since, of ours and of others through us: it
/// grows by one for each. Where it grew otherwise, somebody else wrote as well.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// None while nothing has to be told: the zone is read next.
    serial: Option<u32>,
    own: u32,
    guests: u32,
    /// Changes with every write and every reading.
    stamp: u64,
    writing: bool,
    pause: Duration,
}

impl Dns {
    /// Connects only when it is fenced. Messages are signed with the time.
    pub fn new(settings: DnsDriver, owner: &Owner, clock: Clock) -> Self {
        Self {
            clock,
            zone: Zone::new(&settings, owner),
            settings,
            session: tokio::sync::Mutex::new(None),
            held: Arc::default(),
            count: Arc::default(),
            shared: Mutex::default(),
        }
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.session.lock().await;
        let session = session.as_mut().ok_or_else(unconnected)?;
        let writing = Writing::begin(&self.count);
        let applied = session.apply(&self.zone, changes).await;
        writing.end(&applied);
        applied.map(|applied| applied.outcomes)
    }

    async fn read(&self) -> Result<Listing, Failure> {
        let mut session = self.session.lock().await;
        let session = session.as_mut().ok_or_else(unconnected)?;
        let begun = Instant::now();
        let (items, serial) = session.list(&self.zone).await?;
        let mut count = lock(&self.count);
        *count = Count {
            serial: Some(serial),
            stamp: count.stamp + 1,
            pause: begun.elapsed() * SHARE,
            ..Count::default()
        };
        Ok(Listing { items, at: serial.into() })
    }
}

fn unconnected() -> Failure {
    Failure::Unavailable("dns: not connected yet".to_owned())
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A write under way: nobody knows the serial number until it ends, nor afterwards if it was given up.
struct Writing<'a> {
    count: &'a Mutex<Count>,
    ended: bool,
}

impl<'a> Writing<'a> {
    fn begin(count: &'a Mutex<Count>) -> Self {
        let mut now = lock(count);
        (now.stamp, now.writing) = (now.stamp + 1, true);
        drop(now);
        Self { count, ended: false }
    }

    fn end(self, applied: &Result<session::Applied, Failure>) {
        if applied.as_ref().is_ok_and(|applied| applied.written) {
            lock(self.count).own += 1;
        }
        self.told(applied.as_ref().map(drop));
    }

    /// What came of it is known, unless the answer to it was lost.
    fn told(mut self, applied: Result<(), &Failure>) {
        self.ended = matches!(applied, Ok(()) | Err(Failure::Rejected(_)));
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut now = lock(self.count);
        (now.stamp, now.writing) = (now.stamp + 1, false);
        if !self.ended {
            now.serial = None;
        }
    }
}

/// Who watches a zone.
struct Watch {
    client: Client,
    zone: Zone,
    held: Arc<Mutex<Held>>,
    count: Arc<Mutex<Count>>,
}

impl Watch {
    /// Waits for a change by somebody else that concerns us.
    async fn next(&mut self) -> Result<Drift, Failure> {
        let mut wait = LOOK;
        loop {
            sleep(wait).await;
            let before = *lock(&self.count);
            let Some(serial) = before.serial.filter(|_| !before.writing) else {
                wait = LOOK_AGAIN;
                continue;
            };
            let found = self.look(serial, before).await?;
            let mut now = lock(&self.count);
            if now.stamp != before.stamp {
                wait = LOOK_AGAIN;
                continue;
            }
            wait = LOOK.max(now.pause);
            match found {
                Some(serial) => (now.serial, now.own, now.guests) = (Some(serial), 0, 0),
                None => {
                    now.serial = None;
                    return Ok(Drift::Unknown);
                }
            }
        }
    }

    /// The serial number now, unless something happened that concerns us, or nobody can tell.
    async fn look(&mut self, since: u32, count: Count) -> Result<Option<u32>, Failure> {
        let Count { own, guests, .. } = count;
        let found = self.client.serial().await?;
        if found == since.wrapping_add(own).wrapping_add(guests) {
            return Ok(Some(found));
        }
        let Some((journal, until)) = self.client.changes(&self.zone, since).await? else { return Ok(None) };
        let concerns = journal.concerns(&self.zone, &lock(&self.held), own);
        Ok((!concerns).then_some(until))
    }
}

impl Layout for Dns {
    fn place(&self, entry: &Entry) -> Place {
        self.zone.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.zone.digest(entry)
    }
}

impl Driver for Dns {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "dns",
            batch: BATCH,
            at_once: 1,
            atomic: true,
            compare_and_set: true,
            owner: OwnerSlot::Entry,
            fence: Fence::InWrite,
            expires: false,
            drain_state: false,
            weight: self.settings.srv,
            metadata: false,
            list: true,
            watch: true,
            shows: Able::Yes,
            adopts: Able::Yes,
            purges: Able::Yes,
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let mut session = self.session.lock().await;
            let client = Client::new(&self.settings, &self.clock).await?;
            *session = Some(Session::open(client, &self.zone, epoch, self.held.clone()).await?);
            let mut count = lock(&self.count);
            *count = Count { stamp: count.stamp + 1, ..Count::default() };
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(self.read())
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.write(changes))
    }

    fn survey(&self) -> BoxFuture<'_, Result<Vec<Found>, Failure>> {
        Box::pin(self.read_all())
    }

    fn adopt<'a>(&'a self, adoptions: &'a [Adoption]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.take_over(adoptions))
    }

    fn evict<'a>(&'a self, found: &'a [Found]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.take_out(found))
    }

    fn forget<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        Box::pin(self.take_marks(owner))
    }

    fn host(&self) -> Option<&dyn Host> {
        Some(self)
    }

    /// That something changed, not what.
    fn drift(&self, _: u64) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        Box::pin(async move {
            let watch = Watch {
                client: Client::new(&self.settings, &self.clock).await?,
                zone: self.zone.clone(),
                held: self.held.clone(),
                count: self.count.clone(),
            };
            let looks = stream::unfold(watch, |mut watch| async move { Some((watch.next().await, watch)) });
            Ok(looks.boxed())
        })
    }
}
