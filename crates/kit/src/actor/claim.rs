//! A claim and what it covers: everything about a command that changes what is decided or what is recorded about it.
//! `docs/bus.md` describes the form for programs in other languages.

use std::{fmt, str::FromStr};

use async_nats::HeaderMap;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bcs_schemas::envelope::header;
use nkeys::KeyPair;
use sha2::{Digest, Sha256};

use crate::bus;

/// Headers whose values are covered, in this order.
const HEADERS: [&str; 8] = [
    header::MESSAGE_ID,
    header::TYPE,
    header::CONTENT_TYPE,
    header::MODE,
    header::EXPECTED_REVISION,
    header::NOT_AFTER,
    header::ACTOR,
    header::CORRELATION,
];
/// The form that this program makes and understands.
const VERSION: &str = "v1";
/// What is signed begins with a byte that no UTF-8 text has. The same key signs the text that a server sends at a log-in:
/// whatever a false server sends there, it does not get a claim.
const NO_TEXT: u8 = 0xff;
/// Longer than any claim.
const MOST_BYTES: usize = 256;
/// The form in words, for those who sent another one.
const FORM: &str = "v1.<public key>.<issued>.<expires>.<signature>, instants in Unix seconds, the signature in base64url without padding";

/// A command as it goes over the bus.
#[derive(Clone, Copy)]
pub struct Covered<'a> {
    /// Where it is published.
    pub subject: &'a str,
    /// Its headers.
    pub headers: Option<&'a HeaderMap>,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Covered<'a> {
    /// A header of the command.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        bus::header(self.headers, name)
    }

    /// What is signed. Each part has a line and a value holds no line break, so two commands never have one text. A header
    /// that is absent counts as an empty one; the door takes no covered header that is empty.
    pub(super) fn text(&self, key: &str, issued: i64, expires: i64) -> Result<Vec<u8>, ControlCharacter> {
        let digest: String = Sha256::digest(self.payload).iter().map(|byte| format!("{byte:02x}")).collect();
        let (issued, expires) = (issued.to_string(), expires.to_string());
        let headers = HEADERS.map(|name| (name, self.header(name).unwrap_or_default()));
        let before = [("subject", self.subject)];
        let after =
            [("payload-sha256", digest.as_str()), ("key", key), ("issued", &issued), ("expires", &expires)];
        let mut text = vec![NO_TEXT];
        text.extend_from_slice(b"bcs-actor-claim v1");
        for (name, value) in before.into_iter().chain(headers).chain(after) {
            if value.chars().any(char::is_control) {
                return Err(ControlCharacter(name));
            }
            text.extend_from_slice(format!("\n{name}={value}").as_bytes());
        }
        Ok(text)
    }
}

/// A part of a command that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} holds a control character and cannot be signed")]
pub struct ControlCharacter(&'static str);

/// Whose key vouches for the actor of a command, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The public key, as nkeys are written: `U…`.
    pub key: String,
    /// From when on, in Unix seconds.
    pub issued: i64,
    /// Until when the bus must have taken the command, in Unix seconds.
    pub expires: i64,
    signature: [u8; 64],
}

impl Claim {
    /// Signs a command.
    pub(super) fn sign(
        pair: &KeyPair,
        command: &Covered<'_>,
        issued: i64,
        expires: i64,
    ) -> Result<Self, SignError> {
        let key = pair.public_key();
        let text = command.text(&key, issued, expires)?;
        let signature = pair.sign(&text).map_err(|_| SignError::Key)?;
        let signature = signature.try_into().map_err(|_| SignError::Key)?;
        Ok(Self { key, issued, expires, signature })
    }

    /// Whether the signature is that of the key, and of this command.
    pub(super) fn fits(&self, command: &Covered<'_>) -> bool {
        let Ok(text) = command.text(&self.key, self.issued, self.expires) else { return false };
        KeyPair::from_public_key(&self.key).is_ok_and(|pair| pair.verify(&text, &self.signature).is_ok())
    }
}

/// Why a command was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// What is to be signed has no text.
    #[error(transparent)]
    Text(#[from] ControlCharacter),
    /// The key cannot sign.
    #[error("the key cannot sign")]
    Key,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, issued, expires, signature } = self;
        write!(f, "{VERSION}.{key}.{issued}.{expires}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

impl FromStr for Claim {
    type Err = String;
    /// Takes exactly what is written by `Display`, so that a claim has one text. What is there instead is not repeated: somebody
    /// may have put a seed where the public key belongs.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("has {} bytes: expected {FORM}", text.len()));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [version, key, issued, expires, signature] = parts.as_slice() else {
            return Err(format!("has {} parts: expected {FORM}", parts.len()));
        };
        let wrong = |what: &str| format!("has {what}: expected {FORM}");
        if *version != VERSION {
            return Err(wrong("another version"));
        }
        KeyPair::from_public_key(key).map_err(|_| wrong("no public key"))?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).ok();
        Ok(Self {
            key: (*key).to_owned(),
            issued: instant(issued).ok_or_else(|| wrong("no instant of issue"))?,
            expires: instant(expires).ok_or_else(|| wrong("no instant of expiry"))?,
            signature: bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| wrong("no signature"))?,
        })
    }
}

/// Unix seconds in their one form.
fn instant(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|seconds| *seconds >= 0 && seconds.to_string() == text)
}

#[cfg(test)]
mod tests;
