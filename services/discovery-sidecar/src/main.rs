//! The sidecar as a process of its own.

use std::process::ExitCode;

use bcs_discovery_sidecar::{Config, run};

fn main() -> ExitCode {
    bcs_kit::run::main("discovery-sidecar", Config::process, |config: Config, deps| async move {
        run(config, deps).await.map_err(Into::into)
    })
}
