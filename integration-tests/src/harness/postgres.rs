//! A PostgreSQL of its own, with its settings as they come: every commit has reached the disk. It can be killed and
//! started again with its data.

use std::{fs::OpenOptions, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{Lab, process::signal_to};

/// A server. It ends when its standard input does, so also when this process is killed.
pub struct Postgres {
    _script: Child,
    orders: ChildStdin,
    said: BufReader<ChildStdout>,
    log: std::path::PathBuf,
    url: String,
}

/// Longer than a start takes on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

impl Postgres {
    /// Starts one.
    pub async fn start(lab: &Lab) -> Result<Self> {
        let log = lab.log("postgres.log");
        let words = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres"));
        command.arg(&log).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(words);
        let mut script = command.spawn().context("scripts/postgres cannot be run")?;
        let orders = script.stdin.take().context("no standard input")?;
        let said = BufReader::new(script.stdout.take().context("no standard output")?);
        let mut server = Self { _script: script, orders, said, log, url: String::new() };
        server.url = server.ready().await?;
        Ok(server)
    }

    /// Where it listens; the same after it was started again.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for another user.
    pub fn url_of(&self, user: &str) -> String {
        self.url.replace("user=bcs", &format!("user={user}"))
    }

    /// As its superuser.
    pub async fn sql(&self, sql: &str) -> Result<()> {
        sqlx::any::install_default_drivers();
        let mut server = AnyConnection::connect(&self.url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await?;
        Ok(())
    }

    /// As `kill -9` of the server does; its other processes notice that and end too.
    pub fn kill(&self) -> Result<()> {
        let (_, folder) = self.url.split_once("host=").context("the URL names no folder")?;
        let file = std::fs::read_to_string(format!("{folder}/data/postmaster.pid"))?;
        let pid = file.lines().next().context("PostgreSQL does not run")?;
        signal_to(pid.parse()?, Signal::KILL)
    }

    /// Starts it again where it was killed.
    pub async fn start_again(&mut self) -> Result<()> {
        self.orders.write_all(b"\n").await?;
        self.ready().await.map(drop)
    }

    /// Waits until it says where it listens.
    async fn ready(&mut self) -> Result<String> {
        let mut url = String::new();
        let said = tokio::time::timeout(STARTS_WITHIN, self.said.read_line(&mut url)).await;
        match said.context("PostgreSQL does not start")?? {
            0 => bail!("no PostgreSQL: {}", std::fs::read_to_string(&self.log)?),
            _ => Ok(url.trim().to_owned()),
        }
    }
}
