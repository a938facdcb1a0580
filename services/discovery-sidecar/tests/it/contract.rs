//! What every driver keeps, whatever its registry is: the same stories for each, against the real server, looked at from
//! outside by a client that is not the driver.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use bcs_discovery_sidecar::{
    domain::{Change, Entry, Failure, Item, Naming, Outcome},
    driver::{Capabilities, Driver, Fence, Owner, OwnerSlot, open},
};
use bcs_schemas::{observation::Endpoint, resource::RegistrySpec};

use crate::fixture::*;

/// A registry that runs for one test.
pub(crate) trait Site: Sized {
    /// Starts the server and whatever must be there before the sidecar comes.
    async fn start() -> Self;

    /// `spec.driver`, and what else of the spec must differ from its defaults.
    fn spec(&self) -> serde_json::Value;

    /// The addresses that users of the registry get for `web.shop.bcs.local`.
    async fn addresses(&self) -> BTreeSet<IpAddr>;

    /// Somebody else adds this address where ours will be: under the same name, if a name can have entries of several.
    async fn add_foreign(&self, address: IpAddr);
}

/// What one sidecar process has of a driver.
pub(crate) struct Hand {
    pub(crate) driver: Arc<dyn Driver>,
    naming: Naming,
}

impl Hand {
    pub(crate) fn of(site: &impl Site) -> Self {
        Self::owned_by("eu1", site)
    }

    /// With other settings than the site has by itself.
    pub(crate) fn with(spec: serde_json::Value) -> Self {
        Self::made("eu1", "eu1 is one", spec)
    }

    pub(crate) fn owned_by(platform: &str, site: &impl Site) -> Self {
        Self::made(platform, &format!("{platform} is one"), site.spec())
    }

    /// Of the same name as [`Hand::of`], in another installation.
    pub(crate) fn installed(installation: &str, site: &impl Site) -> Self {
        Self::made("eu1", installation, site.spec())
    }

    fn made(platform: &str, installation: &str, spec: serde_json::Value) -> Self {
        let spec: RegistrySpec = serde_json::from_value(spec).expect("a spec");
        assert_eq!(spec.validate(), []);
        let owner = Owner {
            platform: name(platform),
            cluster: name("sim-a"),
            registry: name("dns"),
            installation: installation.to_owned(),
        };
        Self { driver: open(&spec, &owner), naming: Naming::of(&owner.registry, &spec) }
    }

    pub(crate) fn can(&self) -> Capabilities {
        self.driver.capabilities()
    }

    pub(crate) fn entry(&self, endpoint: Endpoint) -> Entry {
        self.naming.entry(&Arc::new(endpoint)).expect("an entry")
    }

    pub(crate) fn put(&self, endpoint: Endpoint, over: Option<u64>) -> Change {
        let entry = self.entry(endpoint);
        let (place, digest) = (self.driver.place(&entry), self.driver.digest(&entry));
        Change::Put { place, entry, digest, over }
    }

    pub(crate) async fn fence(&self, epoch: u64) {
        wait_until(LONG, async || self.driver.fence(epoch).await.map_err(|e| e.to_string())).await;
    }

    /// In batches as the engine would make them; everything has to be done. What does not fit into a write is for the next one, and
    /// where users come to the driver, they may not be there yet, and then it is tried again as the engine would.
    pub(crate) async fn done(&self, changes: &[Change]) {
        let mut left = changes.to_vec();
        while !left.is_empty() {
            let batch: Vec<Change> = left.drain(..self.can().batch.min(left.len())).collect();
            let outcomes = wait_until(LONG, async || {
                let outcomes = self.driver.apply(&batch).await.expect("is applied");
                let waits = !self.can().list && outcomes.iter().any(|o| matches!(o, Outcome::Waits(_)));
                if waits { Err(format!("{outcomes:?}")) } else { Ok(outcomes) }
            })
            .await;
            assert!(
                matches!(outcomes.first(), Some(Outcome::Done(_)))
                    && outcomes.iter().all(|o| matches!(o, Outcome::Done(_) | Outcome::Again))
                    && outcomes.len() == batch.len(),
                "{outcomes:?}"
            );
            let again = batch.into_iter().zip(outcomes).filter(|(_, outcome)| *outcome == Outcome::Again);
            left.extend(again.map(|(change, _)| change));
        }
    }

    pub(crate) async fn items(&self) -> Vec<Item> {
        let mut items = self.driver.list().await.expect("is read").items;
        items.sort_by(|a, b| a.key.cmp(&b.key));
        items
    }
}

fn removals(items: &[Item]) -> Vec<Change> {
    items.iter().map(|i| Change::Remove { place: i.place.clone(), version: i.version }).collect()
}

fn addresses(endpoints: &[Endpoint]) -> BTreeSet<IpAddr> {
    endpoints.iter().flat_map(|e| e.addresses.first().copied()).collect()
}

async fn sees(site: &impl Site, wanted: &BTreeSet<IpAddr>) {
    wait_until(LONG, async || {
        let seen = site.addresses().await;
        if seen == *wanted { Ok(()) } else { Err(format!("users see {seen:?}, expected {wanted:?}")) }
    })
    .await;
}

pub(crate) async fn what_is_written_is_seen_by_users_and_found_again_by_the_next_sidecar<S: Site>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    assert_eq!(hand.items().await, []);
    let endpoints: Vec<_> = (1..=3).map(endpoint).collect();
    let puts: Vec<_> = endpoints.iter().map(|e| hand.put(e.clone(), None)).collect();
    hand.done(&puts).await;
    sees(&site, &addresses(&endpoints)).await;

    hand.driver.stand_down();
    let next = Hand::of(&site);
    next.fence(2).await;
    if !next.can().list {
        // Nothing can be read back, so everything is told again; and what users have meanwhile is not taken from them.
        assert_eq!(next.items().await, []);
        assert_eq!(site.addresses().await, addresses(&endpoints));
        next.done(&puts).await;
    }
    let items = next.items().await;
    for ((put, item), endpoint) in puts.iter().zip(&items).zip(&endpoints) {
        let Change::Put { place, digest, .. } = put else { unreachable!() };
        assert_eq!((&item.place, item.digest), (place, *digest), "{item:?}");
        assert_eq!((&*item.key, &*item.uid), (&*bcs_schemas::bucket::Keyed::key(endpoint), &*endpoint.uid));
    }
    assert_eq!(items.len(), puts.len(), "{items:?}");

    next.done(&removals(&items[1..])).await;
    sees(&site, &addresses(&endpoints[..1])).await;
    next.done(&removals(&items[..1])).await;
    sees(&site, &BTreeSet::new()).await;
    assert_eq!(next.items().await, []);
}

pub(crate) async fn an_entry_that_changes_is_replaced_in_place<S: Site>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let items = hand.items().await;
    let moved = Endpoint { addresses: vec!["10.9.9.9".parse().expect("an address")], ..endpoint(1) };
    let put = hand.put(moved.clone(), Some(items[0].version));
    hand.done(std::slice::from_ref(&put)).await;
    sees(&site, &addresses(&[moved, endpoint(2)])).await;
    let Change::Put { digest, .. } = put else { unreachable!() };
    let found = hand.items().await;
    assert_eq!((found.len(), found[0].digest), (2, digest), "{found:?}");
    assert_eq!(found[1].digest, items[1].digest);
}

pub(crate) async fn a_change_that_is_made_twice_is_made_once<S: Site>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let put = hand.put(endpoint(1), None);
    hand.done(std::slice::from_ref(&put)).await;
    let before = hand.items().await;
    let again = hand.driver.apply(std::slice::from_ref(&put)).await.expect("is answered");
    match (&again[..], hand.can().compare_and_set) {
        ([Outcome::Differs(Some(item))], true) => assert_eq!(*item, before[0]),
        ([Outcome::Done(_)], false) => (),
        other => panic!("{other:?}"),
    }
    sees(&site, &addresses(&[endpoint(1)])).await;
    let items = hand.items().await;
    assert_eq!((items.len(), items[0].digest), (1, before[0].digest), "{items:?}");
    hand.done(&removals(&items)).await;
    let again = hand.driver.apply(&removals(&items)).await.expect("is answered");
    assert!(matches!(&again[..], [Outcome::Done(_) | Outcome::Differs(None)]), "{again:?}");
    sees(&site, &BTreeSet::new()).await;
}

pub(crate) async fn what_somebody_else_wrote_stays_as_it_is<S: Site>() {
    let site = S::start().await;
    let foreign: IpAddr = "192.0.2.7".parse().expect("an address");
    site.add_foreign(foreign).await;
    let (hand, other) = (Hand::of(&site), Hand::owned_by("eu2", &site));
    let mut wanted = site.addresses().await;
    hand.fence(1).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    wanted.extend(addresses(&[endpoint(1)]));
    sees(&site, &wanted).await;
    if hand.can().owner == OwnerSlot::Container {
        let refused = other.driver.fence(7).await.expect_err("the container has its owner");
        assert!(refused.to_string().contains("is not ours"), "{refused}");
    } else {
        other.fence(7).await;
        assert_eq!(other.items().await, [], "another installation does not take ours for its own");
    }
    if hand.can().owner == OwnerSlot::Name {
        let refused = other.driver.apply(&[other.put(endpoint(2), None)]).await.expect("is answered");
        assert!(matches!(&refused[..], [Outcome::Foreign(words)] if words.contains("eu1")), "{refused:?}");
    }
    hand.done(&removals(&hand.items().await)).await;
    wanted.retain(|address| *address == foreign);
    sees(&site, &wanted).await;
}

pub(crate) async fn a_sidecar_that_was_replaced_writes_nothing_more<S: Site>() {
    let site = S::start().await;
    let (old, new) = (Hand::of(&site), Hand::of(&site));
    old.fence(5).await;
    old.done(&[old.put(endpoint(1), None)]).await;
    if old.can().fence == Fence::Lease {
        // No registry stops it: it falls silent when it hears of the newer one.
        old.driver.stand_down();
        new.fence(9).await;
        let late = old.driver.apply(&[old.put(endpoint(2), None)]).await;
        assert!(matches!(late, Err(Failure::Unavailable(_))), "{late:?}");
        new.done(&[new.put(endpoint(3), None)]).await;
        return sees(&site, &addresses(&[endpoint(3)])).await;
    }
    new.fence(9).await;
    assert_eq!(old.driver.apply(&[old.put(endpoint(2), None)]).await, Err(Failure::Fenced(9)));
    assert_eq!(old.driver.fence(5).await, Err(Failure::Fenced(9)));
    new.done(&removals(&new.items().await)).await;
    sees(&site, &BTreeSet::new()).await;
}

pub(crate) async fn hundreds_of_entries_are_written_in_batches<S: Site>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let endpoints: Vec<_> = (1..=300).map(endpoint).collect();
    let puts: Vec<_> = endpoints.iter().map(|e| hand.put(e.clone(), None)).collect();
    hand.done(&puts).await;
    sees(&site, &addresses(&endpoints)).await;
    let items = hand.items().await;
    assert_eq!(items.len(), 300);
    hand.done(&removals(&items)).await;
    sees(&site, &BTreeSet::new()).await;
}

pub(crate) async fn labels_are_entered_where_there_is_a_place_for_them<S: Site>() {
    let site = S::start().await;
    let mut labelled = site.spec();
    labelled["metadata"] = serde_json::json!(["corp.example/team"]);
    if !Hand::of(&site).can().metadata {
        let spec: RegistrySpec = serde_json::from_value(labelled).expect("a spec");
        let errors = spec.validate();
        assert!(matches!(&errors[..], [error] if error.field == "metadata"), "{errors:?}");
        return;
    }
    let hand = Hand::with(labelled);
    hand.fence(1).await;
    let mut read = BTreeSet::new();
    for team in ["red", "blue"] {
        let labels = [("corp.example/team".to_owned(), team.to_owned())].into();
        let over = hand.items().await.first().map(|item| item.version);
        let put = hand.put(Endpoint { labels, ..endpoint(1) }, over);
        hand.done(std::slice::from_ref(&put)).await;
        let (Change::Put { digest, .. }, items) = (put, hand.items().await) else { unreachable!() };
        assert!(matches!(&items[..], [item] if item.digest == digest), "{team}: {items:?}");
        read.insert(digest);
    }
    assert_eq!(read.len(), 2, "another label is another entry");
    sees(&site, &addresses(&[endpoint(1)])).await;
}

/// The stories as tests of one driver.
macro_rules! contract {
    ($site:ty) => {
        $crate::contract::contract!(
            $site:
            what_is_written_is_seen_by_users_and_found_again_by_the_next_sidecar,
            an_entry_that_changes_is_replaced_in_place,
            a_change_that_is_made_twice_is_made_once,
            what_somebody_else_wrote_stays_as_it_is,
            a_sidecar_that_was_replaced_writes_nothing_more,
            hundreds_of_entries_are_written_in_batches,
            labels_are_entered_where_there_is_a_place_for_them,
        );
    };
    ($site:ty: $($story:ident,)+) => {
        mod contract {
            $(
                #[tokio::test]
                async fn $story() {
                    $crate::contract::$story::<$site>().await;
                }
            )+
        }
    };
}
pub(crate) use contract;
