//! How long to wait after a failure: full jitter, so that many sidecars that lost one registry do not come back together.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(10);

/// The wait after the `failures`-th failure in a row; `unit` is a random number in 0..1.
pub fn delay(failures: u32, unit: f64) -> Duration {
    let ceiling = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(CAP);
    // A floor keeps a lucky series of zeros from becoming a busy loop.
    ceiling.mul_f64(unit.clamp(0.0, 1.0)).max(Duration::from_millis(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_up_to_ten_seconds() {
        let ceilings: Vec<u128> = (1..=9).map(|n| delay(n, 1.0).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    proptest! {
        #[test]
        fn every_wait_lies_between_the_floor_and_the_cap(failures: u32, unit: f64) {
            prop_assume!(!unit.is_nan());
            let wait = delay(failures, unit);
            prop_assert!(wait >= Duration::from_millis(10) && wait <= CAP);
        }
    }
}
