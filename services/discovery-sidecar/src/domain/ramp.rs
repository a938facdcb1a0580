//! How many changes go into one batch: few after a failure, more with every success. A registry that just came back gets
//! its backlog in growing portions.

const STEP: usize = 8;

/// Everything that there is to change: for registries that know nothing by themselves, and must never be told a part of what
/// belongs there. Nothing makes such a batch smaller.
pub const WHOLE: usize = usize::MAX;

/// Additive increase, multiplicative decrease.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    limit: usize,
    most: usize,
}

impl Ramp {
    /// Full batches until the first failure.
    pub const fn new(most: usize) -> Self {
        Self { limit: most, most }
    }

    /// Changes that the next batch may hold.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// A batch went through.
    pub fn up(&mut self) {
        // A step in proportion, for registries whose batches are large.
        self.limit = self.limit.saturating_add(STEP.max(self.most / 16)).min(self.most);
    }

    /// The registry failed.
    pub fn down(&mut self) {
        if self.most != WHOLE {
            self.limit = (self.limit / 4).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_makes_a_batch_smaller_that_has_to_be_whole() {
        let mut ramp = Ramp::new(WHOLE);
        ramp.down();
        ramp.up();
        assert_eq!(ramp.limit(), WHOLE);
    }

    #[test]
    fn failures_shrink_batches_and_successes_let_them_grow_back() {
        let mut ramp = Ramp::new(60);
        let mut seen = vec![ramp.limit()];
        ramp.down();
        seen.push(ramp.limit());
        ramp.down();
        seen.push(ramp.limit());
        for _ in 0..8 {
            ramp.up();
            seen.push(ramp.limit());
        }
        assert_eq!(seen, [60, 15, 3, 11, 19, 27, 35, 43, 51, 59, 60]);
    }
}
