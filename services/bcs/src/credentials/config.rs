//! The part of a nats-server configuration that says who may do what.

use std::fmt::Write;

use super::Rights;

const HEAD: &str = "\
# Made by `bcs bus credentials`, which writes it anew. It belongs into the configuration of nats-server:
#   include \"<this file, from where the configuration lies>\"
# Whoever has no key here is refused.
";

/// The text for users, each with name, public key and rights.
pub(super) fn authorization(users: impl Iterator<Item = (String, String, Rights)>) -> String {
    let mut text = format!("{HEAD}authorization {{\n  users: [\n");
    for (name, key, rights) in users {
        let (publish, subscribe) = (list(&rights.publish), list(&rights.subscribe));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "    # {name}\n    {{ nkey: {key}, permissions: {{\n      publish: [\n{publish}      ]\n      subscribe: [\n{subscribe}      ]\n    }} }}\n"
        );
    }
    text.push_str("  ]\n}\n");
    text
}

fn list<'a>(subjects: impl IntoIterator<Item = &'a String>) -> String {
    subjects.into_iter().map(|subject| format!("        {subject:?}\n")).collect()
}
