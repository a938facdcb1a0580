//! What makes an application worth a look: a decision about it, or news of its instances.

use bcs_kit::{Tasks, kv::View, machine::Machine, reconcile::Waker};
use bcs_schemas::{Name, observation::ClusterHealth};
use tokio::sync::broadcast::error::RecvError;

use super::views::Views;
use crate::domain::{
    app::{AppKey, KIND},
    observed::SILENCE,
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
    on_turns(&views.clusters, turned, waker, tasks);
    on_turns(&views.registries, |_, _| false, waker, tasks);
}

/// Whether two heartbeats of a cluster say different things, or the later one ends a silence.
fn turned(before: &ClusterHealth, after: &ClusterHealth) -> bool {
    let told = |health: &ClusterHealth| (health.reachable, health.synced);
    told(before) != told(after) || after.observed_at.duration_since(before.observed_at) > SILENCE
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

fn on_turns<T>(view: &View<T>, turned: fn(&T, &T) -> bool, waker: &Waker<AppKey>, tasks: &Tasks)
where
    T: Send + Sync + 'static,
{
    let (mut changes, stopping, waker) = (view.changes(), tasks.stopping(), waker.clone());
    let mut known = view.snapshot();
    tasks.spawn("wake-on-turns", async move {
        loop {
            let change = tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.next() => change,
            };
            let Some(change) = change else { return };
            let before = known.remove(&change.key);
            let same = match (&before, &change.value) {
                (Some(before), Some(after)) => !turned(before, after),
                (before, after) => before.is_none() && after.is_none(),
            };
            if !same || change.everything() {
                waker.wake_all();
            }
            known.extend(change.value.map(|value| (change.key, value)));
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

    #[test]
    fn a_heartbeat_wakes_when_it_says_something_new_or_ends_a_silence() {
        let heartbeat = |second, synced| ClusterHealth {
            cluster: Name::system(),
            reachable: true,
            reason: None,
            synced,
            version: None,
            nodes: 1,
            nodes_ready: 1,
            capacity: Default::default(),
            observed_at: jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(second),
        };
        assert!(!turned(&heartbeat(0, true), &heartbeat(5, true)));
        assert!(turned(&heartbeat(0, false), &heartbeat(5, true)));
        assert!(turned(&heartbeat(0, true), &heartbeat(50, true)));
    }
}
