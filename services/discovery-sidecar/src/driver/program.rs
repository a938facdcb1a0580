//! Programs of the host that a driver runs, each as a process that ends with the call.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// What it wrote, or in its own words why it failed. An error when nobody can tell how it ended. `command` is the program and its
/// arguments; no shell is in between.
pub(super) async fn run(
    command: &[String],
    more: &[&str],
    input: Vec<u8>,
    within: Duration,
) -> Result<Result<String, String>, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no program is named".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments).args(more).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{program} cannot be started: {e}"))?;
    let stdin = child.stdin.take();
    let write = async {
        // A program that does not read has its own words to say.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&input).await;
        }
    };
    let both = futures::future::join(write, child.wait_with_output());
    let ((), output) = timeout(within, both).await.map_err(|_| format!("{program} did not end in time"))?;
    let output = output.map_err(|e| format!("{program} broke off: {e}"))?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.lines().next().unwrap_or_default().trim();
    Ok(Err(if words.is_empty() { output.status.to_string() } else { words.to_owned() }))
}
