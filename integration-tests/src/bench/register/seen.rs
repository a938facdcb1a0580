//! What an outside client has seen come, and when.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::Sent;

/// What did not come after this long never will.
const LONGEST: Duration = Duration::from_secs(20);

/// First sights. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<HashMap<String, Instant>>>);

impl Seen {
    /// Only the first time counts.
    pub(super) fn note(&self, uid: &str, at: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains_key(uid) {
            seen.insert(uid.to_owned(), at);
        }
    }

    /// How long each took to be seen. Those that never were are missing.
    pub(super) async fn wait(&self, sent: &[Sent]) -> Vec<Duration> {
        let end = Instant::now() + LONGEST;
        loop {
            let took = self.took(sent);
            if took.len() == sent.len() || Instant::now() > end {
                return took;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn took(&self, sent: &[Sent]) -> Vec<Duration> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter_map(|one| Some(seen.get(&one.uid)?.duration_since(one.at))).collect()
    }
}
