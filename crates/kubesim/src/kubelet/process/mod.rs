//! Containers that are real processes of this machine, each the leader of a process group of its own.

mod console;
pub(crate) mod env;
mod exec;
mod group;
pub(crate) mod log;
mod spawn;

use std::{
    io, net::Ipv4Addr, os::unix::process::ExitStatusExt as _, process::ExitStatus, sync::Arc, time::Duration,
};

use futures::{StreamExt as _, future};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    env::Find,
    group::Group,
    log::Log,
    spawn::{Source, Spawned},
};
pub(crate) use self::{
    exec::{absent, exec},
    group::Process,
};
use super::{
    container::Exit,
    stdio::{Said, Voice},
};
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
    /// Whether it has a standard input.
    stdin: bool,
    /// Whether it runs in a terminal.
    tty: bool,
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
        Ok(Self {
            command,
            variables: environment.variables,
            directory: directory.to_owned(),
            stdin: container["stdin"] == true,
            tty: container["tty"] == true,
        })
    }

    /// Another command in the same surroundings, for a probe or a hook.
    pub(crate) fn with(self, command: &Value) -> Self {
        let command = items(command, "/command").iter().filter_map(Value::as_str).map(str::to_owned);
        self.of_client(command.collect(), false, false)
    }

    /// Another command in the same surroundings, for a client.
    pub(crate) fn of_client(self, command: Vec<String>, stdin: bool, tty: bool) -> Self {
        Self { command, stdin, tty, ..self }
    }

    fn words(&self) -> io::Result<(&String, &[String])> {
        self.command.split_first().ok_or_else(|| io::Error::other("no command specified"))
    }
}

/// Starts a process; `done` hears how it ended.
pub(crate) fn start(
    launch: &Launch,
    log: Arc<Log>,
    tasks: &Tasks,
    done: impl FnOnce(Exit) + Send + 'static,
) -> io::Result<Process> {
    let Spawned { mut child, feed, voices } = spawn::spawn(launch)?;
    let group = Group::of(&child);
    let process = Process(group.clone());
    if let Some(feed) = feed {
        let (typed, input) = mpsc::channel(16);
        log.console.hear(typed);
        tasks.spawn(spawn::feed(feed, input));
    }
    tasks.spawn(async move {
        let ended = CancellationToken::new();
        let reading = voices.into_iter().map(|(voice, from)| keep(voice, from, &log, &ended));
        let waiting = async {
            let status = child.wait().await;
            group.end();
            ended.cancel();
            status
        };
        let (status, _) = future::join(waiting, future::join_all(reading)).await;
        log.close();
        done(status.map_or_else(|error| failed(&error), exit));
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
const LINE: usize = 16 << 10;

/// Keeps what is written, by lines, and tells it to those who are attached.
async fn keep(voice: Voice, from: Source, log: &Log, ended: &CancellationToken) {
    let mut pieces = spawn::pieces(from, ended.clone());
    let mut line = Vec::new();
    while let Some(bytes) = pieces.next().await {
        for part in bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|part| part.chunks(LINE)) {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") || line.len() >= LINE {
                log.write(clock::now(), &String::from_utf8_lossy(&line));
                line.clear();
            }
        }
        log.console.say(Said { voice, bytes });
    }
    if !line.is_empty() {
        log.write(clock::now(), &String::from_utf8_lossy(&line));
    }
}

/// Runs a command to its end, as a probe or a hook does.
pub(crate) async fn run(launch: &Launch, limit: Duration) -> Result<(), String> {
    let words = launch.command.join(" ");
    let child = spawn::piped(launch).and_then(|mut c| c.spawn());
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
