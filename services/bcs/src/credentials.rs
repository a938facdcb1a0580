//! Who may speak on the bus, and about what: users of nats-server, each with an nkey and the narrowest rights that its
//! work allows. The rights are pure data; a seed is random, made once, and kept in a file that only its owner reads.

mod config;
mod keys;
mod rights;
pub mod tls;
mod user;

use std::{collections::BTreeSet, path::Path};

use bcs_schemas::Name;

pub use keys::Keys;
pub use rights::{Rights, rights};
pub use user::User;

use crate::{Failure, file};

/// What nats-server includes.
pub const USERS_FILE: &str = "users.conf";
/// What services know of those who sign for actors (`bus.actors`).
pub const ACTORS_FILE: &str = "actors.toml";
/// What nats-server includes to speak TLS.
pub const TLS_FILE: &str = "tls.conf";

/// Keys, and what others must know of them.
pub struct Issued {
    /// Where each user's seed is.
    pub keys: Keys,
    /// For nats-server.
    pub users: String,
    /// For services.
    pub actors: String,
}

/// Keys in `directory` for `wanted` and for whoever has one there already. Seeds that exist are kept, so this may be done
/// again at any time. Services take commands that do not say who asks if `anonymous`.
pub fn issue(
    directory: &Path,
    site: &Name,
    wanted: &BTreeSet<User>,
    anonymous: bool,
) -> Result<Issued, Failure> {
    let mut keys = Keys::open(directory)?;
    for user in wanted {
        keys.make(user)?;
    }
    let users = keys.all().map(|(user, key)| (user.to_string(), key.to_owned(), rights(user, site)));
    let users = config::authorization(users);
    let actors = config::actors(keys.all(), anonymous)?;
    Ok(Issued { keys, users, actors })
}

impl Issued {
    /// Puts both files beside the keys.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        for (name, text) in [(USERS_FILE, &self.users), (ACTORS_FILE, &self.actors)] {
            let path = directory.join(name);
            // Whole or not at all: services read it while they run.
            let written = file::replace(&path, text.as_bytes());
            written.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }
}
