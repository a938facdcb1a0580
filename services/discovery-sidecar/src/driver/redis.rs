//! Sets of Redis, such as the allow-lists that a proxy or a firewall reads: one set per name, one member per instance. Every
//! write is one script that compares the epoch and what is there, and changes all or nothing. One server, or one with
//! replicas; not a cluster, whose scripts do not see more than one slot.

mod adoption;
mod connect;
mod layout;

use bcs_schemas::resource::registry::RedisDriver;
use futures::future::BoxFuture;
use redis::{Script, aio::MultiplexedConnection};

use self::layout::Sets;
use super::{Able, Capabilities, Driver, Fence, Listing, Owner, OwnerSlot};
use crate::domain::{Adoption, Change, Entry, Failure, Found, Layout, Outcome, Place};

/// Nothing else is served while a script runs.
const BATCH: usize = 200;

/// The driver.
pub struct Redis {
    settings: RedisDriver,
    sets: Sets,
    scripts: Scripts,
    session: tokio::sync::Mutex<Option<Session>>,
}

struct Scripts {
    fence: Script,
    list: Script,
    apply: Script,
    survey: Script,
    adopt: Script,
}

#[derive(Clone)]
struct Session {
    connection: MultiplexedConnection,
    epoch: u64,
    /// The epoch as it is written: with a number of its own, so that our own earlier calls cannot come late.
    written: String,
}

impl Redis {
    /// Connects only when it is fenced.
    pub fn new(settings: RedisDriver, owner: &Owner) -> Self {
        Self {
            sets: Sets::new(&settings, owner),
            settings,
            scripts: Scripts {
                fence: Script::new(include_str!("redis/fence.lua")),
                list: Script::new(include_str!("redis/list.lua")),
                apply: Script::new(include_str!("redis/apply.lua")),
                survey: Script::new(include_str!("redis/survey.lua")),
                adopt: Script::new(include_str!("redis/adopt.lua")),
            },
            session: tokio::sync::Mutex::new(None),
        }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.clone();
        session.ok_or_else(|| Failure::Unavailable("redis: not connected yet".to_owned()))
    }

    async fn raise(&self, epoch: u64) -> Result<Session, Failure> {
        let mut connection = connect::connect(&self.settings).await?;
        let written = format!("{epoch} {:016x}", rand::random::<u64>());
        let (sets, mut call) = (&self.sets, self.scripts.fence.arg(&self.sets.claim));
        call.arg(&sets.installation).arg(sets.epoch()).arg(epoch).arg(&written);
        let answer: Vec<String> =
            call.invoke_async(&mut connection).await.map_err(|e| connect::judge("raising the epoch", &e))?;
        match &answer[..] {
            [said] if said == "ok" => Ok(Session { connection, epoch, written }),
            [said, other] if said == "taken" => Err(Failure::Unavailable(sets.taken_by(other))),
            _ => Err(fenced(epoch, answer.get(1))),
        }
    }

    async fn read(&self) -> Result<Listing, Failure> {
        let mut session = self.session().await?;
        let mut call = self.scripts.list.arg(&self.sets.root);
        call.arg(&session.written);
        let answer: Vec<String> =
            call.invoke_async(&mut session.connection).await.map_err(|e| connect::judge("reading", &e))?;
        match answer.split_first() {
            Some((said, found)) if said == "ok" => {
                let pairs = found.chunks_exact(2);
                Ok(Listing {
                    items: pairs.filter_map(|pair| self.sets.item(&pair[0], &pair[1])).collect(),
                    at: 0,
                })
            }
            _ => Err(fenced(session.epoch, answer.get(1))),
        }
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.session().await?;
        let rows: Result<Vec<_>, _> = changes.iter().map(|change| self.sets.row(change)).collect();
        let rows = rows.and_then(|rows| serde_json::to_string(&rows));
        let rows = rows.map_err(|e| Failure::Rejected(e.to_string()))?;
        let mut call = self.scripts.apply.arg(&self.sets.root);
        call.arg(&session.written).arg(rows);
        let answer: Vec<Vec<String>> =
            call.invoke_async(&mut session.connection).await.map_err(|e| connect::judge("writing", &e))?;
        let Some(([said, version], outcomes)) =
            answer.split_first().map(|(head, rest)| (head.as_slice(), rest))
        else {
            return Err(Failure::Unavailable(format!(
                "redis: an answer that nobody understands: {answer:?}"
            )));
        };
        if said != "ok" {
            return Err(fenced(session.epoch, Some(version)));
        }
        let version = version.parse().unwrap_or_default();
        Ok(changes
            .iter()
            .zip(outcomes)
            .map(|(change, outcome)| self.outcome(change, outcome, version))
            .collect())
    }

    fn outcome(&self, change: &Change, answer: &[String], version: u64) -> Outcome {
        let shown = || self.sets.shown(change);
        match (answer.first().map_or("", String::as_str), answer.get(1)) {
            ("done", _) => Outcome::Done(version),
            ("differs", found) => Outcome::Differs(found.and_then(|raw| self.sets.item(change.place(), raw))),
            ("foreign", _) => Outcome::Foreign(format!("{} was put there by somebody else", shown())),
            ("refused", kind) => {
                let kind = kind.map_or("something else", String::as_str);
                Outcome::Refused(format!("{}: the key holds a {kind}, expected a set", shown()))
            }
            _ => Outcome::Again,
        }
    }
}

/// Somebody else's epoch is there, or nobody's.
fn fenced(ours: u64, held: Option<&String>) -> Failure {
    let held = held.and_then(|text| text.split(' ').next()).and_then(|number| number.parse().ok());
    match held.unwrap_or_default() {
        held if held > ours => Failure::Fenced(held),
        _ => Failure::Unavailable("redis: the epoch key was changed by somebody".to_owned()),
    }
}

impl Layout for Redis {
    fn place(&self, entry: &Entry) -> Place {
        self.sets.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.sets.digest(entry)
    }
}

impl Driver for Redis {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "redis",
            batch: BATCH,
            at_once: 1,
            atomic: true,
            compare_and_set: true,
            owner: OwnerSlot::Entry,
            fence: Fence::InWrite,
            expires: false,
            drain_state: false,
            weight: false,
            metadata: false,
            list: true,
            // Redis tells of changed keys only where it is configured to, and not by whom.
            watch: false,
            shows: Able::Yes,
            adopts: Able::Yes,
            purges: Able::Yes,
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let session = self.raise(epoch).await?;
            *self.session.lock().await = Some(session);
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
}
