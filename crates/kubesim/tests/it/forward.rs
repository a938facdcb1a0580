//! Ports of pods, forwarded by kubectl and by other clients.

use futures::future;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
};

use crate::{
    harness::{pod, ready},
    kubectl::Kubectl,
    stream::{begin, line, lines, pods, process, sim},
};

/// kubectl forwarding to a port of a pod.
pub(crate) struct Forwarding {
    pub(crate) child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// It ends when nobody reads what it says.
    _lines: Lines<BufReader<ChildStdout>>,
}

pub(crate) async fn forward(kubectl: &Kubectl, pod: &str, port: u16) -> Forwarding {
    let (child, mut lines) = lines(kubectl.start(&["port-forward", pod, &format!(":{port}")]));
    let line = line(&mut lines).await;
    let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(" -> ").next());
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    Forwarding { child, address, _lines: lines }
}

pub(crate) async fn ask(address: &str, path: &str) -> Result<Value, String> {
    let answer = reqwest::get(format!("http://{address}{path}")).await.map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_forwards_connections_to_a_port_of_a_pod() {
    let sim = sim("forward").await;
    let kubectl = Kubectl::new(&sim);
    begin(&sim, &pod("web", &json!({})), ready).await;
    let open = forward(&kubectl, "pod/web", 8080).await;
    let paths: Vec<String> = (0..20).map(|number| format!("/{number}")).collect();
    let answers = future::join_all(paths.iter().map(|path| ask(&open.address, path))).await;
    for (path, answer) in paths.iter().zip(answers) {
        let answer = answer.expect("an answer");
        assert_eq!((&answer["pod"], &answer["path"]), (&json!("web"), &json!(path)));
    }
    let mut closed = forward(&kubectl, "pod/web", 81).await;
    assert!(ask(&closed.address, "/").await.is_err());
    let mut words = String::new();
    closed.child.stderr.take().expect("an error output").read_to_string(&mut words).await.expect("words");
    assert!(
        words.contains("error forwarding port 81 to pod web") && words.contains("connection refused"),
        "{words}"
    );
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kube_client_forwards_to_processes_and_simulated_pods_alike() {
    let sim = sim("pairs").await;
    let server = "import os, socket; s = socket.create_server((os.environ['POD_IP'], 7000))\n\
                  while True: c = s.accept()[0]; c.sendall(c.recv(100).upper()); c.close()";
    let mut real = process("real", "");
    real["spec"]["containers"][0]["command"] = json!(["python3", "-c", server]);
    real["spec"]["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 7000}, "periodSeconds": 1});
    begin(&sim, &real, ready).await;
    begin(&sim, &pod("web", &json!({})), ready).await;
    let pods = pods(&sim).await;
    let request = "GET /x HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    for (pod, port, request, answer) in
        [("real", 7000, "hello", "HELLO"), ("web", 8080, request, "\"pod\":\"web\"")]
    {
        let mut forwarder = pods.portforward(pod, &[port]).await.expect("forwards");
        let mut stream = forwarder.take_stream(port).expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut words = String::new();
        stream.read_to_string(&mut words).await.expect("an answer");
        assert!(words.contains(answer), "{words}");
    }
    let mut forwarder = pods.portforward("web", &[81]).await.expect("forwards");
    let error = forwarder.take_error(81).expect("a channel").await.expect("an error");
    assert!(error.contains("connection refused"), "{error}");
    sim.shutdown().await;
}
