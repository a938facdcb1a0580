//! A real nginx that includes the file of the file driver and is told of each change by its command.

use std::{collections::BTreeSet, net::IpAddr};

use bcs_schemas::{
    observation::{Endpoint, EndpointPhase, RegistrationState},
    resource::Registry,
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::fixture::*;

/// Serves at loopback what the group of the application answers.
struct Nginx {
    directory: tempfile::TempDir,
    port: u16,
    _process: Process,
}

impl Nginx {
    async fn start() -> Self {
        let (directory, port) = (tempfile::tempdir().expect("a directory"), free_port());
        std::fs::write(directory.path().join("nginx.conf"), configuration(port)).expect("writes");
        let mut arguments = invocation(&directory);
        arguments.extend(["-g".to_owned(), "daemon off;".to_owned()]);
        let process = start("nginx", "nginx-light", &arguments);
        let nginx = Self { directory, port, _process: process };
        wait_until(LONG, async || match nginx.get().await {
            Some((502, _)) => Ok(()),
            other => Err(format!("nginx answers {other:?}")),
        })
        .await;
        nginx
    }

    fn registry(&self) -> Registry {
        let command: Vec<String> = std::iter::once("nginx".to_owned())
            .chain(invocation(&self.directory))
            .chain(["-s".to_owned(), "reload".to_owned()])
            .collect();
        let file =
            serde_json::json!({ "directory": self.directory.path(), "nginx": true, "command": command });
        document("edge", serde_json::json!({ "file": file }))
    }

    /// Status and who answered, when there is an answer.
    async fn get(&self) -> Option<(u16, String)> {
        let address = ([127, 0, 0, 1], self.port).into();
        tokio::net::TcpStream::connect(address as std::net::SocketAddr).await.ok()?;
        let (status, answer) = http(address, "/").await;
        Some((status, answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()))
    }

    /// Waits until these answer, and of twenty requests none goes elsewhere.
    async fn serves(&self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
        wait_until(LONG, async || {
            let mut seen = BTreeSet::new();
            for _ in 0..20 {
                match self.get().await {
                    Some((200, who)) => seen.insert(who),
                    other => seen.insert(format!("{other:?}")),
                };
            }
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?} answer, expected {wanted:?}")) }
        })
        .await;
    }
}

fn invocation(directory: &tempfile::TempDir) -> Vec<String> {
    let at = |file: &str| directory.path().join(file).display().to_string();
    ["-p".to_owned(), at(""), "-e".to_owned(), at("error.log"), "-c".to_owned(), at("nginx.conf")].to_vec()
}

/// A group that is named by a variable may be missing.
fn configuration(port: u16) -> String {
    format!(
        "worker_processes 1; pid nginx.pid; events {{}}\n\
         http {{ access_log off; include *.nginx.conf;\n\
         server {{ listen 127.0.0.1:{port};\n\
         location / {{ set $group web.shop.bcs.local; proxy_pass http://$group; }} }} }}\n"
    )
}

/// Answers every request with its own address.
async fn serve(address: IpAddr, port: u16) {
    let listener = TcpListener::bind((address, port)).await.expect("a loopback address");
    loop {
        let Ok((mut connection, _)) = listener.accept().await else { continue };
        let body = address.to_string();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        // A client that went away has nobody else to hear of it.
        let _ = connection.write_all(answer.as_bytes()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_what_is_confirmed_and_what_it_refuses_is_said_in_its_words() {
    let (nats, nginx, port) = (Nats::start().await, Nginx::start().await, free_port());
    let at = |number: u8| IpAddr::from([127, 0, 0, number]);
    let instance = |number: u8, phase| {
        let mut endpoint = Endpoint { addresses: vec![at(number)], phase, ..endpoint(number.into()) };
        endpoint.ports[0].port = port;
        endpoint
    };
    let servers = futures::future::join_all((2..=4).map(|number| serve(at(number), port)));
    let story = async {
        let tasks = nats.sidecar(config(vec![nginx.registry()])).await;
        nats.put(&instance(2, EndpointPhase::Ready)).await;
        nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
        nginx.serves(&["127.0.0.2"]).await;
        nats.put(&instance(3, EndpointPhase::Ready)).await;
        nats.wait_for("uid-3", 1, RegistrationState::Confirmed).await;
        nginx.serves(&["127.0.0.2", "127.0.0.3"]).await;
        nats.put(&instance(2, EndpointPhase::Draining)).await;
        nats.wait_for("uid-2", 1, RegistrationState::Drained).await;
        nginx.serves(&["127.0.0.3"]).await;

        let file = nginx.directory.path().join("nginx.conf");
        std::fs::write(&file, configuration(nginx.port) + "nonsense on;\n").expect("writes");
        nats.put(&instance(4, EndpointPhase::Ready)).await;
        let said = |status: &bcs_schemas::observation::RegistryStatus| {
            status.reason.as_ref().is_some_and(|reason| reason.contains("unknown directive \"nonsense\""))
        };
        nats.status("edge", said).await;
        nginx.serves(&["127.0.0.3"]).await;
        std::fs::write(&file, configuration(nginx.port)).expect("writes");
        nats.wait_for("uid-4", 1, RegistrationState::Confirmed).await;
        nginx.serves(&["127.0.0.3", "127.0.0.4"]).await;
        assert!(tasks.stop(LONG).await);
    };
    tokio::select! {
        _ = servers => unreachable!("they serve for ever"),
        () = story => (),
    }
}
