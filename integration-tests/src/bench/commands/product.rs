//! The side of the product: a process with a machine of the kit, asked through the client.

use std::{io::Write, time::Duration};

use anyhow::{Result, bail};
use bcs_client::Client;
use bcs_kit::{Bus, Clock, Tasks, bus::BusConfig, machine::Machine, run::stop_signal};
use bcs_schemas::{Name, outcome::Outcome, subject::Target};

use super::{
    PUBLISHERS, Publisher, READY, Serve, Side,
    sink::{Body, Keep, Sink},
};
use crate::harness::Process;

/// A command has its outcome within this time, or the run is void.
const LONGEST: Duration = Duration::from_secs(20);

/// The service.
pub(in crate::bench) async fn serve(serve: Serve) -> Result<()> {
    let tasks = Tasks::new();
    let bus = Bus::connect(&BusConfig { url: serve.nats, ..BusConfig::default() }, "network").await?;
    bus.provision().await?;
    let clock = Clock::system();
    let machine = Machine::<Sink>::start(&serve.database, &clock, &tasks).await?;
    machine.lead(&bus, &clock, &tasks, None, async |_| Ok(()));
    machine.leading().await;
    writeln!(std::io::stdout(), "{READY}")?;
    stop_signal().await;
    tasks.stop(Duration::from_secs(5)).await;
    Ok(())
}

pub(super) struct Ours {
    client: Client,
    target: Target,
    body: Body,
}

/// Its publishers share a connection, as those of the floor do.
pub(super) async fn side(process: Process, nats: &str) -> Result<Side<Ours>> {
    let config = BusConfig { url: nats.to_owned(), ..BusConfig::default() };
    let client = Client::connect(&config, "bench").await?;
    let publisher = |number: usize| {
        let name = Name::new(format!("publisher-{number}"))?;
        let target = bcs_kit::machine::target(&Name::system(), "body", &name);
        Ok(Ours { client: client.clone(), target, body: Body::sized() })
    };
    let publishers = (0..PUBLISHERS).map(publisher).collect::<Result<_>>()?;
    Ok(Side { process, publishers, jetstream: client.bus().jetstream().clone(), events: "EVT_NETWORK" })
}

impl Publisher for Ours {
    async fn ask(&mut self) -> Result<()> {
        let command = self.client.command(self.target.clone(), Keep(self.body.clone()));
        match command.send(LONGEST).await? {
            Outcome::Accepted(_) => Ok(()),
            Outcome::Rejected(rejected) => bail!("a command was rejected: {}", rejected.message),
        }
    }
}
