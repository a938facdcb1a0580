//! Clients of other languages, whose authors never heard of the simulator.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use bcs_kubesim::{Config, Kubesim};
use tokio::process::Command;

async fn sim(name: &str) -> Kubesim {
    let config = Config { name: name.to_owned(), tls: true, allow_processes: true, ..Config::default() };
    bcs_kubesim::start(config).await.expect("a simulator")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

async fn is_right(mut program: Command, sim: &Kubesim, what_is_missing: &str) {
    let folder = tempfile::tempdir().expect("a directory");
    let kubeconfig = folder.path().join("config");
    sim.write_kubeconfig(&kubeconfig).expect("written");
    program.arg(&kubeconfig).arg(format!("{}/sim/faults", sim.url())).arg(sim.token());
    let output = program.stdin(Stdio::null()).kill_on_drop(true).output().await.expect(what_is_missing);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what_is_missing}\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_and_its_informer_find_a_cluster() {
    let sim = sim("python").await;
    let mut program = Command::new("python3");
    program.arg(script("client.py"));
    is_right(program, &sim, "the Python package kubernetes must be installed for this test").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_client_and_its_informer_find_a_cluster() {
    let sim = sim("javascript").await;
    let mut program = Command::new("node");
    program.arg(script("client.mjs"));
    is_right(program, &sim, "the npm package @kubernetes/client-node must be installed for this test").await;
    sim.shutdown().await;
}
