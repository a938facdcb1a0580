//! What the main of every service does: settings, telemetry, bus, the service, and an orderly end.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bcs_schemas::Service;
use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    Bus, Clock, Tasks,
    bus::BusConfig,
    config,
    health::{self, Health},
    telemetry,
    telemetry::{TelemetryConfig, chain},
};

/// What a service needs of the process that it runs in. Clones share everything.
#[derive(Clone)]
pub struct Deps {
    /// Wall time and ids.
    pub clock: Clock,
    /// The bus.
    pub bus: Bus,
    /// Its tasks.
    pub tasks: Tasks,
    /// Checks and metrics.
    pub health: Health,
}

/// Settings that every service has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// How the bus is reached.
    pub bus: BusConfig,
    /// What is logged and traced.
    pub telemetry: TelemetryConfig,
    /// Where health and metrics are served: loopback unless told otherwise.
    pub health_address: SocketAddr,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            bus: BusConfig::default(),
            telemetry: TelemetryConfig::default(),
            health_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// Settings of a service that needs none of its own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// How the bus is reached.
    pub bus: BusConfig,
    /// What is logged and traced.
    pub telemetry: TelemetryConfig,
    /// Where health and metrics are served: a free port on loopback when absent.
    pub health_address: Option<SocketAddr>,
    /// Where the journal lies: `sqlite:<path>` or `postgres://…`; `sqlite:/var/lib/bcs/<service>.db` when absent.
    pub journal_url: Option<String>,
}

impl ServiceConfig {
    /// Standard settings with the journal at `url`.
    pub fn with_journal(url: String) -> Self {
        Self { journal_url: Some(url), ..Self::default() }
    }

    /// The settings that every process has.
    pub fn process(&self) -> ProcessConfig {
        let standard = ProcessConfig::default();
        ProcessConfig {
            bus: self.bus.clone(),
            telemetry: self.telemetry.clone(),
            health_address: self.health_address.unwrap_or(standard.health_address),
        }
    }

    /// Where the journal of `service` lies.
    pub fn journal_of(&self, service: Service) -> String {
        self.journal_url.clone().unwrap_or_else(|| format!("sqlite:/var/lib/bcs/{service}.db"))
    }
}

/// Exit code for settings that cannot be used.
const MISCONFIGURED: u8 = 2;
/// How long a service waits for its bus.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long tasks may wind down.
const WIND_DOWN: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Arguments {
    /// Settings file (TOML)
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print the JSON Schema of the settings and exit
    #[arg(long)]
    print_config_schema: bool,
    /// Ask the one that runs with these settings on this machine whether it is ready, and exit: 0 if it is
    #[arg(long)]
    ready: bool,
}

/// Runs a service as a process of its own until SIGINT or SIGTERM, or until one of its tasks panics. `process` finds
/// the common settings inside the service's own.
pub fn main<C, F, Fut>(service: &'static str, process: impl Fn(&C) -> ProcessConfig, start: F) -> ExitCode
where
    C: DeserializeOwned + JsonSchema,
    F: FnOnce(C, Deps) -> Fut,
    Fut: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    let arguments = Arguments::parse();
    if arguments.print_config_schema {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(C)).unwrap_or_default();
        return print(&schema);
    }
    let config: C = match config::load(service, arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return complain(&error, MISCONFIGURED),
    };
    let common = process(&config);
    if arguments.ready {
        return match health::ask_ready(common.health_address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(unready) => complain(&unready, 1),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, 1),
    };
    // Spans travel on connections of this runtime.
    let initialized = {
        let _context = runtime.enter();
        telemetry::init(&common.telemetry, service)
    };
    let guard = match initialized {
        Ok(guard) => guard,
        Err(error) => return complain(&error, MISCONFIGURED),
    };
    let code = runtime.block_on(serve(service, common, |deps| start(config, deps)));
    drop(guard);
    code
}

async fn serve<F, Fut>(service: &'static str, common: ProcessConfig, start: F) -> ExitCode
where
    F: FnOnce(Deps) -> Fut,
    Fut: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    let tasks = Tasks::new();
    let started = async {
        let bus = connect(&common.bus, service).await?;
        bus.provision_within(CONNECT_WITHIN).await?;
        bus.supervise(&tasks);
        bus.keep_provisioned(&tasks);
        let health = Health::new();
        let watched = bus.clone();
        health
            .check("bus", move || if watched.connected() { Ok(()) } else { Err("not connected".to_owned()) });
        // Its own checks come only when it starts.
        let begun = Arc::new(AtomicBool::new(false));
        let looked = begun.clone();
        health.check("start", move || match looked.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err("not started yet".to_owned()),
        });
        let address = health.serve(&tasks, common.health_address).await?;
        let clock = Clock::system();
        bus.compare_clocks(&clock, &tasks, &health);
        start(Deps { clock, bus, tasks: tasks.clone(), health }).await?;
        begun.store(true, Ordering::Release);
        tracing::info!(service, %address, "started");
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    if let Err(error) = started.await {
        tasks.stop(WIND_DOWN).await;
        return complain(&*error, 1);
    }
    let broken = tokio::select! {
        () = stop_signal() => false,
        () = tasks.stopping().cancelled_owned() => true,
    };
    tracing::info!(service, "stopping");
    let ended = tasks.stop(WIND_DOWN).await;
    if broken || !ended { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A service may be started before its bus: it waits for it a while.
async fn connect(config: &BusConfig, service: &str) -> Result<Bus, crate::bus::Error> {
    let end = tokio::time::Instant::now() + CONNECT_WITHIN;
    loop {
        match Bus::connect(config, service).await {
            Err(error @ crate::bus::Error::Connect { .. }) if tokio::time::Instant::now() < end => {
                tracing::warn!(error = chain(&error), "waiting for the bus");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => return tracing::error!(%error, "signals cannot be heard, stopping"),
    };
    tokio::select! {
        _ = terminate.recv() => (),
        _ = tokio::signal::ctrl_c() => (),
    }
}

#[expect(clippy::print_stdout, reason = "this is the output that was asked for")]
fn print(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn complain(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    eprintln!("error: {}", chain(error));
    ExitCode::from(code)
}
