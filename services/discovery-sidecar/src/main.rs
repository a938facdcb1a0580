//! The sidecar as a process of its own.

use std::process::ExitCode;

use bcs_discovery_sidecar::{Config, run};

/// What was needed for a burst is given back; the system's own allocator keeps most of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    bcs_kit::run::main("discovery-sidecar", Config::process, |config: Config, deps| async move {
        run(config, deps).await.map_err(Into::into)
    })
}
