//! A connection to etcd that is fenced: it knows the revision at which it wrote its epoch, and every transaction compares
//! it. Fencing again moves that revision, so that even our own transactions that got stuck on the way cannot come late.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bcs_schemas::resource::registry::EtcdDriver;
use etcd_client::{
    Client, Compare, CompareOp, Error, EventType, GetOptions, KeyValue, Txn, TxnOp, TxnResponse,
    WatchOptions, WatchStream,
};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::timeout;

use super::{
    connect::{self, WITHIN},
    layout::{Claim, SkyDns, range_end},
};
use crate::{
    domain::{Failure, Place},
    driver::{Drift, Listing, taken},
};

const PAGE: i64 = 2000;
/// Sidecars of one installation that begin together all take its name, and one of them is first: the others look again.
const TRIES: usize = 3;

/// Our hold on the epoch key.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) key: String,
    pub(super) epoch: u64,
    /// Revision at which we wrote it.
    pub(super) revision: i64,
}

impl Fence {
    /// Why it does not hold any more, by the epoch that is there.
    pub(super) fn lost(&self, held: u64) -> Failure {
        match held > self.epoch {
            true => Failure::Fenced(held),
            false => Failure::Unavailable(format!("etcd: the epoch key {} was moved by somebody", self.key)),
        }
    }
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) fence: Fence,
}

impl Session {
    pub(super) async fn open(settings: &EtcdDriver, layout: &SkyDns, epoch: u64) -> Result<Self, Failure> {
        let options = connect::options(settings).await.map_err(Failure::Unavailable)?;
        let mut client = within("connecting", Client::connect(&settings.endpoints, Some(options))).await?;
        let key = layout.epoch_key();
        for _ in 0..TRIES {
            let claimed = claim(&mut client, &layout.claim).await?;
            if let Some(revision) = raise(&mut client, &key, epoch, claimed).await? {
                return Ok(Self { client, fence: Fence { key, epoch, revision } });
            }
        }
        Err(Failure::Unavailable("etcd: others raise the epoch or take the name all the time".to_owned()))
    }

    pub(super) async fn txn(&mut self, txn: Txn) -> Result<TxnResponse, Failure> {
        match timeout(WITHIN, self.client.txn(txn)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(judge(&error)),
            Err(_) => Err(Failure::Unavailable("etcd did not answer a write in time".to_owned())),
        }
    }

    pub(super) async fn list(&mut self, layout: &SkyDns) -> Result<Listing, Failure> {
        let mut items = Vec::new();
        let revision = self.read(layout, |kv| items.extend(item(layout, kv))).await?;
        Ok(Listing { items, at: unsigned(revision) })
    }

    /// Every key, in pages, all of them at the revision of the first.
    pub(super) async fn read(
        &mut self,
        layout: &SkyDns,
        mut each: impl FnMut(&KeyValue),
    ) -> Result<i64, Failure> {
        let (mut from, end) = (layout.root().into_bytes(), range_end(&layout.root()));
        let mut revision = 0;
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            let mut page = within("reading", self.client.get(from, Some(options))).await?;
            if revision == 0 {
                revision = page.header().map_or(0, etcd_client::ResponseHeader::revision);
            }
            let (more, found) = (page.more(), page.take_kvs());
            found.iter().for_each(&mut each);
            match found.last() {
                Some(last) if more => from = [last.key(), &[0]].concat(),
                _ => return Ok(revision),
            }
        }
    }

    pub(super) async fn watch(
        &mut self,
        layout: &SkyDns,
        since: u64,
        own: Arc<Mutex<BTreeSet<i64>>>,
    ) -> Result<BoxStream<'static, Result<Drift, Failure>>, Failure> {
        let start = i64::try_from(since).unwrap_or_default() + 1;
        let options = WatchOptions::new().with_prefix().with_start_revision(start);
        let watch = within("watching", self.client.watch(layout.root(), Some(options))).await?;
        let follow = Follow { watch, layout: layout.clone(), own, ready: VecDeque::new() };
        Ok(stream::unfold(follow, |mut follow| async move { Some((follow.next().await, follow)) }).boxed())
    }
}

struct Follow {
    watch: WatchStream,
    layout: SkyDns,
    own: Arc<Mutex<BTreeSet<i64>>>,
    ready: VecDeque<(bool, KeyValue)>,
}

impl Follow {
    async fn next(&mut self) -> Result<Drift, Failure> {
        loop {
            // Looked up when it is asked for: a transaction of ours is known by then, its echo may have been faster.
            while let Some((there, kv)) = self.ready.pop_front() {
                if self.is_echo(kv.mod_revision()) {
                    continue;
                }
                let Ok(key) = kv.key_str() else { continue };
                let found = if there { item(&self.layout, &kv) } else { None };
                return Ok(Drift::Place(Place::from(key), found));
            }
            let lost = |why: &str| Failure::Unavailable(format!("etcd ended the watch: {why}"));
            let message = self.watch.message().await.map_err(|e| lost(&words(&e)))?;
            let message = message.ok_or_else(|| lost("the connection was closed"))?;
            if message.canceled() {
                return Err(lost(message.cancel_reason()));
            }
            for event in message.events() {
                let there = event.event_type() == EventType::Put;
                self.ready.extend(event.kv().map(|kv| (there, kv.clone())));
            }
        }
    }

    /// Whether one of our own transactions did it; what lies before it can be forgotten.
    fn is_echo(&self, revision: i64) -> bool {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        *own = own.split_off(&revision);
        own.contains(&revision)
    }
}

fn item(layout: &SkyDns, kv: &KeyValue) -> Option<crate::domain::Item> {
    layout.item(kv.key_str().ok()?, kv.value(), unsigned(kv.mod_revision()))
}

/// Makes sure that the name is ours or free; what has to be compared, and written, for it to stay so.
async fn claim(client: &mut Client, claim: &Claim) -> Result<(Compare, Option<TxnOp>), Failure> {
    let Claim { key, name, installation } = claim;
    let found = within("reading the installation", client.get(key.as_str(), None)).await?;
    let Some(kv) = found.kvs().first() else {
        let free = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
        return Ok((free, Some(TxnOp::put(key.as_str(), installation.as_str(), None))));
    };
    if kv.value() != installation.as_bytes() {
        let other = String::from_utf8_lossy(kv.value());
        return Err(Failure::Unavailable(taken(
            "etcd",
            name,
            installation,
            &other,
            &format!("the key {key}"),
        )));
    }
    Ok((Compare::mod_revision(key.as_str(), CompareOp::Equal, kv.mod_revision()), None))
}

/// Writes our epoch unless a higher one is there; the revision at which it was written, or none if somebody was faster.
async fn raise(
    client: &mut Client,
    key: &str,
    epoch: u64,
    (claimed, claim): (Compare, Option<TxnOp>),
) -> Result<Option<i64>, Failure> {
    let found = within("reading the epoch", client.get(key, None)).await?;
    let (held, revision) = found.kvs().first().map_or((0, 0), |kv| (number(kv.value()), kv.mod_revision()));
    if held > epoch {
        return Err(Failure::Fenced(held));
    }
    let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision);
    let writes = std::iter::once(TxnOp::put(key, epoch.to_string(), None)).chain(claim);
    let txn = Txn::new().when([unchanged, claimed]).and_then(writes.collect::<Vec<_>>());
    let answer = within("raising the epoch", client.txn(txn)).await?;
    let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    Ok(answer.succeeded().then_some(revision))
}

/// What is no number stands for nobody.
pub(super) fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

pub(super) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}

pub(super) async fn within<T>(
    doing: &str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match timeout(WITHIN, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::Unavailable(format!("etcd: {doing} failed: {}", words(&error)))),
        Err(_) => Err(Failure::Unavailable(format!("etcd: {doing} got no answer in time"))),
    }
}

/// A write that etcd understood and refused is the fault of what was written; everything else is etcd's.
fn judge(error: &Error) -> Failure {
    match error {
        Error::GRpcStatus(status) if is_refusal(status.code() as i32, status.message()) => {
            Failure::Rejected(status.message().to_owned())
        }
        Error::InvalidArgs(why) => Failure::Rejected(why.clone()),
        other => Failure::Unavailable(format!("etcd: writing failed: {}", words(other))),
    }
}

/// By the numbers of gRPC's codes.
fn is_refusal(code: i32, message: &str) -> bool {
    const INVALID_ARGUMENT: i32 = 3;
    const RESOURCE_EXHAUSTED: i32 = 8;
    match code {
        // Missing credentials are nobody's entry.
        INVALID_ARGUMENT => !message.contains("user name"),
        // The transport, not etcd, says this of a message that is larger than it takes.
        RESOURCE_EXHAUSTED => message.contains("larger than"),
        _ => false,
    }
}

/// With its causes, each once: layers of the transport repeat each other, and the reason why TLS failed lies at the bottom.
fn words(error: &Error) -> String {
    let (mut text, mut cause) = match error {
        Error::GRpcStatus(status) => (status.message().to_owned(), std::error::Error::source(status)),
        Error::TransportError(error) => (error.to_string(), std::error::Error::source(error)),
        other => (other.to_string(), None),
    };
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
