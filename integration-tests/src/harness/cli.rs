//! The command line as a person uses it: a process, its exit code, and what it says.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use super::bcs;

/// Runs `bcs` against one bus, with a configuration of its own.
#[derive(Clone, Debug)]
pub struct Cli {
    /// Address of the bus.
    pub nats: String,
    /// Its home: no file of the person who runs the tests is read or written.
    pub home: PathBuf,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What was typed.
    pub line: String,
    /// Exit code; none when it was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// No command takes longer than this unless it hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(170);

impl Cli {
    /// Runs `bcs` with these arguments, whatever comes of it.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.run_with(arguments, None).await
    }

    /// As `run`, with something on standard input.
    pub async fn run_with(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<Ran> {
        let line = format!("bcs {}", arguments.join(" "));
        let mut command = self.command()?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{line}: cannot be run"))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let ending = async {
            let feeding = async move {
                // A program that reads nothing may end before everything is written.
                let _ = stdin.write_all(input.unwrap_or_default()).await;
                drop(stdin);
            };
            tokio::join!(feeding, child.wait_with_output()).1
        };
        let ended = tokio::time::timeout(ENDS_WITHIN, ending).await;
        let output = ended.with_context(|| format!("{line}: hangs"))??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran { line, code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// Runs it and demands that it ends well; what it says.
    pub async fn ok(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.run(arguments).await?.expect(0)?.stdout)
    }

    /// Runs it with `-o json` and reads what it says.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.ok(&[arguments, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&said).with_context(|| format!("bcs {arguments:?} said no JSON: {said}"))
    }

    /// The program with its settings, for those who start it themselves.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(bcs()?);
        command.env("BCS_CONFIG", self.home.join("config.toml")).env("HOME", &self.home);
        command.env("BCS_NATS_URL", &self.nats).env("USER", "tester").kill_on_drop(true);
        command.env_remove("BCS_CONTEXT").env_remove("BCS_PROJECT");
        Ok(command)
    }
}

impl Ran {
    /// Demands an exit code.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        bail!("{self}\nexpected exit code {code}")
    }

    /// Everything it said.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "{line}: ended with {code:?}\n{stdout}{stderr}")
    }
}
