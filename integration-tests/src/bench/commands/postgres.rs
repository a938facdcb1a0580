//! A PostgreSQL of its own, with its settings as they come: every commit has reached the disk.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use sqlx::{AnyConnection, Connection};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{Lab, Poll, Process, find, free_port, wait_until};

/// A server; it ends with its owner.
pub(super) struct Postgres {
    // Ends before its directory goes.
    _process: Process,
    _directory: TempDir,
    url: String,
}

impl Postgres {
    /// Nothing when there is no PostgreSQL on this machine.
    pub(super) async fn start(lab: &Lab) -> Result<Option<Self>> {
        let Ok(program) = find("postgres", "POSTGRES_BIN", "install PostgreSQL") else { return Ok(None) };
        let program = program.canonicalize()?;
        let directory = TempDir::with_prefix("bcs-pg-")?;
        let (data, port) = (directory.path().join("data"), free_port()?);
        let user = stranger()?;
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid))?;
        }
        let command = |program: PathBuf| {
            let mut command = Command::new(program);
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command.current_dir(directory.path()).arg("-D").arg(&data);
            command
        };
        let mut init = command(program.with_file_name("initdb"));
        let made = init.args(["-U", "bcs", "-A", "trust"]).output().await.context("initdb")?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        let mut server = command(program);
        server
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"])
            .arg(directory.path());
        let process = Process::start(lab, "postgres", server)?;
        let url = format!("postgres://bcs@127.0.0.1:{port}/postgres");
        sqlx::any::install_default_drivers();
        let answers = async || Poll::from(AnyConnection::connect(&url).await.map(drop));
        wait_until(Duration::from_secs(20), "PostgreSQL answers", answers).await?;
        Ok(Some(Self { _process: process, _directory: directory, url }))
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }
}

/// PostgreSQL refuses to run as root: then as the user that its package made.
fn stranger() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == "postgres");
    let fields = fields.context("PostgreSQL cannot run as root, and there is no user postgres")?;
    match fields[..] {
        [_, _, uid, gid, ..] => Ok(Some((uid.parse()?, gid.parse()?))),
        _ => bail!("/etc/passwd has another form"),
    }
}
