//! The indexes of an indexed job, and the text in which its status lists them. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::{self, text};

pub(super) const LABEL: &str = "batch.kubernetes.io/job-completion-index";

pub(super) fn indexed(job: &Value) -> bool {
    text(job, "/spec/completionMode") == "Indexed"
}

pub(super) fn of_pod(pod: &Value) -> Option<i64> {
    object::annotation(pod, LABEL)?.parse().ok()
}

/// Reads `0,2-4`.
pub(super) fn parse(text: &str) -> BTreeSet<i64> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<i64>().ok()?..=last.trim().parse::<i64>().ok()?)
    };
    text.split(',').filter_map(part).flatten().collect()
}

pub(super) fn format(indexes: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let part = |(first, last): &(i64, i64)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(part).collect::<Vec<_>>().join(",")
}

pub(super) fn listed(job: &Value, field: &str) -> BTreeSet<i64> {
    parse(job["status"][field].as_str().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_listed_in_runs() {
        for text in ["", "0", "0,1", "0-2", "1,3-5,7,8", "2,4"] {
            assert_eq!(format(&parse(text)), text);
        }
        assert_eq!(parse("x,1-,3"), BTreeSet::from([3]));
    }
}
