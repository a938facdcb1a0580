//! The file driver against a real directory.

use std::{fs, sync::Arc};

use futures::StreamExt as _;

use super::*;
use crate::{domain::Naming, testing};

fn owner() -> Owner {
    Owner {
        platform: testing::name("eu1"),
        cluster: testing::name("sim-a"),
        registry: testing::name("hosts"),
        installation: "one".to_owned(),
    }
}

fn settings(directory: &tempfile::TempDir) -> FileDriver {
    FileDriver { directory: directory.path().to_owned(), nginx: true, command: Vec::new() }
}

fn put(driver: &File, number: u32) -> Change {
    let spec = serde_json::from_value(serde_json::json!({ "driver": { "file": { "directory": "/x" } } }));
    let naming = Naming::of(&testing::name("r"), &spec.expect("a spec"));
    let entry = naming.entry(&Arc::new(testing::endpoint("web", number))).expect("an entry");
    Change::Put { place: driver.place(&entry), digest: driver.digest(&entry), entry, over: None }
}

#[tokio::test]
async fn entries_are_read_back_by_the_next_sidecar() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = File::new(&settings(&directory), &owner());
    first.fence(1).await.expect("nothing is there yet");
    assert!(!directory.path().join("sim-a.json").exists(), "an empty file would be believed");
    let changes = [put(&first, 2), put(&first, 1)];
    assert_eq!(first.apply(&changes).await, Ok(vec![Outcome::Done(0); 2]));
    let hosts = fs::read_to_string(directory.path().join("sim-a.hosts")).expect("hosts");
    assert!(hosts.ends_with("10.0.0.1\tweb.shop.bcs.local\n10.0.0.2\tweb.shop.bcs.local\n"), "{hosts}");

    let second = File::new(&settings(&directory), &owner());
    second.fence(2).await.expect("a higher epoch");
    let items = second.list().await.expect("reads").items;
    assert_eq!(items.len(), 2);
    for change in &changes {
        let Change::Put { place, digest, .. } = change else { unreachable!("only puts") };
        assert!(
            items.iter().any(|i| i.place == *place && i.digest == *digest),
            "an unchanged entry looks the same"
        );
    }
    let late = first.apply(&[put(&first, 3)]).await;
    assert_eq!(late, Err(Failure::Fenced(2)), "the older one is refused");
    assert_eq!(second.list().await.expect("reads").items.len(), 2);
}

#[tokio::test]
async fn what_is_not_ours_stays_and_the_condition_says_what_was_expected() {
    for (file, text) in [
        ("sim-a.json", "{\"owner\":\"me\",\"epoch\":1,\"generation\":1,\"entries\":[]}"),
        ("sim-a.json", "no json"),
        ("sim-a.hosts", "127.0.0.1 localhost\n"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(file);
        fs::write(&path, text).expect("writes");
        let driver = File::new(&settings(&directory), &owner());
        let words = driver.fence(1).await.expect_err("foreign").to_string();
        assert!(words.contains("is not ours") && words.contains("eu1.sim-a.hosts"), "{words}");
        assert_eq!(fs::read_to_string(&path).expect("reads"), text);
    }
}

#[tokio::test]
async fn a_file_changed_by_hand_is_noticed_before_the_next_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = File::new(&settings(&directory), &owner());
    driver.fence(1).await.expect("fences");
    driver.apply(&[put(&driver, 1), put(&driver, 2)]).await.expect("writes");
    let path = directory.path().join("sim-a.json");
    let mut drift = driver.drift(0).await.expect("watches");
    let text = fs::read_to_string(&path).expect("reads");
    fs::write(&path, text.replace("\"weight\":100", "\"weight\":1")).expect("writes");
    assert_eq!(drift.next().await, Some(Ok(Drift::Unknown)));
    assert!(matches!(driver.apply(&[put(&driver, 3)]).await, Err(Failure::Unavailable(_))));
    assert_eq!(driver.list().await.expect("reads").items.len(), 2);
}

#[tokio::test]
async fn what_older_sidecars_left_half_written_is_swept_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let theirs = ["sim-a.json.9-1.tmp", "sim-a.json.mine.tmp", "sim-b.json.1-1.tmp", "sim-a.json.tmp"];
    for name in
        theirs.into_iter().chain(["sim-a.json.3-77.tmp", "sim-a.hosts.4-77.tmp", "sim-a.nginx.conf.4-77.tmp"])
    {
        fs::write(directory.path().join(name), "half").expect("writes");
    }
    let driver = File::new(&settings(&directory), &owner());
    driver.fence(4).await.expect("fences");
    let names = fs::read_dir(directory.path()).expect("lists");
    let left: std::collections::BTreeSet<String> =
        names.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(left, theirs.map(ToOwned::to_owned).into());
}

#[tokio::test]
async fn a_file_that_cannot_be_replaced_leaves_nothing_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = File::new(&settings(&directory), &owner());
    driver.fence(1).await.expect("fences");
    // A file cannot be renamed over a directory, and the shared name of old is taken as well.
    for name in ["sim-a.hosts", "sim-a.hosts.tmp"] {
        fs::create_dir(directory.path().join(name)).expect("makes");
    }
    assert!(matches!(driver.apply(&[put(&driver, 1)]).await, Err(Failure::Unavailable(_))));
    assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 2);
}

#[tokio::test]
async fn a_hosts_file_that_was_changed_or_deleted_by_hand_is_noticed_and_written_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = File::new(&settings(&directory), &owner());
    driver.fence(1).await.expect("fences");
    driver.apply(&[put(&driver, 1)]).await.expect("writes");
    let path = directory.path().join("sim-a.hosts");
    let mut drift = driver.drift(0).await.expect("watches");
    let text = fs::read_to_string(&path).expect("reads");
    for change in [Some(text.replace("10.0.0.1", "10.0.0.99")), None] {
        match change {
            Some(changed) => fs::write(&path, changed).expect("writes"),
            None => fs::remove_file(&path).expect("removes"),
        }
        let noticed = tokio::time::timeout(LOOK * 5, drift.next()).await.expect("is noticed");
        assert_eq!(noticed, Some(Ok(Drift::Unknown)));
        driver.list().await.expect("reads");
        let hosts = fs::read_to_string(&path).expect("is there");
        assert!(hosts.ends_with("\n10.0.0.1\tweb.shop.bcs.local\n"), "{hosts}");
    }
}

#[tokio::test]
async fn nothing_is_done_before_the_command_succeeded_and_it_is_run_once_for_what_it_knows() {
    let directory = tempfile::tempdir().expect("a directory");
    let (allowed, told) = (directory.path().join("allowed"), directory.path().join("told"));
    let script =
        format!("test -e {} || {{ echo no >&2; exit 3; }}; echo x >> {}", allowed.display(), told.display());
    let command = ["sh", "-c", &script].map(ToOwned::to_owned).to_vec();
    let driver = File::new(&FileDriver { command, ..settings(&directory) }, &owner());
    let runs = || fs::read_to_string(&told).unwrap_or_default().lines().count();
    driver.fence(1).await.expect("fences");
    driver.list().await.expect("there is nothing to tell");
    let refused = driver.apply(&[put(&driver, 1)]).await.expect_err("the command fails").to_string();
    assert!(refused.contains("the files are written, but sh -c") && refused.ends_with(": no"), "{refused}");
    assert!(driver.list().await.is_err(), "it was not told yet");
    fs::write(&allowed, "").expect("writes");
    assert_eq!(driver.list().await.expect("is told").items.len(), 1);
    assert_eq!(runs(), 1);
    driver.list().await.expect("reads");
    assert_eq!(runs(), 1);
    driver.apply(&[put(&driver, 2), put(&driver, 3)]).await.expect("is written and told");
    assert_eq!(runs(), 2);
}
