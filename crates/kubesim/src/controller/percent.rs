//! Numbers that may be given as a percentage of a whole, such as `maxSurge`.

use serde_json::Value;

/// Which way a part of one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Up,
    Down,
}

pub(crate) fn of(value: &Value, whole: i64, round: Round) -> i64 {
    match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (percent * whole + if round == Round::Up { 99 } else { 0 }) / 100
        }
        other => other.as_i64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_of_one_go_the_way_they_are_told() {
        assert_eq!(of(&json!("25%"), 10, Round::Up), 3);
        assert_eq!(of(&json!("25%"), 10, Round::Down), 2);
        assert_eq!(of(&json!(4), 10, Round::Down), 4);
    }
}
