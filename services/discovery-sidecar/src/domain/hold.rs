//! Whether an instance that is about to be stopped is out of service everywhere. Pure.

use bcs_schemas::observation::{Endpoint, EndpointPhase, Registration, RegistrationState, RegistryStatus};

/// What still stands against it, or nothing. `registries` and `said` are those of its cluster and of the instance; one that the
/// cluster does not know was never entered, unless somebody said so.
pub fn obstacle<'a>(
    endpoint: Option<&Endpoint>,
    mut registries: impl Iterator<Item = &'a RegistryStatus>,
    said: &[&Registration],
) -> Option<String> {
    let open = |registration: &Registration| {
        let registry = &registration.registry;
        (registration.state != RegistrationState::Drained).then(|| match &registration.reason {
            Some(reason) => format!("registry {registry}: {reason}"),
            None => format!("registry {registry} has not confirmed that it is out"),
        })
    };
    let Some(endpoint) = endpoint else { return said.iter().find_map(|registration| open(registration)) };
    if !endpoint.stopping && !matches!(endpoint.phase, EndpointPhase::Draining | EndpointPhase::Gone) {
        return Some(format!("cluster {} has not said yet that it is leaving", endpoint.cluster));
    }
    let of_this = |registration: &&&Registration| registration.uid == endpoint.uid;
    let mute = |status: &RegistryStatus| {
        let takes = status.scope.takes(&status.registry, endpoint.applicant());
        let heard = said.iter().filter(of_this).any(|registration| registration.registry == status.registry);
        (takes && !heard).then(|| format!("registry {} has not confirmed that it is out", status.registry))
    };
    said.iter()
        .filter(of_this)
        .find_map(|registration| open(registration))
        .or_else(|| registries.find_map(mute))
}

#[cfg(test)]
mod tests {
    use bcs_schemas::resource::registry::{AppSelector, Scope};
    use jiff::Timestamp;

    use super::*;
    use crate::testing;

    fn status(registry: &str, apps: &[&str]) -> RegistryStatus {
        let apps = apps.iter().map(|app| testing::name(app)).collect();
        let status = serde_json::json!({
            "cluster": "sim-a", "registry": registry, "driver": "etcd", "reachable": true, "epoch": 1, "entries": 0, "pending": 0,
            "drift_repaired": 0, "quarantined": 0, "writes": 0, "failures": 0, "observed_at": Timestamp::UNIX_EPOCH,
        });
        let only_if = Some(AppSelector { apps, ..AppSelector::default() });
        let status: RegistryStatus = serde_json::from_value(status).expect("a status");
        RegistryStatus { scope: Scope { opt_in: false, only_if }, ..status }
    }

    fn said(registry: &str, uid: &str, state: RegistrationState, reason: Option<&str>) -> Registration {
        let endpoint = testing::endpoint("web", 1);
        Registration {
            cluster: endpoint.cluster,
            project: endpoint.project,
            app: endpoint.app,
            instance: endpoint.instance,
            uid: uid.to_owned(),
            registry: testing::name(registry),
            address: String::new(),
            state,
            reason: reason.map(ToOwned::to_owned),
            since: Timestamp::UNIX_EPOCH,
            retry_at: None,
            observed_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_instance_is_held_until_every_registry_that_takes_it_says_that_it_is_out() {
        use EndpointPhase::{Draining, Ready};
        use RegistrationState::{Confirmed, Drained};
        let ours = "uid-web-1";
        let drained = |registry| said(registry, ours, Drained, None);
        for (phase, registries, registrations, expected) in [
            (Some(Ready), vec![], vec![], Some("cluster sim-a has not said yet that it is leaving")),
            (Some(Draining), vec![], vec![], None),
            (Some(Draining), vec![status("dns", &[])], vec![], Some("registry dns has not confirmed")),
            (Some(Draining), vec![status("dns", &["api"])], vec![], None),
            (Some(Draining), vec![status("dns", &[])], vec![drained("dns")], None),
            (
                Some(Draining),
                vec![status("dns", &[]), status("lb", &["web"])],
                vec![drained("dns")],
                Some("registry lb has not confirmed"),
            ),
            // Asked or not, who knows it must say so.
            (
                Some(Draining),
                vec![],
                vec![said("lb", ours, Confirmed, Some("is away"))],
                Some("registry lb: is away"),
            ),
            // What is said of another incarnation counts for nothing.
            (
                Some(Draining),
                vec![status("dns", &[])],
                vec![said("dns", "other", Drained, None)],
                Some("registry dns has not confirmed"),
            ),
            (None, vec![status("dns", &[])], vec![], None),
            (None, vec![], vec![said("dns", ours, Confirmed, None)], Some("registry dns has not confirmed")),
            (None, vec![], vec![drained("dns")], None),
        ] {
            let endpoint = phase.map(|phase| Endpoint { phase, ..testing::endpoint("web", 1) });
            let registrations: Vec<_> = registrations.iter().collect();
            let told = obstacle(endpoint.as_ref(), registries.iter(), &registrations);
            let fits = match (&told, expected) {
                (Some(told), Some(expected)) => told.starts_with(expected),
                (told, expected) => told.is_none() == expected.is_none(),
            };
            assert!(fits, "{phase:?} {registries:?} {registrations:?}: {told:?}, expected {expected:?}");
        }
    }
}
