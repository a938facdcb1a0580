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
    reads.serve_list("address", move |_, query, page| {
        let after = query.after.as_deref().map(domain::Position::parse).transpose()?;
        let snapshot = endpoints.snapshot();
        for view in domain::in_use(snapshot.values().map(|e| &**e), query) {
            let position = domain::Position::of(&view);
            if after.as_ref().is_none_or(|after| position > *after)
                && !page.add(|| position.to_string(), view)
            {
                break;
            }
        }
        Ok(())
    });
    reads.open(&deps.bus, &deps.tasks).await
}
