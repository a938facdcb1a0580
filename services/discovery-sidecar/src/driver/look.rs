//! For registries that tell nobody of changes: it is looked from time to time whether something is not as we left it.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};

use super::Drift;
use crate::domain::Failure;

/// Tells when a look found that something changed, and what kept it from looking.
pub(super) fn every<F: Future<Output = Result<bool, Failure>> + Send + 'static>(
    pause: Duration,
    has_drifted: impl Fn() -> F + Send + 'static,
) -> BoxStream<'static, Result<Drift, Failure>> {
    stream::unfold(has_drifted, move |has_drifted| async move {
        loop {
            tokio::time::sleep(pause).await;
            match has_drifted().await {
                Ok(false) => (),
                Ok(true) => return Some((Ok(Drift::Unknown), has_drifted)),
                Err(failure) => return Some((Err(failure), has_drifted)),
            }
        }
    })
    .boxed()
}
