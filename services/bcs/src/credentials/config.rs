//! What others must know of the keys: the part of a nats-server configuration that says who may do what, and for services
//! who may sign for actors.

use std::fmt::Write;

use bcs_kit::actor::{Signer, SignersFile};

use super::{Rights, User};
use crate::Failure;

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

const ACTORS_HEAD: &str = "\
# Made by `bcs bus credentials`, which writes it anew. Services take it as `bus.actors` and read it again when it changes.
# Whoever is not listed here cannot sign for an actor; \"*\" is every project.
";

/// The text for those with keys who send commands.
pub(super) fn actors<'a>(
    users: impl Iterator<Item = (&'a User, &'a str)>,
    anonymous: bool,
) -> Result<String, Failure> {
    let signer = |(user, key): (&User, &str)| {
        let scope = user.signs_about()?;
        Some(Signer { user: user.to_string(), key: key.to_owned(), projects: vec![scope] })
    };
    let file = SignersFile { anonymous, signers: users.filter_map(signer).collect() };
    let text = file.text().map_err(|e| Failure::failed(e.to_string()))?;
    Ok(format!("{ACTORS_HEAD}{text}"))
}

fn list<'a>(subjects: impl IntoIterator<Item = &'a String>) -> String {
    subjects.into_iter().map(|subject| format!("        {subject:?}\n")).collect()
}
