//! What clients do in a container that runs: a command of their own, or attaching to what runs there.

use std::{net::Ipv4Addr, sync::Arc};

use serde_json::Value;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::{
    plan,
    process::{self, Launch, env, log::Log},
    program::{self, Program, Surroundings},
    stdio::{Ending, Input, Stdio, Voice},
};
use crate::{
    kind::{self, Kind},
    object::{self, Key, text},
    store::Store,
};

/// A command, and what its client wants to be connected with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub words: Vec<String>,
    pub stdin: bool,
    pub tty: bool,
}

pub(crate) use super::plan::is_process;

/// The container of this name, of whatever sort.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    plan::containers(pod)
        .map(|(_, spec)| spec)
        .find(|spec| text(spec, "/name") == name)
        .unwrap_or(&Value::Null)
}

/// Runs a command in the container, to its end; dropping it kills the command.
pub(crate) async fn exec(
    store: &Store,
    pod: &Value,
    container: &Value,
    command: Command,
    stdio: Stdio,
) -> Ending {
    let address = text(pod, "/status/podIP").parse().unwrap_or(Ipv4Addr::LOCALHOST);
    let find = |kind: &'static Kind, name: &str| store.get(kind, &Key::new(object::namespace(pod), name));
    if plan::is_process(pod) {
        return match Launch::of(pod, container, address, &find) {
            Ok(launch) => {
                process::exec(&launch.of_client(command.words, command.stdin, command.tty), stdio).await
            }
            Err(why) => Ending::Failed(why),
        };
    }
    let environment = match env::environment(pod, container, address, &find) {
        Ok(environment) => environment,
        Err(why) => return Ending::Failed(why),
    };
    let around = Surroundings {
        environment: &environment,
        host: object::name(pod),
        address: text(pod, "/status/podIP"),
        directory: match text(container, "/workingDir") {
            "" => "/",
            given => given,
        },
    };
    match program::find(&command.words, &around) {
        Some(program) => run(program, stdio).await,
        None => Ending::Failed(process::absent(command.words.first().map_or("", String::as_str))),
    }
}

async fn run(program: Program, mut stdio: Stdio) -> Ending {
    match program {
        Program::Says { out, err, code } => {
            for (voice, text) in [(Voice::Out, out), (Voice::Err, err)] {
                if !text.is_empty() && !stdio.say(voice, text).await {
                    break;
                }
            }
            Ending::Exited(code)
        }
        Program::Copies { first } => {
            let mut listens = first.is_empty() || stdio.say(Voice::Out, first).await;
            while listens && let Some(input) = stdio.input.recv().await {
                listens = match input {
                    Input::Bytes(bytes) => stdio.say(Voice::Out, bytes).await,
                    Input::Resize { .. } => true,
                    Input::End => false,
                };
            }
            Ending::Exited(0)
        }
        Program::Sleeps(duration) => {
            tokio::time::sleep(duration).await;
            Ending::Exited(0)
        }
    }
}

/// Stays with a container that is a process until it ends: what it writes from now on goes to the client, and what the
/// client types to the container.
pub(crate) async fn attach(log: Arc<Log>, container: &Value, stdio: Stdio) -> Ending {
    let Stdio { mut input, output } = stdio;
    let Some(mut said) = log.console.listen() else { return Ending::Exited(0) };
    let typed = log.console.typed();
    let _end = typed.clone().filter(|_| container["stdinOnce"] == true).map(EndOfInput);
    let typing = async {
        while let Some(one) = input.recv().await {
            // Only what is read from one client ends with that.
            let goes_on = one == Input::End && container["stdinOnce"] != true;
            if let Some(typed) = typed.as_ref().filter(|_| !goes_on) {
                // A container that reads no more hears nothing.
                let _ = typed.send(one).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let listening = async {
        loop {
            match said.recv().await {
                Ok(said) => {
                    if output.send(said).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a client reads too slowly"),
                Err(RecvError::Closed) => return,
            }
        }
    };
    tokio::select! { () = typing => {}, () = listening => {} }
    Ending::Exited(0)
}

/// The input of a container that reads from one client only ends with that.
struct EndOfInput(mpsc::Sender<Input>);

impl Drop for EndOfInput {
    fn drop(&mut self) {
        // When it is full, the container does not read anyway.
        let _ = self.0.try_send(Input::End);
    }
}

/// Whether the run of a container still goes on.
pub(crate) fn runs(store: &Store, key: &Key, container: &str, run: &str) -> bool {
    store.get(&kind::PODS, key).is_some_and(|pod| {
        let status = status(&pod, container);
        status["containerID"] == run && status["state"]["running"].is_object()
    })
}

/// What the kubelet says of a container.
pub(crate) fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let mut all = lists.into_iter().flat_map(|list| object::items(&pod["status"][list], ""));
    all.find(|status| status["name"] == container).unwrap_or(&Value::Null)
}

/// What a simulated container that somebody attaches to says from now on: nothing.
pub(crate) async fn silence(stdio: Stdio) -> Ending {
    let Stdio { mut input, output: _output } = stdio;
    while input.recv().await.is_some() {}
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kubelet::stdio::Said;

    #[tokio::test]
    async fn cat_hands_on_what_it_reads_until_that_ends() {
        let ((typed, input), (output, mut said)) = (mpsc::channel(4), mpsc::channel(4));
        let program = Program::Copies { first: "web\n".to_owned() };
        let running = run(program, Stdio { input, output });
        for one in [Input::Bytes(Bytes::from("a")), Input::Resize { columns: 1, rows: 1 }, Input::End] {
            typed.send(one).await.expect("it reads");
        }
        assert_eq!(running.await, Ending::Exited(0));
        let mut heard = Vec::new();
        while let Some(Said { bytes, .. }) = said.recv().await {
            heard.extend_from_slice(&bytes);
        }
        assert_eq!(heard, b"web\na");
    }
}
