//! Registries that this sidecar kept once and is not configured with any more. As long as its word about them stands,
//! instances wait for their confirmation; so it takes its word back. What another sidecar says is never touched: it
//! has another name, or it is heard of while we wait.

use bcs_kit::{bus, telemetry::chain};
use bcs_schemas::{Name, bucket, observation::RegistryStatus};
use futures::{StreamExt, TryStreamExt, stream};

use super::{AGAIN, Platform};
use crate::filter;

/// Runs once, at the start.
pub(crate) async fn forget(platform: Platform, name: Name) {
    let stopping = platform.tasks.stopping();
    let forgotten = async {
        while let Err(error) = Box::pin(once(&platform, &name)).await {
            tracing::warn!(error = %chain(&error), "former registries cannot be looked for, trying again");
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = stopping.cancelled() => (),
        () = forgotten => (),
    }
}

async fn once(platform: &Platform, name: &Name) -> Result<(), bus::Error> {
    let found = platform.registries.list(&filter(platform.config.cluster.as_ref())).await?;
    let former: Vec<(String, RegistryStatus)> =
        found.into_iter().filter(|(_, status)| ours(platform, name, status)).collect();
    if former.is_empty() {
        return Ok(());
    }
    // A sidecar that lives writes its status anew within this time.
    tokio::time::sleep(platform.config.takeover_after.std()).await;
    for (key, before) in former {
        match platform.registries.glance(&key).await? {
            Some((now, revision)) if now.observed_at == before.observed_at => {
                take_back(platform, &key, &before, revision).await?;
            }
            Some(_) => {
                tracing::warn!(key, %name, "another sidecar of this name keeps a registry that this one is not \
                configured with: give each a name of its own")
            }
            None => (),
        }
    }
    Ok(())
}

fn ours(platform: &Platform, name: &Name, status: &RegistryStatus) -> bool {
    let kept = platform.config.registries.iter().any(|registry| registry.metadata.name == status.registry);
    status.sidecar.as_ref() == Some(name) && !kept
}

/// First what was said about instances, last the status: whatever interrupts it, the next start finds the status again.
async fn take_back(
    platform: &Platform,
    key: &str,
    status: &RegistryStatus,
    revision: u64,
) -> Result<(), bus::Error> {
    let said = platform.registrations.list(&bucket::of_cluster(&status.cluster)).await?;
    let said = said.into_iter().filter(|(_, registration)| registration.registry == status.registry);
    stream::iter(said)
        .map(|(key, _)| async move { platform.registrations.delete(&key).await })
        .buffer_unordered(64)
        .try_collect::<()>()
        .await?;
    if platform.registries.delete_if(key, revision).await? {
        tracing::info!(registry = %status.registry, cluster = %status.cluster, "not kept any more: its confirmation is not waited for");
    }
    Ok(())
}
