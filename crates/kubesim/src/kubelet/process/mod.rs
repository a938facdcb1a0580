//! Containers that are real processes of this machine, each the leader of a process group of its own.

pub(crate) mod env;
pub(crate) mod log;

use std::{
    io,
    net::Ipv4Addr,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};

use self::{env::Find, log::Log};
use super::container::Exit;
use crate::{
    clock,
    object::{items, text},
    task::Tasks,
};

/// What to run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    command: Vec<String>,
    variables: Vec<(String, String)>,
    directory: String,
}

impl Launch {
    pub(crate) fn of(
        pod: &Value,
        container: &Value,
        address: Ipv4Addr,
        find: Find<'_>,
    ) -> Result<Self, String> {
        let environment = env::environment(pod, container, address, find)?;
        let words = items(container, "/command").iter().chain(items(container, "/args"));
        let command = words.filter_map(Value::as_str).map(|word| environment.expand(word)).collect();
        let directory = match text(container, "/workingDir") {
            "" => "/",
            given => given,
        };
        Ok(Self { command, variables: environment.variables, directory: directory.to_owned() })
    }

    /// Another command in the same surroundings, for a probe or a hook.
    pub(crate) fn with(self, command: &Value) -> Self {
        let command = items(command, "/command").iter().filter_map(Value::as_str).map(str::to_owned);
        Self { command: command.collect(), ..self }
    }

    fn prepare(&self) -> io::Result<Command> {
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| io::Error::other("no command specified"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }
}

/// A process group that ends, with all its members, when this goes.
#[derive(Debug, Clone)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self(Arc::new(Mutex::new(pid)))
    }

    fn signal(&self, signal: Signal) {
        let pid = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A group that has gone already needs no signal.
        let _ = pid.map(|pid| rustix::process::kill_process_group(pid, signal));
    }

    /// The leader ended: its number may soon be somebody else's, so the others end now.
    fn end(&self) {
        self.signal(Signal::KILL);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A running container; it is killed when this goes.
pub(crate) struct Process(Group);

impl Process {
    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.0.signal(Signal::TERM);
    }

    pub(crate) fn kill(&self) {
        self.0.signal(Signal::KILL);
    }

    /// Its node is cut off from the world: it does nothing that anybody could see.
    pub(crate) fn freeze(&self) {
        self.0.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.0.signal(Signal::CONT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

/// Starts a process; `done` hears how it ended.
pub(crate) fn start(
    launch: &Launch,
    log: Arc<Log>,
    tasks: &Tasks,
    done: impl FnOnce(Exit) + Send + 'static,
) -> io::Result<Process> {
    let mut child = launch.prepare()?.spawn()?;
    let group = Group::of(&child);
    let process = Process(group.clone());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    tasks.spawn(async move {
        let reading = async { tokio::join!(copy(out, &log), copy(err, &log)) };
        tokio::pin!(reading);
        let (ended, read) = tokio::select! {
            ended = child.wait() => (ended, false),
            // It closed both before its end.
            _ = &mut reading => (child.wait().await, true),
        };
        group.end();
        if !read {
            // What was written last is still in the pipes; only somebody who left the group can keep them open.
            let _ = tokio::time::timeout(Duration::from_secs(1), &mut reading).await;
        }
        log.close();
        done(ended.map_or_else(|error| failed(&error), exit));
    });
    Ok(process)
}

/// A process that could not be started, as the container runtime reports it.
pub(crate) fn failed(error: &io::Error) -> Exit {
    let message = format!("failed to create containerd task: failed to create shim task: {error}");
    Exit { code: 128, signal: None, special: Some(("StartError", message.into())) }
}

fn exit(status: ExitStatus) -> Exit {
    let signal = status.signal();
    Exit { code: status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0)), signal, special: None }
}

/// A line that is longer is cut.
const LINE: u64 = 16 << 10;

async fn copy(from: Option<impl AsyncRead + Unpin>, log: &Log) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while matches!((&mut from).take(LINE).read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
        log.write(clock::now(), &String::from_utf8_lossy(&line));
        line.clear();
    }
}

/// Runs a command to its end, as a probe or a hook does.
pub(crate) async fn run(launch: &Launch, limit: Duration) -> Result<(), String> {
    let words = launch.command.join(" ");
    let child = launch.prepare().and_then(|mut c| c.spawn());
    let child = child.map_err(|error| format!("command {words:?} cannot be run: {error}"))?;
    let _group = Process(Group::of(&child));
    let seconds = limit.as_secs();
    let output = tokio::time::timeout(limit, child.wait_with_output())
        .await
        .map_err(|_| format!("command timed out: {words:?} timed out after {seconds}s"))?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said[..said.len().min(1024)]).into_owned();
    let code = exit(output.status).code;
    Err(if said.is_empty() { format!("command {words:?} exited with {code}") } else { said })
}
