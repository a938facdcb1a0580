//! Where PowerDNS keeps what is no record: the epoch and the installation, in the metadata of the zone. Pure.

use sha2::{Digest, Sha256};

use crate::driver::{Owner, rrset};

/// What belongs to one owner.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    pub(super) sets: rrset::Spelling,
    /// Kind of metadata that holds the epoch.
    pub(super) epoch: String,
    /// Kind of metadata that holds the installation.
    pub(super) claim: String,
    pub(super) platform: String,
    pub(super) installation: String,
}

impl Spelling {
    pub(super) fn new(owner: &Owner) -> Self {
        Self {
            sets: rrset::Spelling { owner: owner.to_string(), keeps_ttl: true },
            epoch: metadata("EPOCH", &owner.to_string()),
            claim: metadata("OWNER", owner.platform.as_str()),
            platform: owner.platform.to_string(),
            installation: owner.installation.clone(),
        }
    }
}

/// Kinds of metadata are 32 characters at most.
fn metadata(what: &str, of: &str) -> String {
    let hash = Sha256::digest(of.as_bytes());
    hash.iter().take(8).fold(format!("X-BCS-{what}-"), |kind, byte| format!("{kind}{byte:02X}"))
}
