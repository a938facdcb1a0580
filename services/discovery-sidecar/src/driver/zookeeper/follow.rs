//! Changes by others, by the watch that a session began with. It tells of our own changes as well, and not by whom one was: so the
//! node is read, and compared with what we left there.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use zookeeper_client::{Client, Error, EventType, PersistentWatcher};

use super::{
    Inner,
    connect::{answered, failed},
    session::unsigned,
};
use crate::{
    domain::{Failure, Place},
    driver::Drift,
};

pub(super) struct Follow {
    pub(super) inner: Arc<Inner>,
    pub(super) client: Client,
    pub(super) watcher: PersistentWatcher,
}

impl Follow {
    /// Ends with the first failure.
    pub(super) fn stream(self) -> BoxStream<'static, Result<Drift, Failure>> {
        stream::unfold(Some(self), |follow| async move {
            let mut follow = follow?;
            let told = follow.next().await;
            let rest = told.is_ok().then_some(follow);
            Some((told, rest))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Drift, Failure> {
        loop {
            let event = self.watcher.changed().await;
            if event.event_type == EventType::Session {
                // What happens until it is made again may never be told.
                return Err(Failure::Unavailable("zookeeper: the connection broke off".to_owned()));
            }
            if let Some(drift) = self.look(&Place::from(event.path.as_str())).await? {
                return Ok(drift);
            }
        }
    }

    /// Nothing, if it is as we left it, or never was ours.
    async fn look(&self, place: &Place) -> Result<Option<Drift>, Failure> {
        loop {
            let (calls, known) = {
                let state = self.inner.state();
                (state.calls, state.known.get(place).copied())
            };
            let Some(known) = known else { return Ok(None) };
            let found = match answered("reading", self.client.get_data(place)).await? {
                Ok(found) => Some(found),
                Err(Error::NoNode) => None,
                Err(error) => return Err(failed("reading", &error)),
            };
            let mut state = self.inner.state();
            if state.calls != calls {
                // A call of ours came between.
                continue;
            }
            let version = found.as_ref().map(|(_, stat)| unsigned(stat.mzxid));
            if version == Some(known) {
                return Ok(None);
            }
            let item =
                found.and_then(|(data, stat)| self.inner.services.item(place, &data, unsigned(stat.mzxid)));
            match &item {
                Some(item) => drop(state.known.insert(place.clone(), item.version)),
                None => drop(state.known.remove(place)),
            }
            return Ok(Some(Drift::Place(place.clone(), item)));
        }
    }
}
