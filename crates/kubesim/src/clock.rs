//! The one place that reads the wall clock and makes ids, so that everything else stays deterministic.

use jiff::Timestamp;
use uuid::Uuid;

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of this crate: a simulated API server stamps real time"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The form in which the API writes instants: RFC 3339, whole seconds, UTC.
pub(crate) fn stamp() -> String {
    format(now())
}

pub(crate) fn format(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn uid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// A secret of 122 random bits, for the bearer token.
pub(crate) fn secret() -> String {
    let id: Uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    id.simple().to_string()
}

/// What `generateName` appends: five characters that cannot spell words.
pub(crate) fn suffix() -> String {
    suffix_of(rand::random())
}

/// FNV-1a: equal contents get equal names.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(crate) fn suffix_of(mut seed: u64) -> String {
    let mut text = String::with_capacity(5);
    for _ in 0..5 {
        let index = usize::try_from(seed % ALPHABET.len() as u64).unwrap_or(0);
        text.push(char::from(ALPHABET[index]));
        seed /= ALPHABET.len() as u64;
    }
    text
}
