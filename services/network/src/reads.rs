//! `bcs.qry.network.address.list`.

use bcs_kit::{bus, kv::View, machine::Machine, reads::Reads, run::Deps};
use bcs_schemas::{Service, observation::Endpoint};

use crate::{Network, domain};

pub(crate) async fn open(
    machine: &Machine<Network>,
    endpoints: View<Endpoint>,
    deps: &Deps,
) -> Result<(), bus::Error> {
    let reads = Reads::open(Service::Network, machine.clone(), &deps.bus, &deps.clock, &deps.tasks).await?;
    reads
        .serve("address", "list", move |_, query| {
            Ok(domain::in_use(endpoints.snapshot().values().map(|e| &**e), query))
        })
        .await
}
