//! PowerDNS over its HTTP API: address records, a record set for each name. It compares nothing when it is written to, so
//! a name has one owner: comments on the set say whose each record is, and a set with records of others is left alone.
//! The epoch lies in the zone's metadata and is read before each write.

mod adoption;
mod host;
mod layout;
mod session;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bcs_schemas::resource::registry::PowerDnsDriver;
use futures::{future::BoxFuture, stream::BoxStream};

use self::{layout::Spelling, session::Session};
use super::{
    Able, Capabilities, Drift, Driver, Fence, Host, Listing, Owner, OwnerSlot, look,
    rrset::{RrSet, merge, parts},
};
use crate::domain::{Adoption, Change, Entry, Failure, Found, Layout, Outcome, Place};

/// At most as many record sets are read before a write, and written: each as a whole, so that many entries of one name cost little
/// more than one.
const BATCH: usize = 2000;
/// Bytes of record sets in a write. PowerDNS takes 2 MiB unless it is told otherwise.
const ROOM: usize = 1 << 20;
/// How often the serial is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The driver.
pub struct PowerDns {
    settings: PowerDnsDriver,
    /// Without its last dot.
    zone: String,
    spelling: Spelling,
    session: tokio::sync::Mutex<Option<Session>>,
    /// Serial of the zone as we read or left it.
    serial: Arc<AtomicU64>,
}

impl PowerDns {
    /// Connects only when it is fenced. `zone` is the registry's.
    pub fn new(settings: PowerDnsDriver, zone: &str, owner: &Owner) -> Self {
        Self {
            zone: settings.zone.clone().unwrap_or_else(|| zone.to_owned()),
            settings,
            spelling: Spelling::new(owner),
            session: tokio::sync::Mutex::new(None),
            serial: Arc::default(),
        }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.clone();
        session.ok_or_else(|| Failure::Unavailable("powerdns: not connected yet".to_owned()))
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let session = self.session().await?;
        session.fenced(&self.spelling).await?;
        let mut groups: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            let (name, kind, _) = parts(change.place())
                .ok_or_else(|| Failure::Rejected(format!("{} is no record set", change.place())))?;
            groups.entry((name, kind)).or_default().push(at);
        }
        let found = session.sets(&groups.keys().copied().collect::<Vec<_>>()).await?;
        let mut outcomes = vec![Outcome::Again; changes.len()];
        let (mut sets, mut size) = (Vec::new(), 0);
        for (found, group) in found.iter().zip(groups.values()) {
            // The others are for the next write.
            if size > ROOM {
                break;
            }
            let of_set: Vec<&Change> = group.iter().filter_map(|at| changes.get(*at)).collect();
            let (set, came) = merge(&self.spelling.sets, found, &of_set);
            for (at, outcome) in group.iter().zip(came) {
                outcomes[*at] = outcome;
            }
            if set != *found {
                size += set.size();
                sets.push(set);
            }
        }
        self.replace(&session, &sets).await?;
        Ok(outcomes)
    }

    async fn replace(&self, session: &Session, sets: &[RrSet]) -> Result<(), Failure> {
        if sets.is_empty() {
            return Ok(());
        }
        let before = session.zone("?rrsets=false").await?.serial;
        session.replace(sets).await?;
        self.account_for(before, session.zone("?rrsets=false").await?.serial);
        Ok(())
    }

    /// A write moves the serial by one, or to the first of a day; what moved it further was somebody else.
    fn account_for(&self, before: u64, after: u64) {
        let step = after <= before + 1 || after % 100 <= 1;
        if step {
            let _ = self.serial.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Layout for PowerDns {
    fn place(&self, entry: &Entry) -> Place {
        self.spelling.sets.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.spelling.sets.digest(entry)
    }
}

impl Driver for PowerDns {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "powerdns",
            batch: BATCH,
            at_once: 1,
            // One PATCH; what others own is left out of it.
            atomic: true,
            compare_and_set: false,
            owner: OwnerSlot::Name,
            fence: Fence::ReadBefore,
            expires: false,
            drain_state: false,
            weight: false,
            metadata: false,
            list: true,
            // By the serial, which somebody has to move: see soa_edit_api.
            watch: true,
            shows: Able::Yes,
            adopts: Able::Yes,
            purges: Able::Yes,
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let session = Box::pin(Session::open(&self.settings, &self.zone, &self.spelling, epoch)).await?;
            *self.session.lock().await = Some(session);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async move {
            let zone = self.session().await?.zone("").await?;
            self.serial.store(zone.serial, Ordering::Relaxed);
            let items = zone.rrsets.iter().flat_map(|set| self.spelling.sets.items(set)).collect();
            Ok(Listing { items, at: zone.serial })
        })
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

    fn drift(&self, _: u64) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        Box::pin(async move {
            let (session, known) = (self.session().await?, self.serial.clone());
            Ok(look::every(LOOK, move || {
                let (session, known) = (session.clone(), known.clone());
                async move {
                    let before = known.load(Ordering::Relaxed);
                    let serial = session.zone("?rrsets=false").await?.serial;
                    // Moved by a write of ours meanwhile: the next look tells.
                    Ok(known.load(Ordering::Relaxed) == before && serial != before)
                }
            }))
        })
    }
}
