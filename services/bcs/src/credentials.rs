//! Who may speak on the bus, and about what: users of nats-server, each with an nkey and the narrowest rights that its
//! work allows. The rights are pure data; a seed is random, made once, and kept in a file that only its owner reads.

mod config;
mod keys;
mod rights;
mod user;

use std::{collections::BTreeSet, path::Path};

use bcs_schemas::Name;

pub use keys::Keys;
pub use rights::{Rights, rights};
pub use user::User;

use crate::Failure;

/// What nats-server includes.
pub const USERS_FILE: &str = "users.conf";

/// Keys in `directory` for `wanted` and for whoever has one there already; returns what nats-server is to be told.
/// Seeds that exist are kept, so this may be done again at any time.
pub fn issue(directory: &Path, site: &Name, wanted: &BTreeSet<User>) -> Result<(Keys, String), Failure> {
    let mut keys = Keys::open(directory)?;
    for user in wanted {
        keys.make(user)?;
    }
    let users = keys.all().map(|(user, key)| (user.to_string(), key.to_owned(), rights(user, site)));
    let text = config::authorization(users);
    Ok((keys, text))
}
