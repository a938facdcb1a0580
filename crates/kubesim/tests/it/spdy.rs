//! Streams over SPDY, as kubectl before 1.31 and many programs in Go open them; also without TLS, where kubectl has no other way.

use bcs_kubesim::Kubesim;
use kube::api::AttachParams;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    forward::{ask, forward},
    harness::{PODS, Raw, pod, ready},
    kubectl::Kubectl,
    stream::{RESTS, begin, line, lines, pods, process},
    witness::{pod_that, sim_with},
};

async fn plain(name: &str) -> Kubesim {
    sim_with(name, |config| config.allow_processes = true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_over_spdy_as_they_do_over_a_websocket() {
    for tls in [false, true] {
        let sim = if tls { crate::stream::sim("spdy-tls").await } else { plain("spdy").await };
        let kubectl = Kubectl::new(&sim).without_websockets();
        begin(&sim, &process("a", RESTS), ready).await;
        let text = kubectl.ok(&["exec", "a", "--", "sh", "-c", "echo words; echo problem >&2"]).await;
        assert_eq!(text, "words\nproblem\n");
        let (success, text) = kubectl.run(&["exec", "a", "--", "sh", "-c", "exit 7"], "").await;
        assert!(!success && text.contains("command terminated with exit code 7"), "{text}");
        let typed = "words that go there and back\n".repeat(20_000);
        let (success, text) = kubectl.run(&["exec", "-i", "a", "--", "cat"], &typed).await;
        assert!(success && text == typed, "{} of {}", text.len(), typed.len());
        let (success, text) = kubectl.run(&["exec", "a", "-c", "x", "--", "true"], "").await;
        assert!(!success && text.contains("container x is not valid for pod a"), "{text}");
        let (child, mut out) = lines(kubectl.start(&["exec", "a", "--", "sh", "-c", "echo $$; sleep 3600"]));
        let pid = line(&mut out).await;
        drop(child);
        crate::stream::has_ended(&pid).await;
        sim.shutdown().await;
    }
}

/// What is said in the terminal in which kubectl runs a shell, and how it ends.
async fn in_terminal(kubectl: &Kubectl, typed: &str) -> (String, Option<i32>) {
    let (mut terminal, inner) = pty_process::open().expect("a terminal");
    terminal.resize(pty_process::Size::new(31, 97)).expect("resized");
    let command = pty_process::Command::new("kubectl").args(["exec", "-it", "a", "--", "sh"]);
    let mut child = command.envs(kubectl.variables()).kill_on_drop(true).spawn(inner).expect("kubectl");
    terminal.write_all(typed.as_bytes()).await.expect("typed");
    let mut said = Vec::new();
    // A terminal that nobody holds any more ends with an error.
    let _ = terminal.read_to_end(&mut said).await;
    (String::from_utf8_lossy(&said).into_owned(), child.wait().await.expect("an end").code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_of_kubectl_leads_to_one_in_the_container() {
    let sim = crate::stream::sim("terminals").await;
    begin(&sim, &process("a", RESTS), ready).await;
    // The size travels on a way of its own.
    let typed = "until [ \"$(stty size)\" = '31 97' ]; do sleep 0.01; done; tty; echo $TERM; exit 3\n";
    for kubectl in [Kubectl::new(&sim), Kubectl::new(&sim).without_websockets()] {
        let (said, code) = in_terminal(&kubectl, typed).await;
        assert!(said.contains("/dev/pts/") && said.contains("xterm\r\n"), "{said}");
        assert_eq!(code, Some(3), "{said}");
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_attached_to_and_ports_forwarded_over_spdy() {
    let sim = plain("older").await;
    let kubectl = Kubectl::new(&sim).without_websockets();
    let mut echo = process("echo", "while read line; do echo got $line; done; sleep 3600");
    echo["spec"]["containers"][0]["stdin"] = json!(true);
    Raw(&sim).post(PODS, &echo).await;
    Raw(&sim).post(PODS, &pod("web", &json!({}))).await;
    for name in ["echo", "web"] {
        pod_that(&sim, name, ready).await;
    }
    // Who sends the token itself needs no TLS for a WebSocket.
    let exec = pods(&sim).await.exec("web", ["echo", "words"], &AttachParams::default().stderr(false)).await;
    let mut said = String::new();
    exec.expect("runs").stdout().expect("an output").read_to_string(&mut said).await.expect("words");
    assert_eq!(said, "words\n");
    let (mut child, mut out) = lines(kubectl.start(&["attach", "-i", "echo"]));
    child.stdin.take().expect("an input").write_all(b"one\n").await.expect("typed");
    assert_eq!(line(&mut out).await, "got one");
    let open = forward(&kubectl, "pod/web", 8080).await;
    for path in ["/a", "/b"] {
        assert_eq!(ask(&open.address, path).await.expect("an answer")["path"], path);
    }
    let mut closed = forward(&kubectl, "pod/web", 81).await;
    assert!(ask(&closed.address, "/").await.is_err());
    let mut words = String::new();
    closed.child.stderr.take().expect("an error output").read_to_string(&mut words).await.expect("words");
    assert!(words.contains("connection refused"), "{words}");
    sim.shutdown().await;
}
