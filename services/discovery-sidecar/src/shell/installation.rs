//! Which installation of BCS this is: an id that its bus keeps. A registry that others write to remembers which one has a
//! name there, and refuses a second one of the same name.

use bcs_kit::{Clock, bus, kv::Store};

/// In the bucket of leases.
const KEY: &str = "installation";

/// The id; made by the first sidecar that ever asked.
pub(crate) async fn id(leases: &Store<String>, clock: &Clock) -> Result<String, bus::Error> {
    loop {
        if let Some((id, _)) = leases.get(KEY).await? {
            return Ok(id);
        }
        let fresh = clock.fresh_id().to_string();
        if leases.put_new(KEY, &fresh).await?.is_some() {
            return Ok(fresh);
        }
        // Another sidecar was faster.
    }
}

/// Tells a bus that lost its memory who it was.
pub(crate) async fn remind(leases: &Store<String>, id: &String) -> Result<(), bus::Error> {
    match leases.get(KEY).await? {
        Some(_) => Ok(()),
        None => leases.put_if(KEY, id, 0).await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use bcs_kit::{Bus, bus::BusConfig};
    use bcs_schemas::bucket::LEASES;
    use bcs_testbus::{Servers, TestBus};
    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;

    bcs_testbus::on_one_and_three!(many_that_ask_first_at_once_hear_the_same_id);

    const LONG: Duration = Duration::from_secs(60);

    async fn connect(config: &BusConfig) -> Bus {
        let end = Instant::now() + LONG;
        loop {
            match Bus::connect(config, "test").await {
                Ok(bus) => return bus,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn many_that_ask_first_at_once_hear_the_same_id(servers: Servers) {
        let nats = TestBus::start(servers);
        let config = BusConfig { url: nats.url(), replicas: nats.replicas(), ..BusConfig::default() };
        let bus = connect(&config).await;
        bus.provision_within(LONG).await.expect("streams and buckets");
        let (leases, clock) = (bus.bucket(LEASES).await.expect("a bucket"), Clock::system());
        for _ in 0..20 {
            let asked = join_all((0..10).map(|_| id(&leases, &clock))).await;
            let heard: BTreeSet<String> = asked.into_iter().map(|id| id.expect("an id")).collect();
            assert_eq!(heard.len(), 1, "{heard:?}");
            leases.delete(KEY).await.expect("deletes");
        }
    }
}
