//! A connection for the tests in this crate.

use std::time::Duration;

use bcs_testbus::TestBus;
use tokio::time::Instant;

use super::{Bus, BusConfig};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

impl Bus {
    /// To a bus that has just been started, with every stream and bucket.
    pub(crate) async fn to_test(nats: &TestBus) -> Self {
        let config = BusConfig { url: nats.url(), replicas: nats.replicas(), ..BusConfig::default() };
        let end = Instant::now() + LONG;
        let bus = loop {
            match Self::connect(&config, "test").await {
                Ok(bus) => break bus,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        bus.provision_within(LONG).await.expect("streams and buckets");
        bus
    }
}
