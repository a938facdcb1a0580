//! How many changes an account of a registry may be asked for: a token bucket, shared by all workers of the process that write with
//! that account.

use std::time::Duration;

use bcs_schemas::resource::registry::Rate;

/// A token bucket. Moments are durations since one moment in the past that all who share it count from.
#[derive(Clone, Debug)]
pub struct Budget {
    per_second: f64,
    most: f64,
    tokens: f64,
    filled: Duration,
}

impl Budget {
    /// Full.
    pub fn new(rate: Rate) -> Self {
        let most = f64::from(rate.burst.unwrap_or(rate.changes_per_second).max(1));
        Self { per_second: f64::from(rate.changes_per_second), most, tokens: most, filled: Duration::ZERO }
    }

    /// How many changes may be made now, or how long to wait for the next one.
    pub fn granted(&mut self, at: Duration) -> Result<usize, Duration> {
        let passed = at.saturating_sub(self.filled);
        self.filled = self.filled.max(at);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(self.most);
        if self.tokens >= 1.0 {
            return Ok(self.tokens as usize);
        }
        // Rounded up, so that whoever waits is not a moment early.
        let missing = (1.0 - self.tokens) / self.per_second;
        Err(Duration::from_secs_f64(missing) + Duration::from_millis(1))
    }

    /// So many were made.
    pub fn spend(&mut self, changes: usize) {
        self.tokens -= changes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(changes_per_second: u32, burst: Option<u32>) -> Budget {
        Budget::new(Rate { changes_per_second, burst, account: None })
    }

    #[test]
    fn a_burst_is_granted_at_once_and_what_follows_at_its_rate() {
        let mut budget = budget(10, Some(30));
        let second = Duration::from_secs(1);
        assert_eq!(budget.granted(second), Ok(30));
        budget.spend(30);
        assert_eq!(budget.granted(second), Err(Duration::from_millis(101)));
        assert_eq!(budget.granted(second + Duration::from_millis(101)), Ok(1));
        assert_eq!(budget.granted(second * 60), Ok(30), "no more than a burst is saved up");
    }

    proptest! {
        #[test]
        fn however_it_is_asked_for_no_more_is_granted_than_burst_and_rate_allow(
            rate in 1_u32..200, burst in 1_u32..200, steps in proptest::collection::vec((0_u64..300, 1_usize..50), 1..200),
        ) {
            let mut budget = budget(rate, Some(burst));
            let (mut now, mut made) = (Duration::ZERO, 0);
            for (pause, wish) in steps {
                now += Duration::from_millis(pause);
                match budget.granted(now) {
                    Ok(granted) => {
                        let take = granted.min(wish);
                        budget.spend(take);
                        made += take;
                    }
                    Err(wait) => prop_assert!(wait <= Duration::from_secs_f64(1.0 / f64::from(rate)) + Duration::from_millis(1)),
                }
                let allowed = f64::from(burst) + now.as_secs_f64() * f64::from(rate);
                prop_assert!(made as f64 <= allowed + 1e-6, "{made} of {allowed}");
            }
        }
    }
}
