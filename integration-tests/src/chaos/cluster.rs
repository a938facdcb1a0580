//! A simulated cluster as a process of its own. Its pods have addresses and do not answer there: many worlds can run
//! beside each other.

use std::path::PathBuf;

use anyhow::Result;
use bcs_kit::run::stop_signal;
use bcs_kubesim::Config;
use clap::Args;

/// How it is served.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[arg(long)]
    name: String,
    #[arg(long)]
    port: u16,
    /// Addresses of its pods
    #[arg(long)]
    network: String,
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    kubeconfig: PathBuf,
}

/// Runs until it is told to stop.
pub(super) async fn serve(serve: Serve) -> Result<()> {
    let config = Config {
        name: serve.name,
        nodes: 2,
        port: serve.port,
        pod_network: Some(serve.network.parse()?),
        data_dir: Some(serve.data),
        http: false,
        ..Config::default()
    };
    let cluster = bcs_kubesim::start(config).await?;
    cluster.write_kubeconfig(&serve.kubeconfig)?;
    stop_signal().await;
    cluster.shutdown().await;
    Ok(())
}
