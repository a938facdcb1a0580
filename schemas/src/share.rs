//! Exact integer shares by weight.

use std::collections::BTreeMap;

use crate::Name;

/// Divides `total` by `weights` into whole numbers that sum to it, by the method of Sainte-Laguë: proportional where
/// that divides evenly, otherwise off by less than one in all but extreme cases, and **monotone**: a larger total takes
/// nothing from anyone, so scaling up never moves an instance. Ties go to the name that sorts first. Without a positive
/// weight there is nobody to give to, and the result is empty.
pub fn shares(total: u32, weights: &BTreeMap<Name, u32>) -> BTreeMap<Name, u32> {
    let mut result: BTreeMap<Name, u32> =
        weights.iter().filter(|(_, weight)| **weight > 0).map(|(name, _)| (name.clone(), 0)).collect();
    for _ in 0..total {
        // The largest weight ÷ (2 × share + 1) is next; compared by multiplication, so that it is exact.
        let claim = |weight: u32, other: u32| u64::from(weight) * (2 * u64::from(other) + 1);
        let next = result
            .iter_mut()
            .map(|(name, share)| (weights[name], share))
            .reduce(|best, next| if claim(next.0, *best.1) > claim(best.0, *next.1) { next } else { best });
        let Some((_, share)) = next else { break };
        *share += 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(list: &[u32]) -> BTreeMap<Name, u32> {
        list.iter().enumerate().map(|(i, w)| (Name::new(format!("c{i:03}")).expect("a label"), *w)).collect()
    }

    #[test]
    fn shares_are_what_one_would_write_by_hand() {
        for (total, list, expected) in [
            (6, vec![2, 1], vec![4, 2]),
            (8, vec![2, 1], vec![5, 3]),
            (1, vec![1, 1, 1], vec![1, 0, 0]),
            (5, vec![1, 1, 1], vec![2, 2, 1]),
            (0, vec![3, 1], vec![0, 0]),
            (7, vec![1, 0], vec![7]),
        ] {
            let got: Vec<u32> = shares(total, &weights(&list)).into_values().collect();
            assert_eq!(got, expected, "{total} by {list:?}");
        }
        assert!(shares(3, &weights(&[0, 0])).is_empty());
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_total_and_are_exact_where_it_divides(
            total in 0u32..500, list in proptest::collection::vec(1u32..20, 1..12),
        ) {
            let weights = weights(&list);
            prop_assert_eq!(shares(total, &weights).values().sum::<u32>(), total);
            let sum: u32 = list.iter().sum();
            let whole = shares(sum * 7, &weights);
            prop_assert!(weights.iter().all(|(name, weight)| whole[name] == weight * 7));
        }

        #[test]
        fn a_larger_total_takes_nothing_from_anyone(
            total in 0u32..500, list in proptest::collection::vec(0u32..20, 1..12),
        ) {
            let weights = weights(&list);
            let (small, large) = (shares(total, &weights), shares(total + 1, &weights));
            prop_assert!(small.iter().all(|(name, share)| large[name] >= *share));
        }
    }
}
