//! Open load: things begin when they are due, whether earlier ones have ended or not, so that a slow answer cannot slow
//! down the questions.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

/// When thing `number` of so many a second is due.
pub(super) fn due(begin: Instant, rate: u32, number: u32) -> Instant {
    begin + Duration::from_secs(1) * number / rate
}

/// Does `count` things at `rate` a second and returns what they gave, in the order in which they ended.
pub(super) async fn paced<T, F>(rate: u32, count: u32, mut thing: impl FnMut(u32) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let begin = Instant::now();
    let all: FuturesUnordered<_> = (0..count)
        .map(|number| {
            let thing = thing(number);
            async move {
                sleep_until(due(begin, rate, number)).await;
                thing.await
            }
        })
        .collect();
    let done: Vec<Result<T>> = all.collect().await;
    done.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn things_begin_when_they_are_due_and_not_when_others_end() {
        let begin = Instant::now();
        let slow = |number: u32| async move {
            let at = Instant::now();
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok((number, at))
        };
        let mut done = paced(10, 5, slow).await.expect("all end");
        done.sort_unstable();
        let at: Vec<_> = done.iter().map(|(_, at)| at.duration_since(begin).as_millis()).collect();
        assert_eq!(at, [0, 100, 200, 300, 400]);
    }
}
