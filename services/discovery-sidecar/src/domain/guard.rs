//! The deletion guard. An entry that no endpoint backs any more, though nobody ever said that the instance left, is
//! removed only if the cluster is known to be well seen and only in small numbers: a view that lost its data must not
//! empty a registry.

/// When removals by absence are held.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Share of our entries that may vanish at once.
    pub percent: u8,
    /// As many may vanish at once in any case.
    pub at_least: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { percent: 20, at_least: 10 }
    }
}

/// Why removals are held, in one sentence; none when they may go on.
pub fn held(absent: usize, ours: usize, cluster_known: bool, limits: Limits) -> Option<String> {
    if absent == 0 {
        return None;
    }
    if !cluster_known {
        return Some(format!(
            "{absent} entries have no endpoint and stay: the cluster gives no fresh and complete picture of itself"
        ));
    }
    let most = (ours * usize::from(limits.percent) / 100).max(limits.at_least);
    (absent > most).then(|| {
        format!(
            "{absent} of {ours} entries have no endpoint and stay, because nobody said that their instances left: at most \
             {most} are removed by absence; raise guard_percent to let them go"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_may_go_many_may_not_and_none_while_the_cluster_is_unknown() {
        for (absent, ours, known, goes) in [
            (0, 0, false, true),
            (1, 1, true, true),
            (10, 10, true, true),
            (11, 20, true, false),
            (20, 100, true, true),
            (21, 100, true, false),
            (1, 1000, false, false),
        ] {
            let held = held(absent, ours, known, Limits::default());
            assert_eq!(held.is_none(), goes, "{absent} of {ours}, known {known}: {held:?}");
        }
    }
}
