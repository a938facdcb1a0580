//! etcd in the SkyDNS layout, as CoreDNS reads it. Every write is one transaction that compares the epoch key and every
//! entry that it touches: a replaced sidecar and a foreign entry are safe whatever we believe.

mod adoption;
mod connect;
mod layout;
mod session;
mod txn;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use bcs_schemas::resource::registry::EtcdDriver;
use futures::{future::BoxFuture, stream::BoxStream};

use self::{layout::SkyDns, session::Session};
use super::{Able, Capabilities, Drift, Driver, Fence, Listing, Owner, OwnerSlot};
use crate::domain::{Adoption, Change, Entry, Failure, Found, Layout, Outcome, Place};

/// etcd takes 128 operations per transaction; smaller ones let others in between.
const BATCH: usize = 60;
/// It syncs its disk once for all that come together.
const AT_ONCE: usize = 16;

/// The driver.
pub struct Etcd {
    settings: EtcdDriver,
    layout: SkyDns,
    session: tokio::sync::Mutex<Option<Session>>,
    /// Revisions of our own transactions, so that their echo is not taken for somebody else's change.
    own: Arc<Mutex<BTreeSet<i64>>>,
}

impl Etcd {
    /// Connects only when it is fenced.
    pub fn new(settings: EtcdDriver, owner: &Owner) -> Self {
        Self {
            layout: SkyDns::new(&settings.prefix, owner),
            settings,
            session: tokio::sync::Mutex::new(None),
            own: Arc::default(),
        }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.clone();
        session.ok_or_else(|| Failure::Unavailable("etcd: not connected yet".to_owned()))
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.session().await?;
        let txn = txn::build(&self.layout, &session.fence, changes)?;
        let answer = session.txn(txn).await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        if !answer.succeeded() {
            return txn::refused(&self.layout, &session.fence, changes, &answer);
        }
        self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(revision);
        let version = u64::try_from(revision).unwrap_or_default();
        Ok(changes.iter().map(|_| Outcome::Done(version)).collect())
    }
}

impl Layout for Etcd {
    fn place(&self, entry: &Entry) -> Place {
        self.layout.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.layout.digest(entry)
    }
}

impl Driver for Etcd {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "etcd",
            batch: BATCH,
            at_once: AT_ONCE,
            atomic: true,
            compare_and_set: true,
            owner: OwnerSlot::Entry,
            fence: Fence::InWrite,
            // Not leases: losing one would drop every entry at once.
            expires: false,
            drain_state: false,
            weight: true,
            metadata: true,
            list: true,
            watch: true,
            shows: Able::Yes,
            adopts: Able::Yes,
            purges: Able::Yes,
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let session = Box::pin(Session::open(&self.settings, &self.layout, epoch)).await?;
            self.own.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *self.session.lock().await = Some(session);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async move { self.session().await?.list(&self.layout).await })
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

    fn drift(
        &self,
        since: u64,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        Box::pin(async move { self.session().await?.watch(&self.layout, since, self.own.clone()).await })
    }
}
