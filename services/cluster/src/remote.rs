//! The agent as a process of its own, inside the member cluster: it dials out to the bus, so the cluster needs no open
//! port. Everything that it needs comes on the command line.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bcs_kit::{
    Bus, Clock, Tasks,
    bus::BusConfig,
    run::stop_signal,
    telemetry::{self, TelemetryConfig, chain},
};
use bcs_schemas::{
    Name,
    resource::{
        ClusterSpec,
        cluster::{AgentPlace, EngineKind, SecretRef},
    },
};
use clap::Parser;

use crate::{config::AgentConfig, shell::agent::Agent};

/// How long tasks may wind down.
const WIND_DOWN: Duration = Duration::from_secs(10);
/// Pause between attempts to reach the bus.
const AGAIN: Duration = Duration::from_secs(2);

/// Run the agent of one cluster
#[derive(Clone, Debug, Parser)]
#[command(name = "bcs-cluster agent")]
pub struct Arguments {
    /// Name of the cluster, as it was imported
    #[arg(long)]
    pub cluster: Name,
    /// Kubeconfig file
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Context in the kubeconfig; its current one when absent
    #[arg(long)]
    pub context: Option<String>,
    /// Where the bus is
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    /// Site that the cluster belongs to
    #[arg(long, default_value = "local")]
    pub site: Name,
    /// Credentials file for the bus
    #[arg(long)]
    pub credentials: Option<PathBuf>,
}

/// Runs the agent until SIGINT or SIGTERM.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse_from(std::env::args().skip(1));
    let guard = match telemetry::init(&TelemetryConfig::default(), "agent") {
        Ok(guard) => guard,
        Err(error) => return complain(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let code = runtime.block_on(async {
        let tasks = Tasks::new();
        tokio::select! {
            () = stop_signal() => (),
            () = tasks.stopping().cancelled_owned() => (),
            () = Box::pin(run(arguments, &tasks)) => (),
        }
        if tasks.stop(WIND_DOWN).await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    });
    drop(guard);
    code
}

/// Starts the agent and stays; a bus that cannot be reached, or has no buckets yet, is tried for ever.
pub async fn run(arguments: Arguments, tasks: &Tasks) {
    loop {
        let group = tasks.child();
        match Box::pin(start(arguments.clone(), &group)).await {
            Ok(()) => return group.stopping().cancelled().await,
            Err(error) => tracing::warn!(error = chain(&error), "agent did not start, trying again"),
        }
        group.stop(WIND_DOWN).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn start(arguments: Arguments, tasks: &Tasks) -> Result<(), bcs_kit::bus::Error> {
    let Arguments { cluster, kubeconfig, context, nats, site, credentials } = arguments;
    // The kubeconfig may be named from where the agent was started.
    let file = std::path::absolute(&kubeconfig).unwrap_or(kubeconfig);
    let config = BusConfig { url: nats, site, credentials, ..BusConfig::default() };
    let bus = Bus::connect(&config, &format!("agent-{cluster}")).await?;
    let spec = ClusterSpec {
        engine: EngineKind::Kubernetes,
        kubeconfig: SecretRef { file },
        context,
        agent: AgentPlace::Remote,
    };
    let agent = Agent { cluster, spec, config: AgentConfig::default(), bus, clock: Clock::system() };
    agent.start(tasks).await
}

fn complain(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("error: {}", chain(error));
    ExitCode::FAILURE
}
