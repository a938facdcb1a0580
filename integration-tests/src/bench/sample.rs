//! Latencies as histograms, round by round: every sample of a side together for its percentiles, and each round beside
//! the round of the other side for the ratio.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// What one side took, a histogram of microseconds per round.
#[derive(Debug, Default)]
pub(super) struct Rounds(Vec<Histogram<u64>>);

impl Rounds {
    /// Takes in a round.
    pub(super) fn add(&mut self, samples: &[Duration]) -> Result<()> {
        let mut histogram = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        for sample in samples {
            let micros = u64::try_from(sample.as_micros())?;
            histogram.record(micros.max(1)).with_context(|| format!("{sample:?} is out of bounds"))?;
        }
        self.0.push(histogram);
        Ok(())
    }

    /// A quantile over all rounds, in milliseconds.
    pub(super) fn millis(&self, quantile: f64) -> f64 {
        let mut rounds = self.0.iter();
        let Some(first) = rounds.next() else { return f64::NAN };
        let all = rounds.fold(first.clone(), |mut all, round| {
            // The bounds are the same.
            let _ = all.add(round);
            all
        });
        ms(&all, quantile)
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(Histogram::len).sum()
    }

    /// The median of the ratios of neighbouring rounds.
    pub(super) fn ratio(&self, floor: &Self, quantile: f64) -> f64 {
        let pairs = self.0.iter().zip(&floor.0);
        median(pairs.map(|(ours, floor)| ms(ours, quantile) / ms(floor, quantile)).collect())
    }
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// The middle one; of two, their mean. No number at all when there are none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.get(values.len().wrapping_sub(1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_between_neighbouring_rounds() {
        let millis = |values: [u64; 3]| values.map(Duration::from_millis);
        let (mut ours, mut floor) = (Rounds::default(), Rounds::default());
        // Both sides are ten times slower while somebody else uses the machine.
        for slow in [1, 10, 1] {
            ours.add(&millis([2 * slow, 2 * slow, 3 * slow])).expect("adds");
            floor.add(&millis([slow, slow, slow])).expect("adds");
        }
        assert!((ours.ratio(&floor, 0.5) - 2.0).abs() < 0.01);
        assert!((floor.millis(0.5) - 1.0).abs() < 0.01 && (floor.millis(0.99) - 10.0).abs() < 0.02);
        assert_eq!(ours.len(), 9);
    }

    #[test]
    fn the_median_of_few() {
        assert!(median(Vec::new()).is_nan());
        assert!((median(vec![3.0, 1.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![3.0, 1.0, 9.0]) - 3.0).abs() < f64::EPSILON);
    }
}
