//! `bcs sim` on a cluster of `bcs kubesim`, on none, and on what is no simulated cluster.

use std::{
    fs::File,
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use crate::{Running, bcs, run, text, until};

/// A directory with a cluster in it, as `bcs up` leaves one behind.
struct Lab {
    home: tempfile::TempDir,
    _cluster: Running,
}

impl Lab {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let kubeconfig = kubeconfig(home.path());
        std::fs::create_dir_all(kubeconfig.parent().expect("has one")).expect("a directory");
        let line = format!("kubesim --name sim-a --nodes 2 --kubeconfig {}", kubeconfig.display());
        let said = home.path().join("said");
        let to = File::create(&said).expect("opens");
        let cluster = bcs(home.path(), &line).stdout(to).stderr(Stdio::null()).spawn().expect("runs");
        let lab = Self { _cluster: Running(cluster), home };
        until("its start", || std::fs::read_to_string(&said).is_ok_and(|said| said.contains("Ctrl-C")));
        lab
    }

    /// A command that must end well; what it says.
    fn ok(&self, line: &str) -> String {
        let output = run(self.home.path(), line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).expect("is JSON")
    }

    /// A command that must not; what it says.
    fn fails(&self, code: i32, line: &str, words: &[&str]) {
        fails(self.home.path(), code, line, words);
    }
}

fn kubeconfig(home: &Path) -> PathBuf {
    home.join(".local/share/bcs/clusters/sim-a/kubeconfig")
}

fn fails(home: &Path, code: i32, line: &str, words: &[&str]) {
    let output = run(home, line);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), ""), "{line}: {said}");
    for word in words {
        assert!(said.contains(word), "{line}: {word:?} is not in {said}");
    }
}

#[test]
fn faults_are_set_shown_and_taken_back() {
    let lab = Lab::new();
    assert_eq!(
        lab.ok("sim fault --cluster sim-a api-errors=5% latency=200ms"),
        "cluster sim-a: api-errors=5% latency=200ms\n"
    );
    let file = kubeconfig(lab.home.path());
    let same = lab.json(&format!("sim status --kubeconfig {}", file.display()));
    assert_eq!((&same["cluster"], &same["faults"]["api_errors"]), (&json!("sim-a"), &json!(0.05)));
    assert_eq!((&same["objects"]["nodes"], &same["faults"]["latency_ms"]), (&json!(2), &json!(200)));
    lab.ok("sim fault --cluster sim-a drop-watches compact");
    let done =
        lab.json("sim fault --cluster sim-a node-down sim-a-node-1 partition 60s conflicts=10% seed=7");
    assert_eq!(
        (&done["nodes_down"], &done["seed"], &done["crashed"]),
        (&json!(["sim-a-node-1"]), &json!(7), &json!([]))
    );
    // The partition hides the cluster from everybody else.
    let shown = lab.ok("sim status");
    for words in ["sim-a", "conflicts=10%", "partition=", "node-down=sim-a-node-1"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    lab.ok("sim fault --cluster sim-a partition=off node-up sim-a-node-1");
    assert_eq!(lab.ok("sim fault --cluster sim-a reset"), "cluster sim-a: no faults\n");
    assert_eq!(lab.json("sim status --cluster sim-a")["faults"]["nodes_down"], json!([]));
    assert_eq!(lab.ok("sim status -o name"), "cluster/sim-a\n");
    // What the cluster refuses, and what is not even sent.
    lab.fails(
        3,
        "sim fault --cluster sim-a node-down x",
        &["cluster sim-a refuses", "there is sim-a-node-1, sim-a-node-2"],
    );
    lab.fails(
        3,
        "sim fault --cluster sim-a crash nobody",
        &["no pod with a running container is of the app \"nobody\""],
    );
    lab.fails(
        2,
        "sim fault --cluster sim-a api-errors=5",
        &["api-errors: \"5\" is no share: expected such as 5%"],
    );
    lab.fails(2, "sim fault --cluster sim-x compact", &["no simulated cluster \"sim-x\"", "there are sim-a"]);
    lab.fails(2, "sim fault compact", &["--cluster or --kubeconfig", "there are sim-a"]);
    assert_eq!(lab.json("sim status").as_array().map(Vec::len), Some(1), "all of them are a list");
}

#[test]
fn who_is_not_there_is_said_to_be_so() {
    let home = tempfile::tempdir().expect("a directory");
    fails(home.path(), 2, "sim status", &["`bcs up` has made none", "start it", "--data", "--kubeconfig"]);
    fails(home.path(), 2, "sim fault --cluster sim-a compact", &["no simulated cluster \"sim-a\""]);
    fails(home.path(), 2, "sim status --kubeconfig nowhere.yaml", &["nowhere.yaml"]);
    let port = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("has one").port();
    let file = home.path().join("stopped.yaml");
    std::fs::write(&file, config(&format!("https://127.0.0.1:{port}"), "kubesim c")).expect("writes");
    let line = format!("sim status --kubeconfig {}", file.display());
    fails(home.path(), 1, &line, &["cluster c does not answer", "is `bcs up` (or `bcs kubesim`) running?"]);
}

fn config(server: &str, authority: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, authority);
    let authority = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed");
    let authority = STANDARD.encode(authority.pem());
    let named = |kind: &str, value: Value| json!([{"name": "c", kind: value}]);
    json!({
        "current-context": "c",
        "clusters": named("cluster", json!({"server": server, "certificate-authority-data": authority})),
        "contexts": named("context", json!({"cluster": "c", "user": "c"})),
        "users": named("user", json!({"token": "hush-hush"})),
    })
    .to_string()
}

#[test]
fn a_cluster_that_is_not_simulated_is_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let real = home.path().join("real.yaml");
    std::fs::write(&real, config("https://10.0.0.1:6443", "kubesim c")).expect("writes");
    let line = format!("sim fault --kubeconfig {} api-errors=100%", real.display());
    let words =
        ["points at https://10.0.0.1:6443/, which is no simulated cluster", "only to those of `bcs up`"];
    fails(home.path(), 2, &line, &words);
    // A real one on this machine, such as kind makes them: it is not asked at all.
    let kind = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = kind.local_addr().expect("has one");
    std::fs::write(&real, config(&format!("https://{address}"), "kubernetes")).expect("writes");
    fails(home.path(), 2, &line, &["is no simulated cluster"]);
    kind.set_nonblocking(true).expect("is set");
    assert!(kind.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
}
