//! Waiting for a state, never for time: with a bound, and with what was seen last when the bound is passed.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How a look at the world came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll<T> {
    /// It is as it shall be.
    Ready(T),
    /// It is not, and this is what it is like.
    NotYet(String),
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Poll<T> {
    /// An error is a reason to look again.
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(found) => Self::Ready(found),
            Err(error) => Self::NotYet(format!("{error:#}")),
        }
    }
}

/// Longer than anything takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks until it is as it shall be. The error says what was waited for, how long, and what was seen last. A look that
/// hangs counts as long as the whole wait.
pub async fn wait_until<T>(
    within: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Poll<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut seen = "nothing was seen: the first look did not come back".to_owned();
    while Instant::now() < deadline {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Poll::Ready(found)) => return Ok(found),
            Ok(Poll::NotYet(why)) => seen = why,
            Err(_) => break,
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("{what}: not within {within:?}; seen last: {seen}")
}
