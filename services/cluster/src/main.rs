//! `bcs-cluster`: the service as a process of its own; `bcs-cluster agent`: only the agent of one cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("agent") {
        return bcs_cluster::remote::main();
    }
    bcs_kit::run::main("cluster", bcs_cluster::Config::process, |config, deps| async move {
        Ok(bcs_cluster::run(&config, &deps).await.map(drop)?)
    })
}
