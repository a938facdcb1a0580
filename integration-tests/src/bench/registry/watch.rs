//! What an outside client waits for, and when it saw it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::{App, Instance, Registry};

/// What did not come after this long never will.
const LONGEST: Duration = Duration::from_secs(30);
/// Between two looks. A look that takes longer is followed by a rest as long as it was: the client shall not be the load.
const LOOK: Duration = Duration::from_millis(1);

/// What is waited for. Clones share it.
#[derive(Clone, Default)]
pub(in crate::bench) struct Watch(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By number: its application, and whether it is to come or to go.
    expected: HashMap<u32, (App, bool)>,
    seen: HashMap<(u32, bool), Instant>,
}

impl Watch {
    /// From now on it is waited for that the instance comes, or goes.
    pub(in crate::bench) fn expect(&self, instance: Instance, there: bool) {
        let mut state = self.state();
        state.seen.remove(&(instance.number, there));
        state.expected.insert(instance.number, (instance.app, there));
    }

    /// What the client was told: an instance came, or went.
    pub(super) fn note(&self, number: u32, there: bool, at: Instant) {
        let mut state = self.state();
        if state.expected.get(&number).is_some_and(|(_, wanted)| *wanted == there) {
            state.expected.remove(&number);
            state.seen.insert((number, there), at);
        }
    }

    /// What the client found at these applications.
    fn looked(&self, apps: &BTreeSet<App>, found: &BTreeSet<u32>, at: Instant) {
        let fits = |(number, (app, there)): (&u32, &(App, bool))| {
            (apps.contains(app) && found.contains(number) == *there).then_some((*number, *there))
        };
        let seen: Vec<(u32, bool)> = self.state().expected.iter().filter_map(fits).collect();
        seen.into_iter().for_each(|(number, there)| self.note(number, there, at));
    }

    /// When each was seen, in their order, as soon as all were; those that never are, are missing.
    pub(in crate::bench) async fn wait(&self, instances: &[Instance], there: bool) -> Vec<Option<Instant>> {
        let end = Instant::now() + LONGEST;
        loop {
            let seen: Vec<_> = {
                let state = self.state();
                instances.iter().map(|one| state.seen.get(&(one.number, there)).copied()).collect()
            };
            if Instant::now() > end || seen.iter().all(Option::is_some) {
                let mut state = self.state();
                for one in instances {
                    state.expected.remove(&one.number);
                }
                return seen;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn apps(&self) -> BTreeSet<App> {
        self.state().expected.values().map(|(app, _)| *app).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For registries that tell nothing by themselves.
pub(super) async fn look_again_and_again<R: Registry + ?Sized>(registry: &R, watch: &Watch) -> Result<()> {
    loop {
        let (begin, apps) = (Instant::now(), watch.apps());
        if !apps.is_empty() {
            let found = registry.look(&apps).await?;
            watch.looked(&apps, &found, Instant::now());
        }
        sleep(begin.elapsed().max(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::registry::Side;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_waited_for_counts_and_only_the_first_time() {
        let (watch, begin) = (Watch::default(), Instant::now());
        let [one, two] = [1, 2].map(|number| Instance::new(Side::Ours, number, 1));
        watch.expect(one, true);
        let apps = watch.apps();
        watch.looked(&apps, &[1, 2].into(), begin + Duration::from_millis(3));
        watch.looked(&apps, &[1, 2].into(), begin + Duration::from_millis(9));
        assert_eq!(watch.wait(&[one], true).await, [Some(begin + Duration::from_millis(3))]);
        watch.expect(one, false);
        watch.expect(two, false);
        watch.looked(&apps, &[2].into(), begin + Duration::from_millis(20));
        assert_eq!(watch.wait(&[one, two], false).await, [Some(begin + Duration::from_millis(20)), None]);
    }
}
