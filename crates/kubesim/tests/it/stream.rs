//! Commands in containers and attaching to them, as kubectl and plain clients do it.

use std::time::Duration;

use bcs_kubesim::Kubesim;
use futures::{SinkExt as _, future};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, TerminalSize},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
};

use crate::{
    harness::{client, eventually, pod, ready},
    kubectl::Kubectl,
    witness::sim_with,
};

/// A cluster that runs processes. It speaks TLS: without, kubectl knows the token by the user part of the address, and with that
/// opens no WebSocket.
pub(crate) async fn sim(name: &str) -> Kubesim {
    sim_with(name, |config| (config.allow_processes, config.tls) = (true, true)).await
}

pub(crate) async fn pods(sim: &Kubesim) -> Api<Pod> {
    Api::default_namespaced(client(sim).await)
}

/// A pod with one container that is a real process.
pub(crate) fn process(name: &str, script: &str) -> Value {
    let mut pod = pod(name, &json!({"sim.bcs/process": "true", "sim.bcs/startup": "10ms"}));
    pod["spec"]["containers"][0] =
        json!({"name": "main", "image": "sh:1", "command": ["/bin/sh", "-c", script]});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    pod
}

/// Lines of a program that goes on, and the program.
pub(crate) fn lines(mut child: Child) -> (Child, Lines<BufReader<ChildStdout>>) {
    let lines = BufReader::new(child.stdout.take().expect("an output")).lines();
    (child, lines)
}

pub(crate) async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines.next_line().await.expect("a line").expect("a line")
}

pub(crate) async fn has_ended(pid: &str) {
    eventually(|| async {
        // One that has ended and whose new parent has not noticed yet is as good as gone.
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") { Ok(()) } else { Err(state) }
    })
    .await;
}

/// A process that does nothing until it is told to stop.
pub(crate) const RESTS: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

/// Makes a pod, and waits until it is as wanted.
pub(crate) async fn begin(sim: &Kubesim, pod: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let (pods, wanted) = (pods(sim).await, &wanted);
    let pod: Pod = serde_json::from_value(pod.clone()).expect("a pod");
    let name = pod.metadata.name.clone().expect("a name");
    pods.create(&Default::default(), &pod).await.expect("made");
    let (pods, name) = (&pods, &name);
    eventually(|| async move {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        let pod = serde_json::to_value(&pod).expect("JSON");
        if wanted(&pod) { Ok(pod) } else { Err(pod["status"].to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_commands_in_a_container_that_is_a_process() {
    let sim = sim("exec").await;
    let kubectl = Kubectl::new(&sim);
    let dir = tempfile::tempdir().expect("a directory");
    let mut pod = process("a", RESTS);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "COLOUR", "value": "blue"}]);
    pod["spec"]["containers"][0]["workingDir"] = json!(dir.path());
    let pod = begin(&sim, &pod, ready).await;
    let text =
        kubectl.ok(&["exec", "a", "--", "sh", "-c", "echo $COLOUR $POD_IP; pwd; echo problem >&2"]).await;
    let address = pod["status"]["podIP"].as_str().expect("an address");
    assert_eq!(text, format!("blue {address}\n{}\nproblem\n", dir.path().display()));
    let (success, text) = kubectl.run(&["exec", "a", "--", "sh", "-c", "exit 7"], "").await;
    assert!(!success && text.contains("command terminated with exit code 7"), "{text}");
    let (success, text) = kubectl.run(&["exec", "-i", "a", "--", "tr", "a-z", "A-Z"], "some words\n").await;
    assert!(success && text == "SOME WORDS\n", "{text}");
    let (success, text) = kubectl.run(&["exec", "a", "--", "nothing-of-the-kind"], "").await;
    assert!(
        !success && text.contains("exec: \"nothing-of-the-kind\": executable file not found in $PATH"),
        "{text}"
    );
    // More than fits into the pipes and buffers on the way.
    let text = kubectl
        .ok(&["exec", "a", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end"])
        .await;
    assert!(text.len() == 3_000_004 && text.ends_with("xend\n"), "{}", text.len());
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_killed_with_its_children_when_its_client_goes_away() {
    let sim = sim("gone").await;
    let kubectl = Kubectl::new(&sim);
    begin(&sim, &process("a", RESTS), ready).await;
    let (child, mut out) =
        lines(kubectl.start(&["exec", "a", "--", "sh", "-c", "sleep 3600 & echo $$ $!; wait"]));
    let pids = line(&mut out).await;
    drop(child);
    for pid in pids.split(' ') {
        has_ended(pid).await;
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_is_missed_also_by_a_command_that_does_not_read_what_it_types() {
    let sim = sim("deaf").await;
    begin(&sim, &process("a", RESTS), ready).await;
    let one = |kubectl: Kubectl| async move {
        let script = "echo $$; exec sleep 3600";
        let (mut child, mut out) = lines(kubectl.start(&["exec", "-i", "a", "--", "sh", "-c", script]));
        let pid = line(&mut out).await;
        let mut input = child.stdin.take().expect("an input");
        // As much as fits into everything on the way.
        let more = async { while input.write_all(&[b'x'; 1 << 16]).await.is_ok() {} };
        assert!(tokio::time::timeout(Duration::from_secs(1), more).await.is_err());
        drop(child);
        has_ended(&pid).await;
    };
    future::join(one(Kubectl::new(&sim)), one(Kubectl::new(&sim).without_websockets())).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_killed_together_with_its_container() {
    let sim = sim("together").await;
    let kubectl = Kubectl::new(&sim);
    begin(&sim, &process("a", RESTS), ready).await;
    let (child, mut out) = lines(kubectl.start(&["exec", "a", "--", "sh", "-c", "echo $$; sleep 3600"]));
    let pid = line(&mut out).await;
    pods(&sim).await.delete("a", &Default::default()).await.expect("deleted");
    let output = child.wait_with_output().await.expect("an end");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("command terminated with exit code 137"), "{words}");
    has_ended(&pid).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_the_size_that_its_client_tells() {
    let sim = sim("terminal").await;
    begin(&sim, &process("a", RESTS), ready).await;
    let pods = pods(&sim).await;
    let mut shell = pods.exec("a", ["sh"], &AttachParams::interactive_tty()).await.expect("a shell");
    let (mut input, mut output) = (shell.stdin().expect("an input"), shell.stdout().expect("an output"));
    let mut size = shell.terminal_size().expect("a terminal");
    size.send(TerminalSize { width: 97, height: 31 }).await.expect("told");
    // The size travels on a way of its own.
    let asks =
        "until [ \"$(stty size)\" = '31 97' ]; do sleep 0.01; done; tty && echo size=$(stty size); exit 3\n";
    input.write_all(asks.as_bytes()).await.expect("typed");
    let mut said = String::new();
    output.read_to_string(&mut said).await.expect("words");
    assert!(said.contains("/dev/pts/") && said.contains("size=31 97\r\n"), "{said}");
    let status = shell.take_status().expect("a status").await.expect("a status");
    let causes = status.details.and_then(|details| details.causes).expect("causes");
    assert_eq!(causes[0].message.as_deref(), Some("3"));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_copies_files_into_a_container_and_out_of_it() {
    let sim = sim("copies").await;
    let kubectl = Kubectl::new(&sim);
    let dir = tempfile::tempdir().expect("a directory");
    begin(&sim, &process("a", RESTS), ready).await;
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let (here, there, back) = (kubectl.path("here"), dir.path().join("there"), kubectl.path("back"));
    std::fs::write(&here, &text).expect("written");
    let remote = format!("a:{}", there.display());
    kubectl.ok(&["cp", &here.display().to_string(), &remote]).await;
    assert!(std::fs::read_to_string(&there).expect("a copy") == text);
    kubectl.ok(&["cp", &remote, &back.display().to_string()]).await;
    assert!(std::fs::read_to_string(&back).expect("a copy") == text);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_attaches_to_what_a_container_writes_and_reads() {
    let sim = sim("attach").await;
    let kubectl = Kubectl::new(&sim);
    let mut pod = process("a", "while read line; do echo got $line; done; sleep 3600");
    pod["spec"]["containers"][0]["stdin"] = json!(true);
    begin(&sim, &pod, ready).await;
    for word in ["one", "two"] {
        let (mut child, mut out) = lines(kubectl.start(&["attach", "-i", "a"]));
        let mut input = child.stdin.take().expect("an input");
        input.write_all(format!("{word}\n").as_bytes()).await.expect("typed");
        assert_eq!(line(&mut out).await, format!("got {word}"), "what was written before is not repeated");
    }
    let text = kubectl.ok(&["logs", "a"]).await;
    assert_eq!(text, "got one\ngot two\n");
    let annotated = "--annotations=sim.bcs/process=true";
    let script = "while read line; do echo got $line; done; exit 4";
    let run = ["run", "b", "--image=sh:1", annotated, "-i", "--rm", "--restart=Never", "--command", "--"];
    let (success, text) = kubectl.run(&[&run[..], &["sh", "-c", script]].concat(), "three\n").await;
    assert!(!success && text.contains("got three\n") && text.contains("terminated (Error)"), "{text}");
    sim.shutdown().await;
}
