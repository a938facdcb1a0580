//! The key of this process, and how it vouches for those on whose behalf it asks.

use std::{fmt, sync::Arc};

use async_nats::HeaderMap;
use bcs_schemas::envelope::header;
use jiff::Timestamp;
use nkeys::KeyPair;

use super::claim::{Claim, Covered, SignError};

/// A claim holds for this long after it was made: enough for a bus that is down for a while, and for clocks that differ.
const LIFETIME: i64 = 300;

/// The key that a connection logs in with. Clones share it; it is shown by its public half.
#[derive(Clone)]
pub struct Identity(Arc<KeyPair>);

impl Identity {
    /// The key of a seed.
    pub fn from_seed(seed: &str) -> Result<Self, nkeys::error::Error> {
        KeyPair::from_seed(seed).map(|pair| Self(Arc::new(pair)))
    }

    /// Signs for the actor of a command that is about to be published. Without an actor there is nothing to vouch for, and a
    /// claim that is there already is left alone.
    pub fn vouch(
        &self,
        subject: &str,
        headers: &mut HeaderMap,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<(), SignError> {
        if headers.get(header::ACTOR).is_none() || headers.get(header::ACTOR_CLAIM).is_some() {
            return Ok(());
        }
        let command = Covered { subject, headers: Some(headers), payload };
        let issued = now.as_second();
        let claim = Claim::sign(&self.0, &command, issued, issued + LIFETIME)?;
        headers.insert(header::ACTOR_CLAIM, claim.to_string());
        Ok(())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.public_key())
    }
}
