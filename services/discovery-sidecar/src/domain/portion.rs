//! What does not fit into one write is made in several, a few at once.

use super::Change;

/// Writes that may be made together, and those after which they have to come: no service shrinks for want of an addition that
/// was ready to be made. What fits into one write of `most` changes is one.
pub fn portions(changes: Vec<Change>, most: usize) -> [Vec<Vec<Change>>; 2] {
    if changes.len() <= most {
        return [vec![changes], Vec::new()];
    }
    let (removals, additions): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| matches!(change, Change::Remove { .. }));
    [cut(additions, most), cut(removals, most)]
}

fn cut(mut changes: Vec<Change>, most: usize) -> Vec<Vec<Change>> {
    let mut parts = Vec::new();
    while !changes.is_empty() {
        let rest = changes.split_off(most.clamp(1, changes.len()));
        parts.push(std::mem::replace(&mut changes, rest));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Naming, Place},
        testing,
    };

    fn changes(puts: u32, removals: u32) -> Vec<Change> {
        let spec = serde_json::json!({ "driver": { "file": { "directory": "/x" } } });
        let naming = Naming::of(&testing::name("lb"), &serde_json::from_value(spec).expect("a registry"));
        let put = |number| {
            let entry = naming.entry(&testing::endpoint("web", number).into()).expect("has an address");
            Change::Put { place: Place::from(format!("put-{number}")), entry, digest: 0, over: None }
        };
        let remove =
            |number: u32| Change::Remove { place: Place::from(format!("remove-{number}")), version: 0 };
        (0..removals).map(remove).chain((0..puts).map(put)).collect()
    }

    #[test]
    fn what_fits_is_one_write_and_what_does_not_is_many_of_which_removals_come_last() {
        for (puts, removals, most, expected) in [
            (2, 2, 4, [vec![4], vec![]]),
            (0, 0, 4, [vec![0], vec![]]),
            (5, 0, 2, [vec![2, 2, 1], vec![]]),
            (3, 3, 2, [vec![2, 1], vec![2, 1]]),
            (0, 3, 2, [vec![], vec![2, 1]]),
            (2, 0, usize::MAX, [vec![2], vec![]]),
        ] {
            let made = portions(changes(puts, removals), most);
            assert_eq!(
                made.clone().map(|writes| writes.iter().map(Vec::len).collect::<Vec<_>>()),
                expected,
                "{puts} puts and {removals} removals, {most} in a write"
            );
            let all: Vec<&Change> = made.iter().flatten().flatten().collect();
            assert_eq!(all.len(), changes(puts, removals).len());
            if made[0].len() > 1 {
                assert!(made[0].iter().flatten().all(|change| matches!(change, Change::Put { .. })));
            }
        }
    }
}
