//! What the Dockerfile installs to build with is what scripts/env asks of a machine.

use std::collections::BTreeSet;

const DOCKERFILE: &str = include_str!("../../../Dockerfile");
const ENV: &str = include_str!("../../../scripts/env");

/// The packages about protobuf in the first line that installs some with these words.
fn packages<'a>(text: &'a str, words: &str) -> BTreeSet<&'a str> {
    let installs = |line: &&str| line.contains(words) && line.contains("protobuf-compiler");
    let line = text.lines().find(installs).expect(words);
    line.split_whitespace().filter(|word| word.contains("protobuf") && !word.contains('\'')).collect()
}

#[test]
fn an_image_is_built_with_the_packages_that_a_machine_needs() {
    let wanted = BTreeSet::from(["protobuf-compiler", "libprotobuf-dev"]);
    assert_eq!(packages(ENV, "|| debian "), wanted);
    assert_eq!(packages(DOCKERFILE, "apt-get install"), wanted);
}
