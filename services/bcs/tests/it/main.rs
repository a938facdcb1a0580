//! The program as a script meets it: exit codes, what goes where, and its end. What needs a platform is tested in
//! `integration-tests`.

mod registry;
mod sim;

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

fn bcs(home: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcs"));
    command.args(line.split(' ')).env("HOME", home).env("BCS_CONFIG", home.join("config.toml"));
    for name in ["BCS_CONTEXT", "BCS_PROJECT", "BCS_NATS_URL", "USER"] {
        command.env_remove(name);
    }
    command
}

fn run(home: &Path, line: &str) -> Output {
    bcs(home, line).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until this is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + LONG;
    while !so() {
        assert!(tokio::time::Instant::now() < end, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_failure_is_an_exit_code_and_plain_words_on_standard_error() {
    let home = tempfile::tempdir().expect("a directory");
    for (line, code, words) in [
        ("get apps --nats nats://127.0.0.1:1 -o json", 1, "is `bcs up` running"),
        ("get apps --context nowhere -o json", 2, "\"nowhere\" does not exist"),
        ("get apps --project No_Name -o json", 2, "no DNS label"),
        ("apply -f nowhere.yaml -o json", 2, "nowhere.yaml: "),
        ("events --object a/b/c/d", 2, "expected such as demo/app/shop-web"),
        ("get nothing", 2, "possible values"),
        ("context use nowhere -o json", 2, "does not exist"),
        ("sim fault --cluster sim-a", 2, "required"),
        ("sim status --cluster sim-a --kubeconfig x", 2, "cannot be used with"),
    ] {
        let output = run(home.path(), line);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), ""), "{line}: {said}");
        assert!(said.contains(words) && !said.contains('\x1b'), "{line}: {said:?}");
    }
}

#[test]
fn what_is_asked_for_as_json_is_one_document() {
    let home = tempfile::tempdir().expect("a directory");
    for line in [
        "version -o json",
        "context add here --url nats://127.0.0.1:1 -o json",
        "context use here -o json",
        "context show -o json",
        "context list -o json",
        "context remove here -o json",
    ] {
        let output = run(home.path(), line);
        let said = text(&output.stdout);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{line}");
        serde_json::from_str::<serde_json::Value>(&said).unwrap_or_else(|e| panic!("{line}: {e}: {said}"));
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_none() {
    let home = tempfile::tempdir().expect("a directory");
    let full = File::options().write(true).open("/dev/full").expect("opens");
    let output = bcs(home.path(), "version -o json").stdout(full).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the answer could not be written"), "{}", text(&output.stderr));
    let mut unread = bcs(home.path(), "completions bash").stdout(Stdio::piped()).spawn().expect("runs");
    drop(unread.stdout.take());
    assert_eq!(unread.wait().expect("ends").code(), Some(0));
}

/// Ends what a failed test leaves behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_platform_that_is_stopped_while_it_starts_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let line = format!("up --data {} --nats-port 0 --health 127.0.0.1:0 --no-context", data.display());
    let log = home.path().join("said");
    let to = |log: &Path| File::create(log).expect("opens");
    let mut up =
        Running(bcs(home.path(), &line).stdout(to(&log)).stderr(Stdio::null()).spawn().expect("runs"));
    let mut bus = None;
    until("its bus", || {
        bus = std::fs::read_to_string(data.join("nats/pid"))
            .ok()
            .and_then(|pid| pid.trim().parse::<u32>().ok());
        bus.is_some()
    });
    let pid = i32::try_from(up.0.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("is told");
    assert_eq!(up.0.wait().expect("ends").code(), Some(0));
    let line = std::fs::read(format!("/proc/{}/cmdline", bus.expect("a number"))).unwrap_or_default();
    assert!(!text(&line).contains(&data.display().to_string()), "its bus runs on");
}
