//! What makes an application worth a look: a decision about it, or news of its instances.

use std::collections::BTreeMap;

use bcs_kit::{Tasks, kv::View, machine::Machine, reconcile::Waker};
use bcs_schemas::Name;
use tokio::sync::broadcast::error::RecvError;

use super::views::Views;
use crate::domain::{
    app::{AppKey, KIND},
    state::Deploy,
};

/// Wakes for every decision about an application.
pub(crate) fn on_decisions(machine: &Machine<Deploy>, waker: &Waker<AppKey>, tasks: &Tasks) {
    let (machine, waker, stopping) = (machine.clone(), waker.clone(), tasks.stopping());
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
                Err(RecvError::Lagged(_)) => wake_all(&machine, &waker),
                Err(RecvError::Closed) => return,
            }
        }
    });
}

/// Wakes for every change of an instance, a workload or a registration, and for everyone when a cluster or a registry
/// comes, goes, or becomes (un)usable. A mere heartbeat wakes nobody.
pub(crate) fn on_observations(
    machine: &Machine<Deploy>,
    views: &Views,
    waker: &Waker<AppKey>,
    tasks: &Tasks,
) {
    on_instances(&views.endpoints, machine, waker, tasks);
    on_instances(&views.workloads, machine, waker, tasks);
    on_instances(&views.registrations, machine, waker, tasks);
    on_turns(&views.clusters, |health| (health.reachable, health.synced), machine, waker, tasks);
    on_turns(&views.registries, |_| (), machine, waker, tasks);
}

fn on_instances<T: Send + Sync + 'static>(
    view: &View<T>,
    machine: &Machine<Deploy>,
    waker: &Waker<AppKey>,
    tasks: &Tasks,
) {
    let (mut changes, stopping) = (view.changes(), tasks.stopping());
    let (machine, waker) = (machine.clone(), waker.clone());
    tasks.spawn("wake-on-instances", async move {
        loop {
            let change = tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.next() => change,
            };
            let Some(change) = change else { return };
            match app_of(&change.key) {
                _ if change.everything() => wake_all(&machine, &waker),
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

fn on_turns<T, W>(
    view: &View<T>,
    turn: fn(&T) -> W,
    machine: &Machine<Deploy>,
    waker: &Waker<AppKey>,
    tasks: &Tasks,
) where
    T: Send + Sync + 'static,
    W: PartialEq + Send + 'static,
{
    let (mut changes, stopping) = (view.changes(), tasks.stopping());
    let snapshot = view.snapshot();
    let (machine, waker) = (machine.clone(), waker.clone());
    tasks.spawn("wake-on-turns", async move {
        let mut known: BTreeMap<String, W> =
            snapshot.iter().map(|(key, value)| (key.clone(), turn(value))).collect();
        loop {
            let change = tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.next() => change,
            };
            let Some(change) = change else { return };
            let before = known.remove(&change.key);
            let after = change.value.as_deref().map(turn);
            if before != after || change.everything() {
                wake_all(&machine, &waker);
            }
            known.extend(after.map(|turn| (change.key, turn)));
        }
    });
}

fn wake_all(machine: &Machine<Deploy>, waker: &Waker<AppKey>) {
    machine.live().state.apps.keys().cloned().for_each(|key| waker.wake(key));
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
