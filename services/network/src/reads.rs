//! `bcs.qry.network.address.list`.

use bcs_kit::{bus, kv::View, machine::Machine, reads::Reads, run::Deps};
use bcs_schemas::{Service, observation::Endpoint};

use crate::{Network, domain};

pub(crate) async fn open(
    machine: &Machine<Network>,
    endpoints: View<Endpoint>,
    deps: &Deps,
) -> Result<(), bus::Error> {
    let mut reads = Reads::new(Service::Network, machine.clone(), &deps.clock);
    reads.serve("address", "list", move |_, query| {
        Ok(domain::in_use(endpoints.snapshot().values().map(|e| &**e), query))
    });
    reads.open(&deps.bus, &deps.tasks).await
}
