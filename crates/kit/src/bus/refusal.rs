//! What the bus refused us for want of rights. It says so beside the request, which then gets no answer, so that the error of
//! the request knows only that time ran out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::ServerError;
use tokio::time::Instant;

use super::{Bus, Error};

/// A refusal explains a request that failed within so long after it: longer than a request waits for its answer, and then some.
const EXPLAINS: Duration = Duration::from_secs(30);

/// The last refusal of a connection, and when it was heard. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<Option<(Instant, String)>>>);

impl Refusals {
    /// Keeps what is a refusal.
    pub(super) fn hear(&self, said: &ServerError) {
        let words = said.to_string();
        if words.to_lowercase().contains("permissions violation") {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), words));
        }
    }

    fn last(&self, now: Instant) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.filter(|(at, _)| now.saturating_duration_since(*at) < EXPLAINS).map(|(_, words)| words)
    }
}

impl Bus {
    /// An error of a request, with what the bus refused if it did.
    pub fn explained(&self, error: Error) -> Error {
        match (error, self.refusals.last(Instant::now())) {
            (Error::Nats { what, .. }, Some(said)) => Error::Forbidden { what, said },
            (error, _) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_for_want_of_rights_is_kept_and_not_for_ever() {
        let refusals = Refusals::default();
        refusals.hear(&ServerError::Other("maximum connections exceeded".to_owned()));
        assert_eq!(refusals.last(Instant::now()), None);
        let said = "Permissions Violation for Subscription to \"_INBOX_deploy.x\"";
        refusals.hear(&ServerError::Other(said.to_owned()));
        assert!(refusals.last(Instant::now()).is_some_and(|last| last.contains(said)));
        assert_eq!(refusals.last(Instant::now() + EXPLAINS), None);
    }
}
