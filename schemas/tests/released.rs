//! What was released stays understood; golden messages stay as they were written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn run(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcs-schemas"));
    command.args(arguments).arg(dir).output().expect("runs")
}

/// Runs it, demands a failure and gives what was said.
fn refused(arguments: &[&str], dir: &Path) -> String {
    let output = run(arguments, dir);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("is text")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("is made");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("is copied");
        }
    }
}

/// The generated files and what was released, to be changed.
fn copied() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    for part in ["json", "golden", "released"] {
        copy(&here().join(part), &place.path().join(part));
    }
    fs::copy(here().join("asyncapi.yaml"), place.path().join("asyncapi.yaml")).expect("is copied");
    place
}

#[test]
fn what_was_released_is_still_understood() {
    assert!(
        here().join("released/0.1.0/json/bcs.deploy.app.scaled.v1.json").is_file(),
        "the first release is missing"
    );
    let output = run(&["--compat"], &here());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_change_that_breaks_is_refused_with_the_file_the_field_and_what_to_do() {
    let place = copied();
    let file = place.path().join("json/bcs.deploy.app.scaled.v1.json");
    let text = fs::read_to_string(&file).expect("is there");
    fs::write(&file, text.replace(r#""replicas""#, r#""instances""#)).expect("writes");
    let said = refused(&["--compat"], place.path());
    for words in
        ["since 0.1.0: json/bcs.deploy.app.scaled.v1.json: replicas: is gone", "bcs.deploy.app.scaled.v2"]
    {
        assert!(said.contains(words), "{words:?} is missing in {said}");
    }
    let base = here();
    let said = refused(&["--compat", "--base", base.to_str().expect("a path")], place.path());
    assert!(said.contains("replicas: is gone"), "{said}");
}

#[test]
fn a_golden_message_is_never_changed_and_never_goes() {
    let place = copied();
    let golden = |name: &str| place.path().join("golden").join(name);
    fs::write(golden("bcs.deploy.app.scale.v1.msgpack"), [0x80]).expect("writes");
    fs::remove_file(golden("bcs.deploy.app.scaled.v1.msgpack")).expect("goes");
    let said = refused(&["--compat"], place.path());
    assert!(said.contains("golden/bcs.deploy.app.scale.v1.msgpack was changed"), "{said}");
    assert!(said.contains("golden/bcs.deploy.app.scaled.v1.msgpack is gone"), "{said}");
}

#[test]
fn a_version_is_released_once() {
    let place = copied();
    let version = env!("CARGO_PKG_VERSION");
    let kept = place.path().join("released").join(version);
    if kept.exists() {
        assert!(refused(&["--release"], place.path()).contains("was released before"));
        fs::remove_dir_all(&kept).expect("goes");
    }
    assert!(run(&["--release"], place.path()).status.success());
    assert!(run(&["--compat"], place.path()).status.success());
    assert!(kept.join("golden.sha256").is_file() && kept.join("asyncapi.yaml").is_file());
    assert!(refused(&["--release"], place.path()).contains("was released before"));
}
