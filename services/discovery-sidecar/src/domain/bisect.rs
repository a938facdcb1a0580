//! Finds the bad change of a batch that was rejected as a whole: halves are tried one after the other until a single
//! change is left that the registry rejects.

use super::Place;

/// What to do about a rejected batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its halves are tried next.
    Split,
    /// This is the bad one.
    Bad(Place),
}

/// Groups that were in a rejected batch and were not tried in smaller company yet.
#[derive(Debug, Default)]
pub struct Bisect(Vec<Vec<Place>>);

impl Bisect {
    /// Whether nothing is suspected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next group to try alone, of `most` at most.
    pub fn next_group(&mut self, most: usize) -> Option<Vec<Place>> {
        let mut group = self.0.pop()?;
        if group.len() > most.max(1) {
            self.0.push(group.split_off(most.max(1)));
        }
        Some(group)
    }

    /// Everything that is suspected, and is not any more.
    pub fn give_up(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.0).into_iter().flatten().collect()
    }

    /// A batch was rejected.
    pub fn rejected(&mut self, mut batch: Vec<Place>) -> Option<Verdict> {
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            self.0.push(second);
            self.0.push(batch);
            return Some(Verdict::Split);
        }
        batch.pop().map(Verdict::Bad)
    }

    /// Forgets everything: after a gap all is tried from the start.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    /// Calls made, places written, places found bad.
    fn run(batch: Vec<Place>, bad: &BTreeSet<Place>) -> (u32, BTreeSet<Place>, BTreeSet<Place>) {
        let (mut bisect, mut calls) = (Bisect::default(), 0);
        let (mut written, mut found) = (BTreeSet::new(), BTreeSet::new());
        let mut next = Some(batch);
        while let Some(group) = next {
            calls += 1;
            if group.iter().any(|p| bad.contains(p)) {
                if let Some(Verdict::Bad(place)) = bisect.rejected(group) {
                    found.insert(place);
                }
            } else {
                written.extend(group);
            }
            next = bisect.next_group(usize::MAX);
        }
        (calls, written, found)
    }

    #[test]
    fn one_bad_change_of_a_thousand_costs_two_calls_per_halving() {
        let batch: Vec<Place> = (0..1000).map(|i| Place::from(i.to_string())).collect();
        let bad = BTreeSet::from([Place::from("617")]);
        let (calls, written, found) = run(batch, &bad);
        assert_eq!((written.len(), &found), (999, &bad));
        assert!(calls <= 1 + 2 * 10, "{calls} calls");
    }

    proptest! {
        #[test]
        fn exactly_the_bad_ones_are_found(size in 1_usize..80, picks in proptest::collection::btree_set(0_usize..80, 0..6)) {
            let batch: Vec<Place> = (0..size).map(|i| Place::from(i.to_string())).collect();
            let bad: BTreeSet<Place> =
                picks.into_iter().filter(|i| *i < size).map(|i| Place::from(i.to_string())).collect();
            let (_, written, found) = run(batch, &bad);
            prop_assert_eq!(&found, &bad);
            prop_assert_eq!(written.len() + found.len(), size);
        }
    }
}
