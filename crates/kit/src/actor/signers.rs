//! Who may vouch for actors, from the file that `bus.actors` names, and whether a command is believed.

use std::{
    collections::BTreeMap,
    fs,
    io::{Error as IoError, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bcs_schemas::{Name, envelope::header};
use serde::{Deserialize, Serialize};

use super::{ANONYMOUS, Claim, Covered, Refusal};
use crate::telemetry;

/// Longest time between issue and expiry, in seconds. Outcomes are kept far longer, so a command that is sent again while
/// its claim holds finds its outcome and has no second effect.
pub(super) const LONGEST: i64 = 600;
/// A sender's clock may be ahead of the one of the bus by so many seconds.
const AHEAD: i64 = 30;

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignersFile {
    /// Whether a command is taken that does not say who asks.
    #[serde(default)]
    pub anonymous: bool,
    /// Whoever may sign.
    #[serde(default)]
    pub signers: Vec<Signer>,
}

impl SignersFile {
    /// As it is written.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// One who may vouch for actors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// Name of the user of the bus, which is recorded with the actor.
    pub user: String,
    /// Public key: `U…`.
    pub key: String,
    /// The projects whose objects it may speak about.
    pub projects: Vec<Scope>,
}

/// What a signer may speak about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything: `*`.
    All,
    /// The objects of a project.
    Project(Name),
}

impl TryFrom<String> for Scope {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "*" => Ok(Self::All),
            name => Name::new(name).map(Self::Project).map_err(|e| e.to_string()),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::All => "*".to_owned(),
            Scope::Project(name) => name.to_string(),
        }
    }
}

/// The signers of a file. It is read again when it has changed, so that somebody can be added or taken out at any time.
#[derive(Debug)]
pub struct Signers {
    path: PathBuf,
    read: Mutex<(Stamp, Arc<Known>)>,
}

/// By what a file that was changed is told from the one that was read.
type Stamp = (Option<SystemTime>, u64);

#[derive(Debug)]
struct Known {
    anonymous: bool,
    by_key: BTreeMap<String, Signer>,
}

impl Signers {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, IoError> {
        let read = Mutex::new((stamp(path)?, Arc::new(read(path)?)));
        Ok(Self { path: path.to_owned(), read })
    }

    /// As whom the sender of a command is recorded: `ada@project-demo` is somebody whom the holder of the key of
    /// `project-demo` calls ada. `received` is when the bus took the command, in Unix seconds: how long it waited there for
    /// its service is not the sender's fault.
    pub fn judge(&self, command: &Covered<'_>, project: &Name, received: i64) -> Result<String, Refusal> {
        let known = self.known();
        let actor = command.header(header::ACTOR).filter(|actor| !actor.is_empty());
        let (actor, claim) = match (actor, command.header(header::ACTOR_CLAIM)) {
            (None, None) if known.anonymous => return Ok(ANONYMOUS.to_owned()),
            (None, None) => return Err(Refusal::Anonymous),
            (Some(_), None) => return Err(Refusal::Missing),
            (None, Some(_)) => return Err(Refusal::NoActor),
            (Some(actor), Some(claim)) => (actor, claim),
        };
        let claim: Claim = claim.parse().map_err(Refusal::Malformed)?;
        if command.header(header::MESSAGE_ID).is_none() {
            return Err(Refusal::NoId);
        }
        let signer = known.by_key.get(&claim.key).ok_or_else(|| Refusal::Unknown(claim.key.clone()))?;
        if !claim.fits(command) {
            return Err(Refusal::Forged(claim.key));
        }
        if !signer.speaks_about(project) {
            return Err(Refusal::Elsewhere { user: signer.user.clone(), project: project.clone() });
        }
        timely(&claim, received)?;
        Ok(format!("{actor}@{}", signer.user))
    }

    /// What the file says now. While it cannot be read, what it said before holds.
    fn known(&self) -> Arc<Known> {
        let mut held = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = stamp(&self.path).and_then(|stamp| {
            if stamp == held.0 {
                Ok(None)
            } else {
                read(&self.path).map(|known| Some((stamp, Arc::new(known))))
            }
        });
        match fresh {
            Ok(None) => (),
            Ok(Some(fresh)) => *held = fresh,
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(error = telemetry::chain(&error), %path, "bus.actors cannot be read, what it said before holds");
            }
        }
        held.1.clone()
    }
}

impl Signer {
    fn speaks_about(&self, project: &Name) -> bool {
        self.projects.iter().any(|scope| match scope {
            Scope::All => true,
            Scope::Project(own) => own == project,
        })
    }
}

fn timely(claim: &Claim, received: i64) -> Result<(), Refusal> {
    let lasts = claim.expires.saturating_sub(claim.issued);
    if !(1..=LONGEST).contains(&lasts) {
        return Err(Refusal::TooLong(lasts));
    }
    let (early, late) = (claim.issued.saturating_sub(received), received.saturating_sub(claim.expires));
    if early > AHEAD {
        return Err(Refusal::Early { early });
    }
    if late > 0 { Err(Refusal::Expired { late }) } else { Ok(()) }
}

fn stamp(path: &Path) -> Result<Stamp, IoError> {
    let found = fs::metadata(path)?;
    Ok((found.modified().ok(), found.len()))
}

fn read(path: &Path) -> Result<Known, IoError> {
    let wrong = |why: String| IoError::new(ErrorKind::InvalidData, why);
    let text = fs::read_to_string(path)?;
    let reader = toml::Deserializer::parse(&text).map_err(|e| wrong(e.to_string()))?;
    let file: SignersFile = serde_path_to_error::deserialize(reader)
        .map_err(|e| wrong(format!("{}: {}", e.path(), e.inner().message())))?;
    let mut by_key = BTreeMap::new();
    for (place, signer) in file.signers.into_iter().enumerate() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if signer.user.is_empty() || !signer.user.chars().all(word) {
            return Err(wrong(format!("signers[{place}].user: expected one word, not {:?}", signer.user)));
        }
        if nkeys::KeyPair::from_public_key(&signer.key).is_err() {
            let key = signer.key.chars().take(1).collect::<String>();
            return Err(wrong(format!(
                "signers[{place}].key: is no public key, which begins with U (this one with {key:?})"
            )));
        }
        if let Some(other) = by_key.insert(signer.key.clone(), signer) {
            return Err(wrong(format!("signers[{place}].key: {} has it already", other.user)));
        }
    }
    Ok(Known { anonymous: file.anonymous, by_key })
}

#[cfg(test)]
mod tests;
