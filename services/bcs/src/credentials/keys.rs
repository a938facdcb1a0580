//! A directory of seeds, one file for each user: `deploy.nk`. A seed that is there is never replaced.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nkeys::KeyPair;

use super::User;
use crate::Failure;

/// The users of a directory with their public keys.
pub struct Keys {
    directory: PathBuf,
    public: BTreeMap<User, String>,
}

impl Keys {
    /// Makes the directory if there is none, and reads whom it has seeds for.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", directory.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let mut keys = Self { directory: directory.to_owned(), public: BTreeMap::new() };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "nk") {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let user = stem.parse().map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
                keys.public.insert(user, public(&path)?);
            }
        }
        Ok(keys)
    }

    /// Makes a seed, unless there is one.
    pub fn make(&mut self, user: &User) -> Result<(), Failure> {
        if self.public.contains_key(user) {
            return Ok(());
        }
        let path = self.file(user);
        let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", path.display()));
        let pair = KeyPair::new_user();
        let seed = pair.seed().map_err(|e| failed(&e))?;
        // Written whole or not at all, and readable by its owner alone from the first moment.
        let mut draft = tempfile::NamedTempFile::new_in(&self.directory).map_err(|e| failed(&e))?;
        writeln!(draft, "{seed}").and_then(|()| draft.as_file().sync_all()).map_err(|e| failed(&e))?;
        draft.persist_noclobber(&path).map_err(|e| failed(&e.error))?;
        self.public.insert(user.clone(), pair.public_key());
        Ok(())
    }

    /// Everybody with a seed here, and the public key.
    pub fn all(&self) -> impl Iterator<Item = (&User, &str)> {
        self.public.iter().map(|(user, key)| (user, key.as_str()))
    }

    /// Where the seed of a user lies.
    pub fn file(&self, user: &User) -> PathBuf {
        self.directory.join(format!("{user}.nk"))
    }
}

fn public(path: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::failed(format!("{}: {why}", path.display()));
    // Somebody may have copied it from elsewhere.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|e| failed(e.to_string()))?;
    let text = fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    let pair = KeyPair::from_seed(text.trim());
    Ok(pair.map_err(|_| failed("is no nkey seed: remove it, and a new one is made".to_owned()))?.public_key())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bcs_schemas::Name;

    use super::{
        super::{Issued, issue},
        *,
    };

    #[test]
    fn seeds_are_their_owners_alone_and_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let (place, site) = (dir.path().join("bus"), Name::new("local").expect("a name"));
        let demo = User::Project(Name::new("demo").expect("a name"));
        let first: BTreeSet<User> = User::standard().chain([demo.clone()]).collect();
        let issue = |users| issue(&place, &site, users, false).map_err(|f| f.message).expect("issues");
        let Issued { keys, users: text, actors } = issue(&first);
        let seed = fs::read_to_string(keys.file(&demo)).expect("reads");
        assert!(seed.starts_with("SU") && !text.contains(seed.trim()) && !actors.contains(seed.trim()));
        for user in &first {
            let mode = fs::metadata(keys.file(user)).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{user}");
        }
        // Named or not, who has a seed keeps its rights.
        let again = issue(&BTreeSet::new());
        assert_eq!((again.users, again.actors), (text, actors));
        assert_eq!(fs::read_to_string(keys.file(&demo)).expect("reads"), seed);
    }

    /// Services take what is written for them, and those who send commands may sign about just what they may command.
    #[test]
    fn whoever_may_command_may_sign_about_it_and_nobody_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let site = Name::new("local").expect("a name");
        // As long as names get.
        let long = "a".repeat(63);
        let named = [
            User::Project(Name::new(&long).expect("a name")),
            User::Sidecar(Name::new("eu").expect("a name")),
        ];
        let users = User::standard().chain(named).collect();
        let issued = issue(dir.path(), &site, &users, false).map_err(|f| f.message).expect("issues");
        issued.write(dir.path()).map_err(|f| f.message).expect("writes");
        let path = dir.path().join(super::super::ACTORS_FILE);
        bcs_kit::actor::Signers::open(&path).expect("a service takes it");
        let file: bcs_kit::actor::SignersFile = toml::from_str(&issued.actors).expect("is TOML");
        let signers =
            file.signers.into_iter().map(|signer| (signer.user, String::from(signer.projects[0].clone())));
        let all: BTreeSet<(String, String)> = signers.collect();
        let expected = [("operator", "*"), ("platform", "system"), (&format!("project-{long}"), &long)];
        assert_eq!(all, expected.map(|(user, scope)| (user.to_owned(), scope.to_owned())).into());
    }

    #[test]
    fn a_file_that_is_no_seed_is_named_and_not_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("deploy.nk"), "SUSECRET").expect("writes");
        let error = Keys::open(dir.path()).map(drop).expect_err("is no seed").message;
        assert!(error.contains("deploy.nk") && !error.contains("SECRET"), "{error}");
    }
}
