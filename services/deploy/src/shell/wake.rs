//! What makes an application worth a look: a decision about it, or news of its instances.

use std::{collections::BTreeSet, sync::Arc};

use bcs_kit::{Tasks, kv::View, machine::Machine, reconcile::Waker};
use bcs_schemas::{Name, observation::ClusterHealth};
use tokio::sync::broadcast::error::RecvError;

use super::views::Views;
use crate::domain::{
    app::{AppKey, KIND},
    state::Deploy,
};

/// Wakes for every decision about an application.
pub(crate) fn on_decisions(machine: &Machine<Deploy>, waker: &Waker<AppKey>, tasks: &Tasks) {
    let (waker, stopping) = (waker.clone(), tasks.stopping());
    let mut touched = machine.touched();
    tasks.spawn("wake-on-decisions", async move {
        loop {
            let target = tokio::select! {
                () = stopping.cancelled() => return,
                target = touched.recv() => target,
            };
            match target {
                Ok(target) if target.kind.as_str() == KIND => waker.wake(AppKey::of(&target)),
                Ok(_) => (),
                Err(RecvError::Lagged(_)) => waker.wake_all(),
                Err(RecvError::Closed) => return,
            }
        }
    });
}

/// Wakes for every change of an instance, a workload or a registration, and for everyone when a cluster or a registry
/// comes, goes, or becomes (un)usable. A mere heartbeat wakes nobody.
pub(crate) fn on_observations(views: &Views, waker: &Waker<AppKey>, tasks: &Tasks) {
    on_instances(&views.endpoints, waker, tasks);
    on_instances(&views.workloads, waker, tasks);
    on_instances(&views.registrations, waker, tasks);
    on_heartbeats(views, waker, tasks);
    on_turns(&views.registries, waker, tasks);
}

/// Hears every heartbeat; wakes everyone when one says something new, or ends a silence.
fn on_heartbeats(views: &Views, waker: &Waker<AppKey>, tasks: &Tasks) {
    let (views, waker, stopping) = (views.clone(), waker.clone(), tasks.stopping());
    let mut changes = views.clusters.changes();
    let mut known = views.clusters.snapshot();
    views.pulses.hear(&known);
    tasks.spawn("wake-on-heartbeats", async move {
        loop {
            let change = tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.next() => change,
            };
            if change.is_none() {
                return;
            }
            let now = views.clusters.snapshot();
            let ended = views.pulses.hear(&now);
            if ended || now.iter().map(told).ne(known.iter().map(told)) {
                waker.wake_all();
            }
            known = now;
        }
    });
}

/// What a heartbeat says, beside that it beats.
fn told<'a>((cluster, health): (&'a String, &Arc<ClusterHealth>)) -> (&'a String, bool, bool) {
    (cluster, health.reachable, health.synced)
}

fn on_instances<T: Send + Sync + 'static>(view: &View<T>, waker: &Waker<AppKey>, tasks: &Tasks) {
    let (mut changes, stopping, waker) = (view.changes(), tasks.stopping(), waker.clone());
    tasks.spawn("wake-on-instances", async move {
        loop {
            let change = tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.next() => change,
            };
            let Some(change) = change else { return };
            match app_of(&change.key) {
                _ if change.everything() => waker.wake_all(),
                Some(key) => waker.wake(key),
                None => (),
            }
        }
    });
}

/// The application in a key such as `sim-a.demo.shop-web.…`.
fn app_of(key: &str) -> Option<AppKey> {
    let mut tokens = key.split('.').skip(1);
    Some(AppKey { project: Name::new(tokens.next()?).ok()?, name: Name::new(tokens.next()?).ok()? })
}

/// Wakes everyone when a key comes or goes.
fn on_turns<T>(view: &View<T>, waker: &Waker<AppKey>, tasks: &Tasks)
where
    T: Send + Sync + 'static,
{
    let (mut changes, stopping, waker) = (view.changes(), tasks.stopping(), waker.clone());
    let mut known: BTreeSet<String> = view.snapshot().keys().cloned().collect();
    tasks.spawn("wake-on-turns", async move {
        loop {
            let change = tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.next() => change,
            };
            let Some(change) = change else { return };
            let (everything, there) = (change.everything(), change.value.is_some());
            let turned = if there { known.insert(change.key) } else { known.remove(&change.key) };
            if turned || everything {
                waker.wake_all();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_names_its_application() {
        let key = app_of("sim-a.demo.shop-web.shop-web-6d4f-x2x1z.etcd").map(|k| k.to_string());
        assert_eq!(key.as_deref(), Some("demo/shop-web"));
        assert_eq!(app_of("sim-a"), None);
    }
}
