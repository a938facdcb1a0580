//! The protocol of channels, byte by byte, as a client of one's own would see it.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::{
    harness::{PODS, Raw, pod, ready, sim},
    witness::pod_that,
};

struct Connection {
    stream: BufReader<TcpStream>,
    /// The head of the answer.
    head: Vec<String>,
}

async fn open(sim: &Kubesim, path: &str, protocol: &str) -> Connection {
    let address = sim.url().trim_start_matches("http://").to_owned();
    let mut stream = BufReader::new(TcpStream::connect(&address).await.expect("connects"));
    let token = sim.token();
    let request = format!(
        "GET {PODS}/{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a line");
        if line.trim().is_empty() {
            return Connection { stream, head };
        }
        head.push(line.trim().to_lowercase());
    }
}

impl Connection {
    fn has(&self, line: &str) -> bool {
        self.head.iter().any(|found| found == line)
    }

    /// The next frame: what it is, and what it holds.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let (kind, length) =
            (self.stream.read_u8().await.expect("a frame"), self.stream.read_u8().await.expect("a length"));
        let length = match length {
            126 => usize::from(self.stream.read_u16().await.expect("a length")),
            short => usize::from(short),
        };
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await.expect("a frame");
        (kind & 0x0f, bytes)
    }

    /// Masked with zeros, which change nothing.
    async fn send(&mut self, kind: u8, bytes: &[u8]) {
        let length = u8::try_from(bytes.len()).expect("short");
        let frame = [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], bytes].concat();
        self.stream.write_all(&frame).await.expect("sent");
    }

    /// The rest of an answer that is no upgrade.
    async fn body(mut self) -> String {
        let length =
            self.head.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.stream.read_exact(&mut body).await.expect("a body");
        String::from_utf8(body).expect("text")
    }
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn channels_carry_what_their_numbers_say_in_both_versions_of_the_protocol() {
    let sim = sim("channels").await;
    Raw(&sim).post(PODS, &pod("a", &json!({}))).await;
    pod_that(&sim, "a", ready).await;
    for (offered, chosen) in [
        ("v4.channel.k8s.io", "v4.channel.k8s.io"),
        ("v4.channel.k8s.io, v5.channel.k8s.io, channel.k8s.io", "v5.channel.k8s.io"),
    ] {
        let mut said =
            open(&sim, "a/exec?command=cat&command=-&command=/x&stdin=true&stdout=1&stderr=1", offered).await;
        assert!(said.has("http/1.1 101 switching protocols"), "{:?}", said.head);
        assert!(said.has(&format!("sec-websocket-protocol: {chosen}")), "{:?}", said.head);
        assert_eq!(said.frame().await, (BINARY, vec![1]), "that the connection stands");
        said.send(TEXT, b"\0typed").await;
        assert_eq!(said.frame().await, (BINARY, b"\x01typed".to_vec()));
        // Only the newer one can end a channel; of the older one the whole connection ends.
        said.send(BINARY, b"\xff\0").await;
        if chosen.starts_with("v5") {
            let (kind, status) = said.frame().await;
            let status: Value = serde_json::from_slice(&status[1..]).expect("a status");
            assert_eq!((kind, &status), (BINARY, &json!({"metadata": {}, "status": "Success"})));
            assert_eq!(said.frame().await, (CLOSE, 1000_u16.to_be_bytes().to_vec()));
        } else {
            said.send(BINARY, b"\0more").await;
            assert_eq!(said.frame().await, (BINARY, b"\x01more".to_vec()));
        }
        said.send(CLOSE, &1000_u16.to_be_bytes()).await;
    }
    let mut failed = open(&sim, "a/exec?command=false&stdout=1", "v4.channel.k8s.io").await;
    failed.frame().await;
    let (_, status) = failed.frame().await;
    assert_eq!(status[0], 3);
    let status: Value = serde_json::from_slice(&status[1..]).expect("a status");
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "1"}]));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_protocol_that_nobody_knows_is_told_which_ones_are_known() {
    let sim = sim("unknown").await;
    Raw(&sim).post(PODS, &pod("a", &json!({}))).await;
    Raw(&sim).post(PODS, &pod("held", &json!({"sim.bcs/startup": "1h"}))).await;
    pod_that(&sim, "a", ready).await;
    pod_that(&sim, "held", |pod| pod["spec"]["nodeName"].is_string()).await;
    for (path, protocol, code, words) in [
        ("a/exec?command=true&stdout=1", "v9.channel.k8s.io", "403 forbidden", "[v9.channel.k8s.io]"),
        (
            "a/portforward?ports=80",
            "v9.channel.k8s.io",
            "403 forbidden",
            "SPDY/3.1+portforward.k8s.io v4.channel.k8s.io",
        ),
        (
            "a/portforward",
            "v4.channel.k8s.io",
            "400 bad request",
            "query parameter \\\"ports\\\" is required",
        ),
        (
            "a/portforward?ports=80,x",
            "v4.channel.k8s.io",
            "400 bad request",
            "unable to parse \\\"x\\\" as a port",
        ),
        (
            "a/exec?command=true",
            "v4.channel.k8s.io",
            "400 bad request",
            "at least 1 of stdin, stdout, stderr",
        ),
        (
            "held/exec?command=true&stdout=1",
            "v4.channel.k8s.io",
            "500 internal server error",
            "container not found (\"main\")",
        ),
        (
            "held/portforward?ports=80",
            "v4.channel.k8s.io",
            "500 internal server error",
            "pod not found (\"held_default\")",
        ),
    ] {
        let answer = open(&sim, path, protocol).await;
        assert!(answer.has(&format!("http/1.1 {code}")), "{path}: {:?}", answer.head);
        let body = answer.body().await;
        assert!(body.contains(words), "{path}: {body}");
    }
    sim.shutdown().await;
}
