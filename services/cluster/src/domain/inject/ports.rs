//! Ports in the network of a pod that nobody else in it wants.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Container;

/// Those that are tried, in words.
pub(super) const CHOICE: &str = "8190 to 8199";
const FIRST: u16 = 8190;
const LAST: u16 = 8199;

/// Where the sidecar listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// `/hold`.
    pub(super) hold: u16,
    /// `/healthz`.
    pub(super) health: u16,
}

impl Ports {
    /// Two that no container names as its own.
    pub(super) fn free<'a>(containers: impl Iterator<Item = &'a Container>) -> Option<Self> {
        let taken: BTreeSet<i32> =
            containers.flat_map(|c| c.ports.iter().flatten()).map(|port| port.container_port).collect();
        let mut free = (FIRST..=LAST).filter(|port| !taken.contains(&i32::from(*port)));
        Some(Self { hold: free.next()?, health: free.next()? })
    }
}
