use std::os::unix::fs::PermissionsExt;

use super::*;

const IMPATIENT: Patience =
    Patience { pause: Duration::from_millis(1), starts: 3, steady: Duration::from_secs(3600) };
/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

struct Place {
    dir: tempfile::TempDir,
    data: DataDir,
    tasks: Tasks,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(Some(dir.path().join("data"))).map_err(|f| f.message).expect("opens");
        Self { dir, data, tasks: Tasks::new() }
    }

    /// A program that says that it is new enough, and otherwise does this.
    fn program(&self, does: &str) -> PathBuf {
        let path = self.dir.path().join("nats-server");
        let text =
            format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'nats-server: v2.99.0' && exit\n{does}\n");
        fs::write(&path, text).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("has a mode");
        path
    }

    async fn start(&self, does: &str) -> Result<Server, String> {
        let (program, access) = (self.program(does), Access::open());
        let started = start_program(program, &self.data, (0, &access), &self.tasks, IMPATIENT);
        started.await.map_err(|failure| failure.message)
    }
}

#[tokio::test]
async fn a_server_that_never_works_is_an_error_with_its_own_words() {
    let place = Place::new();
    let error = place.start("echo 'no space left' >&2; exit 3").await.err().expect("does not start");
    assert!(error.contains("no space left") && error.contains("exit status: 3"), "{error}");
    let error = place.start("exit 0").await.err().expect("does not start");
    assert!(error.contains("it said nothing"), "{error}");
}

/// Listens in the first life until it is told to end; has nothing but words in the next.
const ONCE: &str = r#"
if [ -e "$0.again" ]; then echo 'bind: address already in use' >&2; exit 1; fi
touch "$0.again"
port=$(sed -n 's/^listen: .*:\([0-9]*\)"/\1/p' "$2")
exec python3 -c '
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
' "$port" "$0.end"
"#;

#[tokio::test]
async fn a_server_that_cannot_come_back_is_given_up_with_its_last_words() {
    let place = Place::new();
    let server = place.start(ONCE).await.expect("starts");
    fs::write(place.dir.path().join("nats-server.end"), "").expect("writes");
    let failure = tokio::time::timeout(LONG, server.given_up()).await.expect("is given up");
    assert!(failure.message.contains("bind: address already in use"), "{}", failure.message);
    assert!(place.tasks.stop(LONG).await);
}

#[tokio::test]
async fn a_former_server_is_gone_when_it_was_ended_even_if_it_does_not_listen() {
    let place = Place::new();
    let directory = place.data.nats();
    fs::create_dir_all(&directory).expect("makes");
    let ours = directory.join("nats-server.conf").display().to_string();
    let mut orphan = Command::new("sh")
        .args(["-c", "trap '' TERM; touch \"$1.deaf\"; while :; do sleep 0.05; done", "sh", &ours])
        .kill_on_drop(true)
        .spawn()
        .expect("runs");
    let pid = orphan.id().expect("runs");
    while !Path::new(&format!("{ours}.deaf")).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fs::write(directory.join("pid"), pid.to_string()).expect("writes");
    end_orphan(&directory, Duration::from_millis(200)).await.map_err(|f| f.message).expect("ends it");
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&line).contains(&ours), "it runs on");
    assert!(!orphan.wait().await.expect("ends").success());
}
