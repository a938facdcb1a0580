//! The one call that a worker has under way, and what came of it. Calls own what they need, so the worker goes on
//! listening while they run.

use std::{sync::Arc, time::Duration};

use bcs_kit::bus;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use super::{
    attend::{Attendant, Attended},
    door::Asked,
    hand::{Hand, Handed},
    lease::{Lease, Term, Watched},
};
use crate::{
    domain::{Change, Failure, Outcome, portion::portions},
    driver::{Drift, Driver, Listing},
    externaldns,
};

/// Changes by others, as they are told.
pub(crate) type Drifts = BoxStream<'static, Result<Drift, Failure>>;

/// What a call came to.
pub(crate) enum Done {
    Taken(Result<Term, bus::Error>),
    Looked(Result<(Watched, Option<Term>), bus::Error>),
    Connected(Result<(Listing, Drifts), Failure>),
    Read(Result<Listing, Failure>),
    Applied(Vec<Written>),
    Handed(Asked, Result<Handed, Failure>),
    Attended(externaldns::Asked, Attended),
}

/// What was written together, and what became of it.
pub(crate) type Written = (Vec<Change>, Result<Vec<Outcome>, Failure>);

pub(crate) type Call = BoxFuture<'static, Done>;

pub(crate) fn take(lease: Lease) -> Call {
    lease.take().map(Done::Taken).boxed()
}

pub(crate) fn look(lease: Lease, watched: Watched, up: Duration) -> Call {
    lease.look(watched, up).map(Done::Looked).boxed()
}

/// Fences, reads everything, and listens from there on: nothing falls between.
pub(crate) fn connect(driver: Arc<dyn Driver>, epoch: u64) -> Call {
    Box::pin(async move {
        let connected = async {
            driver.fence(epoch).await?;
            let listing = driver.list().await?;
            let drifts = driver.drift(listing.at).await?;
            Ok((listing, drifts))
        };
        Done::Connected(connected.await)
    })
}

pub(crate) fn read(driver: Arc<dyn Driver>) -> Call {
    Box::pin(async move { Done::Read(driver.list().await) })
}

/// In as few writes as the registry takes, and as many at once.
pub(crate) fn apply(driver: Arc<dyn Driver>, changes: Vec<Change>) -> Call {
    Box::pin(async move {
        let (able, mut written) = (driver.capabilities(), Vec::new());
        for writes in portions(changes, able.batch) {
            let writes = writes.into_iter().map(|some| async {
                let answer = driver.apply(&some).await;
                (some, answer)
            });
            written.extend(stream::iter(writes).buffer_unordered(able.at_once).collect::<Vec<_>>().await);
            // Nobody knows what is there now: the registry is read before anything else is written.
            if written.iter().any(|(_, answer)| answer.as_ref().is_err_and(Failure::is_of_the_registry)) {
                break;
            }
        }
        Done::Applied(written)
    })
}

/// What a person asked for.
pub(crate) fn hand(hand: Hand, asked: Asked) -> Call {
    Box::pin(async move {
        let handed = Box::pin(hand.does(&asked.ask)).await;
        Done::Handed(asked, handed)
    })
}

/// What an ExternalDNS asked for.
pub(crate) fn attend(attendant: Attendant, asked: externaldns::Asked) -> Call {
    Box::pin(async move {
        let attended = Box::pin(attendant.does(&asked.ask)).await;
        Done::Attended(asked, attended)
    })
}
