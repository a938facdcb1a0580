//! Every message that was ever written must be readable for ever, and every message type has an example.

use std::{collections::BTreeSet, path::Path};

use bcs_schemas::{MessageSet, TypeName, cluster, deploy, golden};

#[test]
fn every_golden_message_still_decodes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut read = 0;
    for entry in std::fs::read_dir(&dir).expect("golden/ exists") {
        let path = entry.expect("an entry").path();
        let name: TypeName =
            path.file_stem().and_then(|s| s.to_str()).expect("a name").parse().expect("a type name");
        let payload = std::fs::read(&path).expect("readable");
        golden::read(&name, &payload).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        read += 1;
    }
    assert!(read >= golden::examples().len(), "only {read} golden messages");
}

#[test]
fn every_message_type_has_an_example_that_survives_the_wire() {
    fn types<M: MessageSet>() -> impl Iterator<Item = String> {
        M::TYPES.iter().map(|t| format!("bcs.{}.{}.{}.v{}", M::SERVICE, t.kind, t.verb, t.version))
    }
    let declared: BTreeSet<String> = types::<deploy::DeployCommand>()
        .chain(types::<deploy::DeployEvent>())
        .chain(types::<cluster::ClusterCommand>())
        .chain(types::<cluster::ClusterEvent>())
        .collect();
    let examples = golden::examples();
    assert_eq!(examples.keys().cloned().collect::<BTreeSet<_>>(), declared);
    for (name, payload) in examples {
        golden::read(&name.parse().expect("a type name"), &payload).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
