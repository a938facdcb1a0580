//! Beside an instance: whoever is about to stop it asks `/hold` first, and is answered when it is out of every registry. A hook
//! of Kubernetes (`preStop`) does just that, so that nothing is stopped in service whoever deletes it.

use std::{sync::Arc, time::Duration};

use bcs_kit::{bus, kv::View, run::Deps};
use bcs_schemas::{
    Name, bucket,
    observation::{Endpoint, Registration, RegistryStatus},
};
use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::Platform;
use crate::{config::Beside, domain::hold};

/// How often it is looked at what is known.
const LOOK: Duration = Duration::from_millis(100);
/// It has to be out for so many looks: a write that began a moment ago may not be heard of yet.
const LOOKS: u32 = 3;

/// What is known of the instance.
struct Hold {
    beside: Beside,
    key: String,
    endpoints: View<Endpoint>,
    registries: View<RegistryStatus>,
    said: View<Registration>,
}

/// Answers `/hold` from now on.
pub(crate) async fn open(
    platform: &Platform,
    deps: &Deps,
    cluster: &Name,
    beside: &Beside,
) -> Result<(), bus::Error> {
    let key = beside.key(cluster);
    let of_it = format!("{key}.*");
    let hold = Arc::new(Hold {
        beside: beside.clone(),
        endpoints: platform.endpoints.clone(),
        registries: platform.registries.watch(&deps.tasks, &bucket::of_cluster(cluster)),
        said: platform.registrations.watch(&deps.tasks, &of_it),
        key,
    });
    let (registries, said) = (hold.registries.clone(), hold.said.clone());
    deps.health.check("registrations", move || match registries.is_synced() && said.is_synced() {
        true => Ok(()),
        false => Err("not read yet".to_owned()),
    });
    deps.health.answer("/hold", move || hold.clone().until_out().boxed());
    Ok(())
}

impl Hold {
    async fn until_out(self: Arc<Self>) -> Result<String, String> {
        let (begun, within) = (Instant::now(), self.beside.hold_within.std());
        tracing::info!(instance = %self.key, "about to be stopped");
        let mut last = None;
        let out = async {
            let mut out = 0;
            while out < LOOKS {
                last = self.obstacle();
                out = if last.is_none() { out + 1 } else { 0 };
                sleep(LOOK).await;
            }
        };
        let out = timeout(within, out).await;
        let took = begun.elapsed().as_secs_f64();
        match (out, last) {
            (Ok(()), _) => {
                tracing::info!(instance = %self.key, took, "is out of every registry");
                Ok(format!("out of every registry after {took:.1} s"))
            }
            (Err(_), why) => {
                let why = why.unwrap_or_else(|| "nothing is in the way any more".to_owned());
                tracing::warn!(instance = %self.key, took, why, "is not held any longer");
                Err(format!("not held any longer after {took:.1} s: {why}"))
            }
        }
    }

    fn obstacle(&self) -> Option<String> {
        if !(self.endpoints.is_synced() && self.registries.is_synced() && self.said.is_synced()) {
            return Some("what is known of it was not read yet".to_owned());
        }
        let (endpoints, registries, said) =
            (self.endpoints.snapshot(), self.registries.snapshot(), self.said.snapshot());
        let said: Vec<&Registration> = said.values().map(|registration| &**registration).collect();
        let endpoint = endpoints.get(&self.key).map(|endpoint| &**endpoint);
        hold::obstacle(endpoint, registries.values().map(|status| &**status), &said)
    }
}
