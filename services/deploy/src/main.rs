//! `bcs-deploy`: the service as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    bcs_kit::run::main("deploy", bcs_kit::run::ServiceConfig::process, |config, deps| async move {
        Ok(bcs_deploy::run(&config, &deps).await.map(drop)?)
    })
}
