//! Ages, as short as people say them, against the time of the answer and not of this machine.

use jiff::Timestamp;

/// `45s`, `12m`, `3h`, `2d`. What lies in the future is `0s`: clocks differ a little.
pub(crate) fn age(since: Timestamp, as_of: Timestamp) -> String {
    let seconds = as_of.duration_since(since).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The same in a sentence.
pub(crate) fn ago(since: Timestamp, as_of: Timestamp) -> String {
    format!("{} ago", age(since, as_of))
}

/// How a deadline stands: `in 5m`, `passed 12s ago`.
pub(crate) fn until(deadline: Timestamp, as_of: Timestamp) -> String {
    if deadline > as_of {
        format!("in {}", age(as_of, deadline))
    } else {
        format!("passed {}", ago(deadline, as_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let at = |second| Timestamp::from_second(second).expect("is an instant");
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (172_800, "2d"),
            (8_640_000, "100d"),
        ] {
            assert_eq!(age(at(1_000_000), at(1_000_000 + seconds)), text);
        }
    }

    #[test]
    fn a_deadline_is_ahead_or_passed() {
        let at = |second| Timestamp::from_second(second).expect("is an instant");
        assert_eq!(until(at(1_300), at(1_000)), "in 5m");
        assert_eq!(until(at(1_000), at(1_012)), "passed 12s ago");
    }
}
