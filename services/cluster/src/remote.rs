//! The agent as a process of its own, inside the member cluster: it dials out to the bus, so the cluster needs no open
//! port. Everything that it needs comes on the command line. It tells of its health like a service.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bcs_kit::{
    Bus, Clock, Tasks,
    bus::BusConfig,
    health::{self, Health},
    run::{ProcessConfig, stop_signal},
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

use crate::{
    config::{AgentConfig, Injection, InjectionError},
    shell::agent::{Agent, Metrics, Report},
};

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
    /// Certificates (PEM) of who may vouch for the bus; with them, only TLS is spoken
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are served; a free port on loopback, which is logged, when absent
    #[arg(long)]
    pub health_address: Option<SocketAddr>,
    /// Settings file (TOML) of the webhook that puts a sidecar into pods; without it there is none
    #[arg(long)]
    pub injection: Option<PathBuf>,
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
        let ended = tokio::select! {
            () = stop_signal() => Ok(()),
            ended = Box::pin(run(arguments, &tasks)) => ended,
        };
        let stopped = tasks.stop(WIND_DOWN).await;
        match ended {
            Ok(()) if stopped => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            // As for every service whose settings cannot be used.
            Err(error @ Error::Injection(_)) => {
                complain(&error);
                ExitCode::from(2)
            }
            Err(error) => complain(&error),
        }
    });
    drop(guard);
    code
}

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Health cannot be served.
    #[error("health is not served: choose another address with --health-address")]
    Health(#[from] health::Error),
    /// Sidecars cannot be put into pods in this way.
    #[error("--injection")]
    Injection(#[from] InjectionError),
    /// A task panicked, or the client of the bus ended; the log says which.
    #[error("the agent broke and must be started again")]
    Broken,
}

/// Runs the agent until one of `tasks` breaks; a bus that cannot be reached is tried for ever.
pub async fn run(arguments: Arguments, tasks: &Tasks) -> Result<(), Error> {
    let injection = arguments.injection.as_deref().map(Injection::load).transpose()?.map(Arc::new);
    let health = Health::new();
    let report = Metrics::register(&health).of(&arguments.cluster);
    let reached = Arc::new(OnceLock::<Bus>::new());
    let (bus, agent) = (reached.clone(), report.clone());
    let connected = move || bus.get().is_some_and(Bus::connected);
    health.check("bus", move || if connected() { Ok(()) } else { Err("not connected".to_owned()) });
    health.check("agent", move || agent.ready());
    let address = arguments.health_address.unwrap_or_else(|| ProcessConfig::default().health_address);
    let address = health.serve(tasks, address).await?;
    tracing::info!(%address, "health is served");
    let stopping = tasks.stopping();
    let bus = tokio::select! {
        () = stopping.cancelled() => return Err(Error::Broken),
        bus = connect(&arguments) => bus,
    };
    let bus = reached.get_or_init(|| bus);
    bus.supervise(tasks);
    agent_of(arguments, injection, bus, report).start(tasks);
    stopping.cancelled().await;
    Err(Error::Broken)
}

async fn connect(arguments: &Arguments) -> Bus {
    let Arguments { cluster, nats, site, credentials, ca, .. } = arguments.clone();
    let config = BusConfig { url: nats, site, credentials, ca, ..BusConfig::default() };
    loop {
        match Bus::connect(&config, &format!("agent-{cluster}")).await {
            Ok(bus) => return bus,
            Err(error) => tracing::warn!(error = chain(&error), "bus is not reached, trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn agent_of(arguments: Arguments, injection: Option<Arc<Injection>>, bus: &Bus, report: Report) -> Agent {
    let Arguments { cluster, kubeconfig, context, .. } = arguments;
    // The kubeconfig may be named from where the agent was started.
    let file = std::path::absolute(&kubeconfig).unwrap_or(kubeconfig);
    let spec = ClusterSpec {
        engine: EngineKind::Kubernetes,
        kubeconfig: SecretRef { file },
        context,
        agent: AgentPlace::Remote,
    };
    let (bus, clock) = (bus.clone(), Clock::system());
    Agent { cluster, spec, config: AgentConfig::default(), injection, bus, clock, report }
}

fn complain(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("error: {}", chain(error));
    ExitCode::FAILURE
}
