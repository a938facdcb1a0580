//! `bcs up`: the whole platform in one process, with nats-server as its child and two simulated clusters, for trying it
//! out, developing against it and running its tests.

mod access;
mod clusters;
mod data;
mod membership;
mod nats;
mod platform;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bcs_kit::{
    Bus, Clock, Tasks,
    run::stop_signal,
    telemetry::{self, LogFormat, TelemetryConfig},
};
use clap::{Args, ValueEnum};

use crate::{Failure, credentials::tls, output};
use access::Access;
use data::DataDir;

const EXAMPLES: &str = "\
Examples:
  bcs up                                          everything, kept in ~/.local/share/bcs
  bcs up --etcd http://127.0.0.1:2379             register in etcd as well
  bcs up --secure                                 with keys and TLS: nobody gets onto the bus without a key
  bcs up --data /tmp/try --nats-port 0            a second one beside the first";

/// Run the whole platform here: bus, services, two simulated clusters and their sidecars
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Up {
    /// Where everything is kept; started again with the same directory, everything is as it was
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Register in this etcd as well
    #[arg(long, value_name = "URL")]
    etcd: Option<String>,
    /// Port of the bus on 127.0.0.1; 0 takes a free one and keeps it
    #[arg(long, default_value_t = 4222, value_name = "PORT")]
    nats_port: u16,
    /// Speak TLS, ask everybody on the bus for a key, allow each only what it needs, and believe no sender's name that is not
    /// signed; keys and certificates lie in DIR/bus
    #[arg(long)]
    secure: bool,
    /// Where health and metrics are served
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    health: SocketAddr,
    /// Write no context into the configuration file
    #[arg(long)]
    no_context: bool,
    /// What is logged to stderr: error, warn, info, debug, or such as bcs_kit=debug,warn
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    log: String,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = Lines::Text)]
    log_format: Lines,
    /// Collector that takes spans over OTLP/gRPC, such as http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lines {
    Text,
    Json,
}

/// How long everything may take to wind down.
const WIND_DOWN: Duration = Duration::from_secs(10);

impl Up {
    /// Runs until it is told to stop.
    pub async fn run(self, contexts: Option<PathBuf>) -> Result<(), Failure> {
        let format = match self.log_format {
            Lines::Text => LogFormat::Text,
            Lines::Json => LogFormat::Json,
        };
        let settings = TelemetryConfig { log: self.log.clone(), format, otlp: self.otlp.clone() };
        let _guard = telemetry::init(&settings, "up").map_err(|e| Failure::usage(telemetry::chain(&e)))?;
        let data = DataDir::open(self.data.clone())?;
        let mut running = Running::default();
        // Heard from the first moment on: a start can take a while, too.
        let outcome = tokio::select! {
            biased;
            () = stop_signal() => {
                output::note("stopping");
                Ok(())
            }
            failure = self.serve(&data, &mut running, contexts) => Err(failure),
        };
        tokio::select! {
            () = running.stop() => outcome,
            () = stop_signal() => {
                Err(Failure::failed("stopped at once; the next start takes up what was under way"))
            }
        }
    }

    /// Runs until something fails.
    async fn serve(&self, data: &DataDir, running: &mut Running, contexts: Option<PathBuf>) -> Failure {
        let server = match self.start(data, running, contexts).await {
            Ok(server) => server,
            Err(failure) => return failure,
        };
        tokio::select! {
            failure = server.given_up() => failure,
            () = running.tasks.stopping().cancelled_owned() => {
                Failure::failed("a part of the platform ended; the log above says why")
            }
        }
    }

    async fn start(
        &self,
        data: &DataDir,
        running: &mut Running,
        contexts: Option<PathBuf>,
    ) -> Result<nats::Server, Failure> {
        let Running { bus_tasks, tasks, clusters, buses } = running;
        let access =
            if self.secure { Access::with_keys(data, Clock::system().now())? } else { Access::open() };
        let server = nats::start(data, self.nats_port, &access, bus_tasks).await?;
        clusters::start(data, clusters).await?;
        let access = access.at(&server.url);
        let started = platform::start(self, data, &access, clusters, tasks, buses);
        let health = tokio::select! {
            started = started => started?,
            failure = server.given_up() => return Err(failure),
        };
        let context = match contexts.filter(|_| !self.no_context) {
            Some(path) => platform::write_context(&path, &access),
            None => Ok(None),
        };
        output::line(self.banner(data, &server, clusters, health));
        match context {
            Ok(None) => (),
            Ok(Some(former)) => output::note(format!(
                "The context is `local` now; `bcs context use {former}` goes back to the former one."
            )),
            // The platform runs all the same.
            Err(failure) => output::note(format!(
                "No context was written: {}\n  speak to this bus with --nats {}{}",
                failure.message,
                server.url,
                if self.secure { " in a context with a key, see `bcs context add --help`" } else { "" }
            )),
        }
        Ok(server)
    }

    fn banner(
        &self,
        data: &DataDir,
        server: &nats::Server,
        clusters: &[bcs_kubesim::Kubesim],
        health: SocketAddr,
    ) -> String {
        let mut lines = vec![format!(
            "BCS {} is up. Everything is kept in {}",
            env!("CARGO_PKG_VERSION"),
            data.root().display()
        )];
        lines.push(format!("  bus         {}  ({})", server.url, server.version));
        if self.secure {
            lines.push(format!("  keys        {}", data.keys().display()));
            lines.push(format!("  authority   {}", data.keys().join(tls::CA_FILE).display()));
        }
        for cluster in clusters {
            let kubeconfig = data.kubeconfig(cluster.name());
            lines.push(format!(
                "  cluster     {}  {}  kubectl --kubeconfig {}",
                cluster.name(),
                cluster.url(),
                kubeconfig.display()
            ));
        }
        lines.push(
            "  services    cluster, deploy, network, metrics, and a discovery sidecar for each cluster"
                .to_owned(),
        );
        lines.push(format!("  registry    file  {}", data.registry().display()));
        if let Some(etcd) = &self.etcd {
            lines.push(format!("  registry    etcd  {etcd}"));
        }
        lines.push(format!("  health      http://{health}/readyz  http://{health}/metrics"));
        lines.push(String::new());
        lines.push("Now, in a second terminal:".to_owned());
        lines.extend(path_hint());
        lines.push("  bcs apply -f examples/shop.yaml --wait".to_owned());
        lines.push("  bcs get apps".to_owned());
        lines.push(String::new());
        lines.push("Ctrl-C stops it; started again, everything is as it was.".to_owned());
        lines.join("\n")
    }
}

/// Where `bcs` lies, for those who started it by a path.
fn path_hint() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let directory = program.parent()?;
    let on_path =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p == directory));
    (!on_path).then(|| format!("  export PATH={}:$PATH", directory.display()))
}

/// What was started so far.
#[derive(Default)]
struct Running {
    bus_tasks: Tasks,
    tasks: Tasks,
    clusters: Vec<bcs_kubesim::Kubesim>,
    buses: Vec<Bus>,
}

impl Running {
    /// From the outside in: what others stand on is stopped after them.
    async fn stop(self) {
        self.tasks.stop(WIND_DOWN).await;
        // So that nobody takes the end of the bus for its loss.
        for bus in &self.buses {
            bus.close().await;
        }
        for cluster in self.clusters {
            cluster.shutdown().await;
        }
        self.bus_tasks.stop(WIND_DOWN).await;
    }
}
