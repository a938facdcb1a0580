//! What the bus refused us for want of rights. It says so beside the request, which then gets no answer, so that the error of
//! the request knows only that time ran out.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::ServerError;

use super::{Bus, Error};

/// The last refusal of a connection. Clones share it. It holds as long as the connection: the inbox for answers, for one, is asked for
/// once, and every later request runs out of time because of that.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<Option<String>>>);

impl Refusals {
    /// Keeps what is a refusal.
    pub(super) fn hear(&self, said: &ServerError) {
        let words = said.to_string();
        if words.to_lowercase().contains("permissions violation") {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        }
    }

    fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Bus {
    /// An error of a request, with what the bus refused if it did.
    pub fn explained(&self, error: Error) -> Error {
        match (error, self.refusals.last()) {
            (Error::Nats { what, .. }, Some(said)) => Error::Forbidden { what, said },
            (error, _) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_for_want_of_rights_is_kept() {
        let refusals = Refusals::default();
        refusals.hear(&ServerError::Other("maximum connections exceeded".to_owned()));
        assert_eq!(refusals.last(), None);
        let said = "Permissions Violation for Subscription to \"_INBOX_deploy.x\"";
        refusals.hear(&ServerError::Other(said.to_owned()));
        assert!(refusals.last().is_some_and(|last| last.contains(said)));
    }
}
