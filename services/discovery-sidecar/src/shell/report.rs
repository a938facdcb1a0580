//! Writes observations without ever stopping a worker: only the newest word about a key waits, many keys are written at
//! once, and what failed is tried again unless something newer came.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bcs_kit::{
    bus,
    kv::{Kept, Store},
    telemetry::chain,
};
use bcs_schemas::{
    bucket::Keyed,
    observation::{Registration, RegistrationState, RegistryStatus},
};
use futures::{StreamExt, stream};
use tokio::sync::Notify;

use crate::domain::Report;

const AT_ONCE: usize = 256;
/// The same while a registry is far behind what it should be: its entries are what users wait for, and on many machines both go to
/// the same disks.
const AT_ONCE_BEHIND: usize = 8;

/// What waits to be written. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    wake: Notify,
    closed: AtomicBool,
    behind: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    /// Counts how often everything was dropped: what was taken before is not put back after.
    term: u64,
    /// Boxed: a table is up to twice as large as what it holds, and there are as many of them as instances after a start.
    registrations: HashMap<String, Option<Box<Registration>>>,
    /// Those of these keys whose words somebody waits for: they are written before all others.
    urgent: HashSet<String>,
    /// Keys of words that were taken and may not be written yet.
    under_way: HashSet<String>,
    /// Keys of which something was or became under way since somebody began to read what stands there.
    unsure: Option<HashSet<String>>,
    status: Option<RegistryStatus>,
}

enum Word {
    Registration(String, Option<Box<Registration>>),
    Status(RegistryStatus),
}

impl Waiting {
    fn note(&mut self, key: String, word: Option<Box<Registration>>) {
        // Whoever stops an instance waits for this.
        if word.as_ref().is_some_and(|word| word.state == RegistrationState::Drained) {
            self.urgent.insert(key.clone());
        } else {
            self.urgent.remove(&key);
        }
        self.registrations.insert(key, word);
    }
}

impl Outbox {
    pub(crate) fn push(&self, reports: Vec<Report>) {
        if reports.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        for report in reports {
            let (key, word) = match report {
                Report::Put(registration) => (registration.key(), Some(Box::new(registration))),
                Report::Delete(key) => (key, None),
            };
            if let Some(unsure) = &mut waiting.unsure {
                unsure.insert(key.clone());
            }
            waiting.note(key, word);
        }
        drop(waiting);
        self.0.wake.notify_one();
    }

    pub(crate) fn status(&self, status: RegistryStatus) {
        self.waiting().status = Some(status);
        self.0.wake.notify_one();
    }

    /// A replaced sidecar has nothing to say any more.
    pub(crate) fn clear(&self) {
        let mut waiting = self.waiting();
        let under_way = std::mem::take(&mut waiting.under_way);
        *waiting = Waiting { term: waiting.term + 1, under_way, ..Waiting::default() };
    }

    /// Somebody begins to read what stands there. It may be older than words of ours that are under way.
    pub(crate) fn begin_reading(&self) {
        let mut waiting = self.waiting();
        let unsure = waiting.registrations.keys().chain(&waiting.under_way).cloned().collect();
        waiting.unsure = Some(unsure);
    }

    /// It was read: the keys of which what was read may not be the last word.
    pub(crate) fn end_reading(&self) -> HashSet<String> {
        self.waiting().unsure.take().unwrap_or_default()
    }

    /// Whether more is to be written into the registry than goes into its next writes.
    pub(crate) fn give_way(&self, behind: bool) {
        self.0.behind.store(behind, Ordering::Relaxed);
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next round, and the term that it is of.
    fn take(&self) -> (u64, Vec<Word>) {
        let others = if self.0.behind.load(Ordering::Relaxed) { AT_ONCE_BEHIND } else { AT_ONCE };
        let mut waiting = self.waiting();
        let mut keys: Vec<String> = waiting.urgent.iter().take(AT_ONCE).cloned().collect();
        let others = others.saturating_sub(keys.len());
        let rest = waiting.registrations.keys().filter(|key| !waiting.urgent.contains(*key));
        keys.extend(rest.take(others).cloned());
        let mut words: Vec<Word> = waiting.status.take().into_iter().map(Word::Status).collect();
        for key in keys {
            if let Some(value) = waiting.registrations.remove(&key) {
                waiting.urgent.remove(&key);
                waiting.under_way.insert(key.clone());
                words.push(Word::Registration(key, value));
            }
        }
        if waiting.registrations.is_empty() {
            // A burst should not hold its memory for ever.
            (waiting.registrations, waiting.urgent) = (HashMap::new(), HashSet::new());
        }
        (waiting.term, words)
    }

    /// Back again, unless something newer waits or nobody wants to hear of it any more.
    fn put_back(&self, term: u64, word: Word) {
        let mut waiting = self.waiting();
        if waiting.term != term {
            return;
        }
        match word {
            Word::Status(status) => drop(waiting.status.get_or_insert(status)),
            Word::Registration(key, _) if waiting.registrations.contains_key(&key) => (),
            Word::Registration(key, value) => waiting.note(key, value),
        }
    }

    /// Writes until it is closed and empty. The keys of one round are all different, so words about one key never
    /// overtake each other.
    pub(crate) async fn run(self, registrations: Kept<Registration>, registries: Store<RegistryStatus>) {
        loop {
            let (term, words) = self.take();
            if words.is_empty() {
                if self.0.closed.load(Ordering::Acquire) {
                    return;
                }
                self.0.wake.notified().await;
                continue;
            }
            let writes = stream::iter(words).map(|word| async {
                let written = match &word {
                    Word::Status(status) => registries.put(status).await.map(drop),
                    Word::Registration(_, Some(registration)) => registrations.put(registration).await,
                    Word::Registration(key, None) => registrations.delete(key).await,
                };
                written.map_err(|error: bus::Error| (word, error))
            });
            let failed: Vec<_> = writes
                .buffer_unordered(AT_ONCE)
                .filter_map(|done| std::future::ready(done.err()))
                .collect()
                .await;
            if let Some((_, error)) = failed.first() {
                tracing::warn!(count = failed.len(), error = %chain(error), "observations could not be written, trying again");
            }
            let again = !failed.is_empty();
            failed.into_iter().for_each(|(word, _)| self.put_back(term, word));
            self.waiting().under_way.clear();
            if again {
                if self.0.closed.load(Ordering::Acquire) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_while_it_is_read_what_stands_there_is_known() {
        let outbox = Outbox::default();
        let say =
            |instance: &str| outbox.push(vec![Report::Delete(format!("sim-a.shop.web.{instance}.dns"))]);
        say("sent");
        outbox.take();
        say("waits");
        outbox.clear();
        say("waits-too");
        outbox.begin_reading();
        say("comes");
        let mut unsure: Vec<String> = outbox.end_reading().into_iter().collect();
        unsure.sort();
        let keys = ["comes", "sent", "waits-too"].map(|instance| format!("sim-a.shop.web.{instance}.dns"));
        assert_eq!(unsure, keys);
        assert!(outbox.end_reading().is_empty(), "and nobody reads now");
    }

    fn word(instance: &str, state: &str) -> Report {
        let word = serde_json::json!({
            "cluster": "sim-a", "project": "shop", "app": "web", "instance": instance, "uid": "u", "registry": "dns", "address": "",
            "state": state, "since": "2026-01-01T00:00:00Z", "observed_at": "2026-01-01T00:00:00Z",
        });
        Report::Put(serde_json::from_value(word).expect("a registration"))
    }

    fn instances(words: &[Word]) -> Vec<String> {
        let key = |word: &Word| match word {
            Word::Registration(key, _) => Some(key.clone()),
            Word::Status(_) => None,
        };
        let instance = |key: String| key.split('.').nth(3).map(str::to_owned);
        words.iter().filter_map(key).filter_map(instance).collect()
    }

    #[test]
    fn what_somebody_waits_for_is_said_first_and_the_rest_gives_way_to_a_registry_that_is_behind() {
        let outbox = Outbox::default();
        outbox.push((0..1000).map(|i| word(&format!("web-{i}"), "confirmed")).collect());
        outbox.push(vec![word("last", "drained")]);
        outbox.give_way(true);
        let (_, words) = outbox.take();
        assert_eq!((words.len(), &*instances(&words)[0]), (AT_ONCE_BEHIND, "last"));
        outbox.give_way(false);
        assert_eq!(outbox.take().1.len(), AT_ONCE);
        let mut left = 0;
        loop {
            let (_, words) = outbox.take();
            if words.is_empty() {
                break;
            }
            left += words.len();
        }
        assert_eq!(left, 1001 - AT_ONCE_BEHIND - AT_ONCE, "each is said once");
    }

    #[test]
    fn what_is_said_again_before_it_was_written_keeps_nothing_back() {
        let outbox = Outbox::default();
        let drained = || (0..2 * AT_ONCE).map(|i| word(&format!("web-{i}"), "drained")).collect();
        outbox.push(drained());
        outbox.push(drained());
        outbox.push(vec![word("other", "confirmed"), word("web-0", "pending")]);
        let rounds: Vec<usize> = (0..4).map(|_| outbox.take().1.len()).collect();
        assert_eq!(rounds, [AT_ONCE, AT_ONCE, 1, 0]);
    }

    fn round(outbox: &Outbox) -> (u64, Vec<Word>) {
        outbox.push(vec![Report::Delete("sim-a.shop.web.web-1.dns".to_owned())]);
        outbox.take()
    }

    #[test]
    fn a_failed_word_waits_again_unless_the_sidecar_was_replaced_meanwhile() {
        let outbox = Outbox::default();
        for (replaced, left) in [(false, 1), (true, 0)] {
            let (term, words) = round(&outbox);
            if replaced {
                outbox.clear();
            }
            words.into_iter().for_each(|word| outbox.put_back(term, word));
            assert_eq!(outbox.take().1.len(), left);
        }
    }
}
