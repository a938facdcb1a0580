//! Who asks, proved. A command says in `bcs-actor` who asks for it; on a bus with keys a claim in `bcs-actor-claim` shows
//! whose key vouches for that. The key is the one that its holder logs in with, so there is nothing more to hand out, and
//! what a claim says about one command it says about no other.

mod claim;
mod identity;
mod refusal;
mod signers;

pub use claim::{Claim, ControlCharacter, Covered, SignError};
pub use identity::Identity;
pub use refusal::Refusal;
pub use signers::{Scope, Signer, Signers, SignersFile};

/// Who asks when nobody says it.
pub const ANONYMOUS: &str = "anonymous";
