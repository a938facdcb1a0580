//! `bcs-network`: the service as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    bcs_kit::run::main("network", bcs_kit::run::ServiceConfig::process, |config, deps| async move {
        Ok(bcs_network::run(&config, &deps).await.map(drop)?)
    })
}
