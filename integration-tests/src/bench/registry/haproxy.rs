//! HAProxy, written and asked by its runtime API.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::Command,
    sync::Mutex,
};

use super::{App, Instance, PORT, Registry, Style};
use crate::harness::{Lab, Process, find, free_port, wait_until};

const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// What stands behind every answer.
const PROMPT: &[u8] = b"\n> ";

pub(in crate::bench) struct Haproxy {
    process: Process,
    socket: PathBuf,
    front: u16,
    /// Of the client and of the hand.
    client: Mutex<Option<Talk>>,
    pen: Mutex<Option<Talk>>,
}

/// A connection with a prompt, by which the end of an answer is known.
struct Talk {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Haproxy {
    /// With these backends; the first of them takes what comes in.
    pub(in crate::bench) async fn start(lab: &Lab, backends: &[String]) -> Result<Self> {
        let front = free_port()?;
        let directory = super::directory(lab, "haproxy", front)?;
        let socket = directory.join("admin.sock");
        let first = backends.first().context("no backend")?;
        let mut text = format!(
            "global\n  stats socket {} mode 600 level admin\n  stats timeout 1m\n  maxconn 4000\ndefaults\n  mode http\n  \
             retries 0\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\nfrontend front\n  \
             bind 127.0.0.1:{front}\n  default_backend {first}\n",
            socket.display()
        );
        for backend in backends {
            text.push_str(&format!("backend {backend}\n  balance roundrobin\n"));
        }
        let file = directory.join("haproxy.cfg");
        fs::write(&file, text)?;
        let mut command = Command::new(find("haproxy", "HAPROXY_BIN", "install Debian's haproxy")?);
        command.args(["-db", "-q", "-f"]).arg(&file);
        let process = Process::start(lab, &format!("haproxy-{front}"), command)?;
        let haproxy = Self { process, socket, front, client: Mutex::default(), pen: Mutex::default() };
        wait_until(STARTS_WITHIN, "haproxy answers", async || {
            haproxy.ask(&haproxy.client, &["show version".to_owned()]).await.into()
        })
        .await?;
        Ok(haproxy)
    }

    /// Where it takes requests.
    pub(in crate::bench) fn front(&self) -> u16 {
        self.front
    }

    /// One answer for each command.
    async fn ask(&self, kept: &Mutex<Option<Talk>>, commands: &[String]) -> Result<Vec<String>> {
        let mut kept = kept.lock().await;
        let mut talk = match kept.take() {
            Some(talk) => talk,
            None => Talk::begin(&self.socket).await?,
        };
        let answers = talk.ask(commands).await?;
        *kept = Some(talk);
        Ok(answers)
    }

    async fn list(&self, apps: &BTreeSet<App>) -> Result<BTreeSet<u32>> {
        let commands: Vec<String> =
            apps.iter().map(|app| format!("show servers state {}", app.dotted())).collect();
        let answers = self.ask(&self.client, &commands).await?;
        Ok(answers.iter().flat_map(|text| text.lines().filter_map(in_service)).collect())
    }
}

/// The instance of a row, if its server gets requests.
fn in_service(row: &str) -> Option<u32> {
    let fields: Vec<&str> = row.split(' ').collect();
    let up = fields.get(5) == Some(&"2") && fields.get(6) == Some(&"0");
    fields.get(4).filter(|_| up).and_then(|address| Instance::at(address.parse().ok()?))
}

impl Talk {
    async fn begin(socket: &Path) -> Result<Self> {
        let mut talk = Self { stream: UnixStream::connect(socket).await?, read: Vec::new() };
        talk.ask(&["prompt".to_owned()]).await?;
        Ok(talk)
    }

    async fn ask(&mut self, commands: &[String]) -> Result<Vec<String>> {
        let lines = commands.join("\n") + "\n";
        let (mut reader, mut writer) = self.stream.split();
        let write = async { anyhow::Ok(writer.write_all(lines.as_bytes()).await?) };
        let read = async {
            let mut answers = Vec::with_capacity(commands.len());
            for _ in commands {
                answers.push(answer(&mut reader, &mut self.read).await?);
            }
            Ok(answers)
        };
        futures::future::try_join(write, read).await.map(|((), answers)| answers)
    }
}

async fn answer(reader: &mut (impl AsyncReadExt + Unpin), read: &mut Vec<u8>) -> Result<String> {
    let mut searched = 0;
    loop {
        let found = read[searched..].windows(PROMPT.len()).position(|window| window == PROMPT);
        if let Some(end) = found.map(|at| at + searched) {
            let rest = read.split_off(end + PROMPT.len());
            let answer = std::mem::replace(read, rest);
            return Ok(String::from_utf8_lossy(&answer[..end]).into_owned());
        }
        searched = read.len().saturating_sub(PROMPT.len());
        ensure!(reader.read_buf(read).await? > 0, "haproxy closed the connection");
    }
}

fn place(one: &Instance) -> String {
    format!("{}/hand-{}", one.app.dotted(), one.number)
}

impl Registry for Haproxy {
    fn driver(&self) -> Value {
        json!({ "haproxy": { "socket": self.socket } })
    }

    fn pid(&self) -> Option<u32> {
        self.process.pid().ok()
    }

    /// It takes one command after the other, as many as are sent.
    fn style(&self) -> Style {
        Style { together: 100, bulk: 100, at_once: 1 }
    }

    fn look<'a>(&'a self, apps: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>> {
        self.list(apps).boxed()
    }

    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        let commands: Vec<String> = some
            .iter()
            .flat_map(|one| {
                let (place, address) = (place(one), one.address());
                [
                    format!("add server {place} {address}:{PORT} weight 100"),
                    format!("set server {place} state ready"),
                ]
            })
            .collect();
        async move {
            let answers = self.ask(&self.pen, &commands).await?;
            let refused = answers.iter().step_by(2).find(|answer| !answer.contains("registered"));
            ensure!(refused.is_none(), "haproxy: {refused:?}");
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        let commands: Vec<String> = some
            .iter()
            .flat_map(|one| {
                let place = place(one);
                [format!("set server {place} state maint"), format!("del server {place}")]
            })
            .collect();
        async move {
            let answers = self.ask(&self.pen, &commands).await?;
            let refused = answers.iter().skip(1).step_by(2).find(|answer| !answer.contains("deleted"));
            ensure!(refused.is_none(), "haproxy: {refused:?}");
            Ok(())
        }
        .boxed()
    }
}
