//! A port in the network of a pod that nobody else in it wants.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Container;

/// Those that are tried, in words.
pub(super) const CHOICE: &str = "8190 to 8199";
const FIRST: u16 = 8190;
const LAST: u16 = 8199;

/// One that no container names as its own.
pub(super) fn free<'a>(containers: impl Iterator<Item = &'a Container>) -> Option<u16> {
    let taken: BTreeSet<i32> =
        containers.flat_map(|c| c.ports.iter().flatten()).map(|port| port.container_port).collect();
    (FIRST..=LAST).find(|port| !taken.contains(&i32::from(*port)))
}
