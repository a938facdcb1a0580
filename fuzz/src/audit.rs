//! Files of `bcs audit verify`. An input is such a file; and it is a place, a change and decisions, one a line: the file
//! that is written of them is whole, and with that change at that place it is not.

use bcs_cli::input;
use serde_json::Value;

/// Reads an audit, and makes and breaks one.
pub fn audits(input: &[u8]) {
    if let Err(problem) = input::audit(input) {
        assert!(problem.contains("line"), "names no line: {problem}");
    }
    let [high, low, change, decisions @ ..] = input else { return };
    let text = String::from_utf8_lossy(decisions);
    let decision = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line));
    let decisions: Vec<Value> = text.split('\n').map(decision).collect();
    let mut file = input::audit_of(&decisions).expect("decisions can be written").into_bytes();
    assert_eq!(input::audit(&file), Ok(decisions.len() as u64));
    let place = usize::from(u16::from_be_bytes([*high, *low])) % file.len();
    file[place] ^= change;
    assert_eq!(input::audit(&file).is_ok(), *change == 0, "byte {place} was changed by {change:#x}");
}
