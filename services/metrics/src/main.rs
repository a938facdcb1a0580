//! `bcs-metrics`: the service as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    bcs_kit::run::main("metrics", bcs_kit::run::ServiceConfig::process, |config, deps| async move {
        Ok(bcs_metrics::run(&config, &deps).await.map(drop)?)
    })
}
