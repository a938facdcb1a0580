//! Files of `bcs apply --from-plan`. An input is such a file.

use bcs_cli::input;

/// Reads a plan, and what was read again.
pub fn plans(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match input::plan(text) {
        Ok(read) => assert_eq!(input::plan(&read.0), Ok(read)),
        Err(problem) => assert!(!problem.is_empty()),
    }
}
