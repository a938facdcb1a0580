//! The etcd driver alone against a real etcd.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use bcs_discovery_sidecar::{
    domain::{Change, Failure, Naming, Outcome},
    driver::{Drift, Driver, Owner, open},
};
use futures::StreamExt;

use crate::{
    contract::Site,
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
};

impl Site for Etcd {
    async fn start() -> Self {
        Self::start().await
    }

    fn spec(&self) -> serde_json::Value {
        serde_json::json!({ "driver": { "etcd": { "endpoints": [self.url()] } } })
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let hosts = self.keys("/skydns/local/bcs/shop/web/").await.into_iter().map(|(_, value)| {
            let value: serde_json::Value = serde_json::from_str(&value).expect("JSON");
            value["host"].as_str().and_then(|host| host.parse().ok()).expect("an address")
        });
        hosts.collect()
    }

    async fn add_foreign(&self, address: IpAddr) {
        let value = serde_json::json!({ "host": address }).to_string();
        self.client().await.put("/skydns/local/bcs/shop/web/theirs", value, None).await.expect("writes");
    }
}

crate::contract::contract!(super::Etcd);
crate::adoption::stories!(super::Etcd);

impl crate::adoption::Kept for Etcd {
    async fn unkeep(&self, address: IpAddr) {
        let found = self.keys("/skydns/local/bcs/shop/web/").await;
        let its =
            found.iter().find(|(_, value)| value.contains(&format!("\"{address}\""))).expect("is there");
        self.client().await.delete(its.0.as_str(), None).await.expect("deletes");
    }
}

impl Faulty for Etcd {
    const NAME: &'static str = "etcd";
    const ABLE: Able = Able::of(&[Able::WAY, Able::SERVER, &[Fault::TakenOut, Fault::Compacted]]);

    fn port(&self) -> u16 {
        self.port()
    }

    async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
        let spec = |address: &str| serde_json::json!({ "driver": { "etcd": { "endpoints": [format!("http://{address}")] } } });
        wires(port, spec).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.down();
        if with_its_data {
            self.forget();
        }
    }

    async fn up(&mut self) {
        self.up().await;
    }

    async fn theirs(&self) -> String {
        let options = etcd_client::GetOptions::new().with_prefix();
        let found = self.client().await.get("/skydns/", Some(options)).await.expect("reads");
        let theirs =
            found.kvs().iter().filter(|kv| !kv.value_str().is_ok_and(|v| v.contains("eu1.sim-a.dns")));
        theirs.map(|kv| format!("{:?} {:?} {}\n", kv.key_str(), kv.value_str(), kv.mod_revision())).collect()
    }

    async fn take_out(&self, address: IpAddr) {
        let host = format!("\"host\":\"{address}\"");
        let keys = self.keys("/skydns/local/bcs/shop/web/").await;
        for (key, _) in keys.into_iter().filter(|(_, value)| value.contains(&host)) {
            self.client().await.delete(key, None).await.expect("deletes");
        }
    }

    async fn compact(&self) {
        let mut client = self.client().await;
        let now = client.get("ready", None).await.expect("reads").header().map_or(0, |h| h.revision());
        // It may be compacted up to there already.
        let _ = client.compact(now, None).await;
    }
}

crate::faults::faults!(Etcd);

fn driver(etcd: &Etcd) -> (Arc<dyn Driver>, Naming) {
    driver_of(etcd, "sim-a")
}

fn driver_of(etcd: &Etcd, cluster: &str) -> (Arc<dyn Driver>, Naming) {
    let owner = Owner {
        platform: name("eu1"),
        cluster: name(cluster),
        registry: name("dns"),
        installation: "one".to_owned(),
    };
    let spec = etcd.registry("dns").spec;
    (open(&spec, &owner), Naming::of(&owner.registry, &spec))
}

fn put(driver: &Arc<dyn Driver>, naming: &Naming, number: u32) -> Change {
    let entry = naming.entry(&Arc::new(endpoint(number))).expect("an entry");
    Change::Put { place: driver.place(&entry), digest: driver.digest(&entry), entry, over: None }
}

#[tokio::test]
async fn a_sidecar_with_an_older_epoch_is_refused() {
    let etcd = Etcd::start().await;
    let ((old, naming), (new, _)) = (driver(&etcd), driver(&etcd));
    old.fence(5).await.expect("fences");
    old.apply(&[put(&old, &naming, 1)]).await.expect("writes");
    new.fence(9).await.expect("fences");
    assert_eq!(old.apply(&[put(&old, &naming, 2)]).await, Err(Failure::Fenced(9)));
    assert_eq!(old.fence(5).await, Err(Failure::Fenced(9)));
    let items = new.list().await.expect("reads").items;
    assert_eq!(items.len(), 1, "the newer one finds what the older one wrote");
    let remove = Change::Remove { place: items[0].place.clone(), version: items[0].version };
    assert!(matches!(new.apply(&[remove]).await.as_deref(), Ok([Outcome::Done(_)])));
    assert_eq!(etcd.keys("/bcs/epoch/").await, [("/bcs/epoch/eu1.sim-a.dns".to_owned(), "9".to_owned())]);
}

#[tokio::test]
async fn sidecars_of_one_installation_that_begin_together_all_begin() {
    let etcd = Etcd::start().await;
    let drivers = ["sim-a", "sim-b", "sim-c", "sim-d"].map(|cluster| driver_of(&etcd, cluster).0);
    let fenced = futures::future::join_all(drivers.iter().map(|driver| driver.fence(1))).await;
    assert_eq!(fenced, [Ok(()), Ok(()), Ok(()), Ok(())]);
}

#[tokio::test]
async fn an_entry_of_somebody_else_is_named_and_not_touched() {
    let etcd = Etcd::start().await;
    let (driver, naming) = driver(&etcd);
    driver.fence(1).await.expect("fences");
    let (taken, free) = (put(&driver, &naming, 1), put(&driver, &naming, 2));
    let mut client = etcd.client().await;
    let foreign = r#"{"host":"1.2.3.4","owner":"somebody"}"#;
    client.put(&**taken.place(), foreign, None).await.expect("writes");
    let outcomes = driver.apply(&[taken.clone(), free]).await.expect("is answered");
    assert!(
        matches!(&outcomes[0], Outcome::Foreign(words) if words.contains(&**taken.place()) && words.contains("somebody")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Outcome::Again);
    assert_eq!(driver.list().await.expect("reads").items, []);
    assert_eq!(etcd.keys(taken.place()).await[0].1, foreign);
}

#[tokio::test]
async fn changes_by_others_are_told_and_our_own_are_not() {
    let etcd = Etcd::start().await;
    let (driver, naming) = driver(&etcd);
    driver.fence(1).await.expect("fences");
    let since = driver.list().await.expect("reads").at;
    let mut drifts = driver.drift(since).await.expect("watches");
    let changes = [put(&driver, &naming, 1), put(&driver, &naming, 2)];
    driver.apply(&changes).await.expect("writes");
    let place = changes[1].place().clone();
    etcd.client().await.delete(&*place, None).await.expect("deletes");
    let drift = tokio::time::timeout(LONG, drifts.next()).await.expect("is told");
    assert_eq!(drift, Some(Ok(Drift::Place(place, None))));
}

#[tokio::test]
async fn an_entry_that_etcd_does_not_take_is_its_own_fault() {
    let etcd = Etcd::start_with(&["--max-request-bytes=20000"]).await;
    let (driver, naming) = driver(&etcd);
    driver.fence(1).await.expect("fences");
    let big = bcs_schemas::observation::Endpoint { uid: "x".repeat(30_000), ..endpoint(1) };
    let entry = naming.entry(&Arc::new(big)).expect("an entry");
    let poison = Change::Put { place: driver.place(&entry), digest: 0, entry, over: None };
    let answer = driver.apply(&[put(&driver, &naming, 2), poison]).await;
    assert!(matches!(&answer, Err(Failure::Rejected(words)) if words.contains("too large")), "{answer:?}");
    driver.apply(&[put(&driver, &naming, 2)]).await.expect("the other one is taken");
}

#[tokio::test]
async fn more_entries_than_a_page_are_read() {
    let etcd = Etcd::start().await;
    let (driver, naming) = driver(&etcd);
    driver.fence(1).await.expect("fences");
    let changes: Vec<Change> = (0..4100).map(|i| put(&driver, &naming, i)).collect();
    for batch in changes.chunks(driver.capabilities().batch) {
        driver.apply(batch).await.expect("writes");
    }
    assert_eq!(driver.list().await.expect("reads").items.len(), changes.len());
}
