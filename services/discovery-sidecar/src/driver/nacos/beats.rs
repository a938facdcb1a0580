//! Ephemeral instances live by beats. They come from a task of their own, so that they go on whatever else is asked of Nacos
//! meanwhile. A beat registers what is not there: so none may be under way while its instance is changed, or it would bring
//! back what was just taken out.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{
        mpsc::{self, Sender},
        watch,
    },
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{AT_ONCE, BATCH, fenced, layout::Instance, session::Session};
use crate::{
    domain::{Failure, Place},
    driver::Drift,
};

/// How often an instance is kept alive; Nacos calls it unhealthy after three of them.
const BEAT: Duration = Duration::from_secs(5);

/// What Nacos knows an instance by, but for its cluster.
pub(super) type Address = (String, String, u16);

/// An instance that is kept alive.
pub(super) struct Kept {
    service: String,
    instance: Instance,
}

impl Kept {
    pub(super) fn new(service: &str, instance: Instance) -> Arc<Self> {
        Arc::new(Self { service: service.to_owned(), instance })
    }

    pub(super) fn address(service: &str, instance: &Instance) -> Address {
        (service.to_owned(), instance.ip.clone(), instance.port)
    }
}

#[derive(Default)]
struct State {
    kept: BTreeMap<Place, Arc<Kept>>,
    /// Beats for each place: a former task may not have ended yet when the next one begins.
    under_way: BTreeMap<Place, usize>,
}

/// Everything that is kept alive. Who waits is told when a beat ends.
pub(super) struct Alive(watch::Sender<State>);

impl Default for Alive {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl Alive {
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_if_modified(|state| {
            change(state);
            false
        });
    }

    /// This, and nothing else.
    pub(super) fn replace(&self, all: BTreeMap<Place, Arc<Kept>>) {
        self.change(|state| state.kept = all);
    }

    pub(super) fn keep(&self, place: Place, kept: Arc<Kept>) {
        self.change(|state| drop(state.kept.insert(place, kept)));
    }

    /// Ends beats for these places, and for whatever is at these addresses. None of them is under way any more when this
    /// returns, and none begins until they are kept again.
    pub(super) async fn hush(
        &self,
        places: &HashSet<&Place>,
        addresses: &HashSet<Address>,
    ) -> BTreeMap<Place, Arc<Kept>> {
        let mut taken = BTreeMap::new();
        self.change(|state| {
            state.kept.retain(|place, kept| {
                let hushed = places.contains(place)
                    || addresses.contains(&Kept::address(&kept.service, &kept.instance));
                if hushed {
                    taken.insert(place.clone(), kept.clone());
                }
                !hushed
            });
        });
        let hushed = |place: &Place| places.contains(place) || taken.contains_key(place);
        // It ends only with the sender, which is ours.
        let _ = self.0.subscribe().wait_for(|state| !state.under_way.keys().any(hushed)).await;
        taken
    }

    /// What is beaten for this place now, if it is kept still.
    fn begin(&self, place: Place) -> Option<UnderWay<'_>> {
        let mut found = None;
        self.change(|state| {
            found = state.kept.get(&place).cloned();
            if found.is_some() {
                *state.under_way.entry(place.clone()).or_default() += 1;
            }
        });
        found.map(|kept| UnderWay { alive: self, place, kept })
    }

    fn places(&self) -> Vec<Place> {
        self.0.borrow().kept.keys().cloned().collect()
    }
}

/// A beat that is under way, until this is dropped.
struct UnderWay<'a> {
    alive: &'a Alive,
    place: Place,
    kept: Arc<Kept>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.alive.0.send_modify(|state| {
            let left = state.under_way.get(&self.place).map_or(0, |beats| beats.saturating_sub(1));
            match left {
                0 => drop(state.under_way.remove(&self.place)),
                left => drop(state.under_way.insert(self.place.clone(), left)),
            }
        });
    }
}

/// Beats as long as the stream is there, whether or not anybody listens to it; it tells what fails.
pub(super) fn begin(
    session: Session,
    epoch: String,
    alive: Arc<Alive>,
) -> BoxStream<'static, Result<Drift, Failure>> {
    let (tell, told) = mpsc::channel(1);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut rounds = interval(BEAT);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            round(&session, &epoch, &alive, &tell).await;
        }
    });
    stream::unfold((told, task), |(mut told, task)| async move {
        told.recv().await.map(|failure| (Err(failure), (told, task)))
    })
    .boxed()
}

/// One beat for each. What fails holds up none of the others.
async fn round(session: &Session, epoch: &str, alive: &Alive, tell: &Sender<Failure>) {
    // One failure that nobody took yet is enough.
    let failed = |failure| drop(tell.try_send(failure));
    for some in alive.places().chunks(BATCH) {
        // As before writes: a sidecar that was replaced brings back nothing that the next one took out.
        if let Err(failure) = fenced(session, epoch).await {
            return failed(failure);
        }
        let beats = some.iter().map(|place| async move {
            // Looked up when it is its turn: one that was taken out meanwhile would come back.
            match alive.begin(place.clone()) {
                Some(beat) => session.beat(&beat.kept.service, &beat.kept.instance).await,
                None => Ok(()),
            }
        });
        stream::iter(beats.collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .for_each(|beat| async { beat.err().into_iter().for_each(failed) })
            .await;
    }
}
