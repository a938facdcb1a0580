//! A command that a client runs in the surroundings of a container that is a process.

use std::io;

use futures::{StreamExt as _, future};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Launch, exit,
    group::{Group, Process},
    spawn::{self, Source, Spawned},
};
use crate::kubelet::stdio::{Ending, Said, Stdio, Voice};

/// Runs to its end. The command is killed when this is dropped, and what it leaves behind ends with it.
pub(crate) async fn exec(launch: &Launch, stdio: Stdio) -> Ending {
    let Spawned { mut child, feed, voices } = match spawn::spawn(launch) {
        Ok(spawned) => spawned,
        Err(error) => return Ending::Failed(refusal(launch, &error)),
    };
    let group = Group::of(&child);
    let _killed_when_dropped = Process(group.clone());
    let ended = CancellationToken::new();
    let Stdio { input, output } = stdio;
    let relays = voices.into_iter().map(|(voice, from)| relay(voice, from, &output, &ended));
    let speaking = future::join_all(relays);
    let feeding = async {
        match feed {
            Some(feed) => spawn::feed(feed, input).await,
            None => drop(input),
        }
    };
    let waiting = async {
        let status = child.wait().await;
        group.end();
        ended.cancel();
        status
    };
    let running = async { future::join(waiting, speaking).await.0 };
    tokio::pin!(running, feeding);
    let status = match future::select(running, feeding).await {
        future::Either::Left((status, _)) => status,
        future::Either::Right(((), running)) => running.await,
    };
    status.map_or_else(|error| Ending::Failed(error.to_string()), |status| Ending::Exited(exit(status).code))
}

async fn relay(voice: Voice, from: Source, output: &mpsc::Sender<Said>, ended: &CancellationToken) {
    let mut pieces = spawn::pieces(from, ended.clone());
    while let Some(bytes) = pieces.next().await {
        if output.send(Said { voice, bytes }).await.is_err() {
            return;
        }
    }
}

/// Why it could not be run, as a container runtime reports that.
fn refusal(launch: &Launch, error: &io::Error) -> String {
    let program = launch.command.first().map_or("", String::as_str);
    match error.kind() {
        io::ErrorKind::NotFound => absent(program),
        io::ErrorKind::PermissionDenied => refused(program, "permission denied"),
        _ => refused(program, &error.to_string()),
    }
}

/// There is no such program.
pub(crate) fn absent(program: &str) -> String {
    match program.contains('/') {
        true => refused(program, &format!("stat {program}: no such file or directory")),
        false => refused(program, "executable file not found in $PATH"),
    }
}

fn refused(program: &str, why: &str) -> String {
    format!(
        "OCI runtime exec failed: exec failed: unable to start container process: exec: {program:?}: {why}"
    )
}
