//! Inputs that need not be kept: they follow from what the product ships.

use bcs_schemas::{MessageSet, TypeName, codec::ContentType, golden};

use crate::codec;

/// One good payload of each message, in both forms, by file name.
pub fn payloads() -> Vec<(String, Vec<u8>)> {
    let both = golden::examples().into_iter().flat_map(|(name, payload)| {
        let parsed: Result<TypeName, String> = name.parse();
        let json = parsed.and_then(|parsed| golden::read(&parsed, &payload)).expect("golden messages decode");
        let json = json.to_string().into_bytes();
        [
            (format!("{name}.json"), codec::input(&name, ContentType::Json, &json)),
            (format!("{name}.msgpack"), codec::input(&name, ContentType::MessagePack, &payload)),
        ]
    });
    both.collect()
}

/// Whether an input of [`crate::codec`] is a good payload.
pub fn is_read(input: &[u8]) -> bool {
    codec::reads(input)
}

/// Types that [`crate::codec`] reads.
pub fn types() -> impl Iterator<Item = &'static str> {
    codec::types()
}

/// Names of every message of a set.
pub fn names<M: MessageSet>() -> impl Iterator<Item = String> {
    M::TYPES.iter().map(|ty| format!("bcs.{}.{}.{}.v{}", M::SERVICE, ty.kind, ty.verb, ty.version))
}
