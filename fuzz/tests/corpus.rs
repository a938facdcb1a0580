//! Every input of the corpus keeps what the product promises, and the corpus has something for every type.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use bcs_fuzz::{TARGETS, seed};
use bcs_schemas::{
    cluster::{ClusterCommand, ClusterEvent},
    deploy::{DeployCommand, DeployEvent},
};

/// What a person can look through.
const MOST_BYTES: u64 = 400 * 1024;

fn files(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("a folder for each target");
    entries.map(|entry| entry.expect("can be listed").path()).collect()
}

/// Tries each input, and tells of all that break a promise.
fn all_keep_the_promises(target: &str, inputs: Vec<(String, Vec<u8>)>) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    assert!(inputs.len() > 10, "{} inputs for {target}", inputs.len());
    let breaks = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| check(input))).is_err();
    let broken: Vec<String> =
        inputs.into_iter().filter(|(_, input)| breaks(input)).map(|(name, _)| name).collect();
    assert!(broken.is_empty(), "{target}, repeat with `scripts/fuzz {target} FILE`: {}", broken.join(", "));
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read(&path).expect("can be read"));
    files(target).into_iter().map(read).collect()
}

#[test]
fn payloads_of_every_type_are_read_or_refused_as_promised() {
    let mut inputs = corpus("codec");
    inputs.extend(seed::payloads());
    all_keep_the_promises("codec", inputs);
}

#[test]
fn headers_are_read_or_refused_as_promised() {
    all_keep_the_promises("envelope", corpus("envelope"));
}

#[test]
fn subjects_and_names_are_read_or_refused_as_promised() {
    all_keep_the_promises("subjects", corpus("subjects"));
}

#[test]
fn documents_are_read_or_refused_as_promised() {
    all_keep_the_promises("resources", corpus("resources"));
}

#[test]
fn plans_are_read_or_refused_as_promised() {
    all_keep_the_promises("plans", corpus("plans"));
}

#[test]
fn audits_are_read_or_refused_as_promised() {
    all_keep_the_promises("audits", corpus("audits"));
}

#[test]
fn every_type_of_the_catalogue_has_a_good_input() {
    let read: BTreeSet<&str> = seed::types().collect();
    let good = seed::payloads().into_iter().chain(corpus("codec")).filter(|(_, input)| seed::is_read(input));
    let good: BTreeSet<String> = good.map(|(name, _)| stem(&name)).collect();
    let messages = seed::names::<DeployCommand>()
        .chain(seed::names::<DeployEvent>())
        .chain(seed::names::<ClusterCommand>())
        .chain(seed::names::<ClusterEvent>());
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/json");
    let schemas = std::fs::read_dir(schemas).expect("schemas are there");
    let schemas = schemas.map(|entry| stem(&entry.expect("can be listed").path().to_string_lossy()));
    for name in messages.chain(schemas) {
        assert!(read.contains(name.as_str()), "nothing reads {name}: add it in fuzz/src/codec.rs");
        assert!(good.contains(&name), "no good payload of {name}: add fuzz/corpus/codec/{name}.json");
    }
}

/// The name of a type that a file is named after.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.trim_end_matches(".json").trim_end_matches(".msgpack").to_owned()
}

#[test]
fn the_corpus_stays_small() {
    let size = |path: &PathBuf| path.metadata().expect("is there").len();
    let total: u64 = TARGETS.iter().flat_map(|(name, _)| files(name)).map(|path| size(&path)).sum();
    assert!(total <= MOST_BYTES, "{total} bytes: keep the small ones");
}
