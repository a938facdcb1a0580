//! Sends a probe or a hook, to the pod's own address unless it names another host.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::super::process::{self, Launch};
use crate::object::{int, items, text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing that could fail: simulated containers obey every command.
    Nothing,
    Connect(String, u16),
    Run(Launch),
    Get {
        host: String,
        port: u16,
        path: String,
        headers: Vec<(String, String)>,
    },
}

impl Action {
    pub(crate) fn of(spec: &Value, container: &Value, address: Ipv4Addr) -> Self {
        for kind in ["tcpSocket", "grpc"] {
            if spec[kind].is_object() {
                return Self::Connect(host(&spec[kind], address), port(&spec[kind]["port"], container));
            }
        }
        let get = &spec["httpGet"];
        if !get.is_object() {
            return Self::Nothing;
        }
        let (host, port) = (host(get, address), port(&get["port"], container));
        if text(get, "/scheme") == "HTTPS" {
            // No pod speaks TLS here; that it listens must do.
            return Self::Connect(host, port);
        }
        let headers = items(get, "/httpHeaders").iter();
        let headers = headers.map(|h| (text(h, "/name").to_owned(), text(h, "/value").to_owned())).collect();
        let path = text(get, "/path");
        Self::Get { host, port, path: format!("/{}", path.strip_prefix('/').unwrap_or(path)), headers }
    }
}

/// Whom it asks. What a pod in the network of its node calls loopback is its own address here.
fn host(spec: &Value, pod: Ipv4Addr) -> String {
    match text(spec, "/host") {
        "" | "localhost" => pod.to_string(),
        named if named.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback()) => pod.to_string(),
        named => named.to_owned(),
    }
}

/// A port by its number, or by its name in the container.
fn port(wanted: &Value, container: &Value) -> u16 {
    let named = || items(container, "/ports").iter().find(|p| p["name"] == *wanted);
    let number = wanted.as_i64().or_else(|| int(named()?, "/containerPort"));
    number.and_then(|n| u16::try_from(n).ok()).unwrap_or(0)
}

/// The answer; what is wrong is said in the words of the real kubelet.
pub(crate) async fn ask(action: Action, limit: Duration) -> Result<(), String> {
    match action {
        Action::Nothing => Ok(()),
        Action::Run(launch) => process::run(&launch, limit).await,
        Action::Connect(host, port) => {
            let tried = tokio::time::timeout(limit, TcpStream::connect((host.as_str(), port))).await;
            match tried {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(refused(&host, port, &error)),
                Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
            }
        }
        Action::Get { host, port, path, headers } => {
            let url = format!("Get \"http://{host}:{port}{path}\"");
            match tokio::time::timeout(limit, get(&host, port, &path, &headers)).await {
                Ok(Ok(code)) if (200..400).contains(&code) => Ok(()),
                Ok(Ok(code)) => Err(format!("HTTP probe failed with statuscode: {code}")),
                Ok(Err(error)) => Err(format!("{url}: {}", refused(&host, port, &error))),
                Err(_) => Err(format!(
                    "{url}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                )),
            }
        }
    }
}

fn refused(host: &str, port: u16, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {host}:{port}: connect: {why}")
}

/// The status code alone: nobody reads the bodies of probes.
async fn get(host: &str, port: u16, path: &str, headers: &[(String, String)]) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let given = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    if !given("host") {
        request += &format!("Host: {host}:{port}\r\n");
    }
    if !given("user-agent") {
        request += "User-Agent: kube-probe/1.36\r\n";
    }
    if !given("accept") {
        request += "Accept: */*\r\n";
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let code = head.strip_prefix(b"HTTP/1.").and_then(|rest| std::str::from_utf8(&rest[2..]).ok());
    code.and_then(|c| c.parse().ok()).ok_or_else(|| std::io::Error::other("malformed HTTP response"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_host_is_asked_only_where_it_is_named() {
        let pod = Ipv4Addr::new(127, 9, 0, 1);
        for (named, expected) in [
            ("", "127.9.0.1"),
            ("localhost", "127.9.0.1"),
            ("127.0.0.1", "127.9.0.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("beside", "beside"),
        ] {
            assert_eq!(host(&json!({"host": named}), pod), expected, "{named}");
        }
    }

    #[test]
    fn probes_go_to_the_pod_and_know_ports_by_name() {
        let container = json!({"ports": [{"name": "http", "containerPort": 8080}]});
        let pod = Ipv4Addr::new(127, 9, 0, 1);
        let get = json!({"httpGet": {"port": "http", "path": "ready", "httpHeaders": [{"name": "A", "value": "b"}]}});
        let headers = vec![("A".to_owned(), "b".to_owned())];
        let expected = Action::Get { host: pod.to_string(), port: 8080, path: "/ready".to_owned(), headers };
        assert_eq!(Action::of(&get, &container, pod), expected);
        for (spec, expected) in [
            (json!({"tcpSocket": {"port": 81}}), Action::Connect(pod.to_string(), 81)),
            (json!({"grpc": {"port": 82}}), Action::Connect(pod.to_string(), 82)),
            (json!({"httpGet": {"port": 83, "scheme": "HTTPS"}}), Action::Connect(pod.to_string(), 83)),
            (json!({"exec": {"command": ["true"]}}), Action::Nothing),
        ] {
            assert_eq!(Action::of(&spec, &container, pod), expected, "{spec}");
        }
    }
}
