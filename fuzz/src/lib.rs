//! One function for each door that the bytes of strangers come through. Each takes any input whatever and panics when the
//! product does not keep what it promises: what is read can be written and read again as the same, what is not is
//! answered with a short error that names the field, and nothing ever panics.
//!
//! The same functions are called by libFuzzer (`targets/`, `scripts/fuzz`) and, with every input of `corpus/`, by the
//! normal tests (`tests/corpus.rs`).

#![allow(clippy::panic, reason = "a broken promise is a panic: that is what a fuzzer looks for")]

mod audit;
mod codec;
mod envelope;
mod plan;
mod resource;
pub mod seed;
mod subject;

pub use self::{
    audit::audits, codec::codec, envelope::envelope, plan::plans, resource::resources, subject::subjects,
};

use bcs_schemas::FieldError;

/// A target: its name, which is that of its folder in `corpus/`, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("codec", codec),
    ("envelope", envelope),
    ("subjects", subjects),
    ("resources", resources),
    ("plans", plans),
    ("audits", audits),
];

/// Errors go to whoever sent the input, in messages of limited size, however large that was.
const LONGEST_ERROR: usize = 1_500;

/// An error says where and what, in few words.
fn legible(error: &FieldError) {
    assert!(!error.field.is_empty(), "names no field: {error:?}");
    assert!(!error.problem.is_empty(), "says nothing: {error:?}");
    let length = error.to_string().len();
    assert!(length <= LONGEST_ERROR, "has {length} bytes: {:.200}…", error.to_string());
}
