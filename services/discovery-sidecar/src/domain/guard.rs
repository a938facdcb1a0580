//! The deletion guard. An entry that no endpoint backs any more, though nobody ever said that the instance left, is
//! removed only if the cluster is known to be well seen, only in small numbers, and only after a while without news: a
//! view that lost its data must not empty a registry, however small.

use std::time::Duration;

/// How long no entry may have lost its endpoint before any goes: losses that come in drops are one loss.
pub const SETTLE: Duration = Duration::from_secs(5);

/// When removals by absence are held.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Share of our entries that may vanish at once; 100 is the operator's word that all of them may.
    pub percent: u8,
    /// As many may vanish at once, as long as that is not more than half of them.
    pub at_least: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { percent: 20, at_least: 10 }
    }
}

/// Entries without an endpoint.
#[derive(Clone, Debug, Default)]
pub struct Absent {
    /// How many there are.
    pub count: usize,
    /// How many entries are ours, those included.
    pub ours: usize,
    /// An application of which no entry would be left.
    pub whole: Option<String>,
}

/// Why removals are held, in one sentence; none when they may go on.
pub fn held(absent: &Absent, cluster_known: bool, limits: Limits) -> Option<String> {
    let Absent { count, ours, whole } = absent;
    if *count == 0 {
        return None;
    }
    if !cluster_known {
        return Some(format!(
            "{count} entries have no endpoint and stay: the cluster gives no fresh and complete picture of itself"
        ));
    }
    if limits.percent >= 100 {
        return None;
    }
    let most = (ours * usize::from(limits.percent) / 100).max(limits.at_least).min((ours / 2).max(1));
    let limit = match whole {
        _ if *count > most => format!("at most {most} are removed by absence"),
        Some(app) => format!("nothing would be left of {app}"),
        None => return None,
    };
    Some(format!(
        "{count} of {ours} entries have no endpoint and stay, because nobody said that their instances left: {limit}; set \
         guard_percent to 100 to let them go"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes(count: usize, ours: usize, whole: Option<&str>, known: bool) -> bool {
        let absent = Absent { count, ours, whole: whole.map(ToOwned::to_owned) };
        held(&absent, known, Limits::default()).is_none()
    }

    #[test]
    fn few_may_go_many_may_not_and_none_while_the_cluster_is_unknown() {
        for (count, ours, known, may) in [
            (0, 0, false, true),
            (1, 1, true, true),
            (1, 3, true, true),
            (2, 3, true, false),
            (3, 3, true, false),
            (10, 20, true, true),
            (10, 19, true, false),
            (11, 30, true, false),
            (20, 100, true, true),
            (21, 100, true, false),
            (1, 1000, false, false),
        ] {
            assert_eq!(goes(count, ours, None, known), may, "{count} of {ours}, known {known}");
        }
    }

    #[test]
    fn no_application_goes_as_a_whole_unless_the_operator_says_so() {
        assert!(!goes(1, 100, Some("shop.web"), true));
        let absent = Absent { count: 3, ours: 3, whole: Some("shop.web".to_owned()) };
        assert_eq!(held(&absent, true, Limits { percent: 100, at_least: 0 }), None);
    }
}
