//! Writing by hand: what is due goes into the next request, as many together and as many requests at once as suit the
//! registry.

use std::sync::Arc;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{Instance, Registry};

/// Takes what is due.
pub(in crate::bench) struct Pen(mpsc::UnboundedSender<Instance>);

impl Pen {
    /// A pen, and the work that it gives: to be done until the pen is dropped. It puts entries, or deletes them.
    pub(in crate::bench) fn new(
        registry: Arc<dyn Registry>,
        put: bool,
    ) -> (Self, impl Future<Output = Result<()>> + Send + use<>) {
        let (sender, due) = mpsc::unbounded_channel();
        (Self(sender), write(registry, put, due))
    }

    /// The instance is due.
    pub(in crate::bench) fn due(&self, instance: Instance) -> Result<()> {
        Ok(self.0.send(instance)?)
    }
}

async fn write(
    registry: Arc<dyn Registry>,
    put: bool,
    mut due: mpsc::UnboundedReceiver<Instance>,
) -> Result<()> {
    let style = registry.style();
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        let mut some = Vec::new();
        tokio::select! {
            count = due.recv_many(&mut some, style.together), if open && under_way.len() < style.at_once => {
                open = count > 0;
                if open {
                    let registry = &registry;
                    under_way.push(async move {
                        if put { registry.put(&some).await } else { registry.delete(&some).await }
                    });
                }
            }
            Some(done) = under_way.next() => done?,
        }
    }
    Ok(())
}

/// Puts all of them, in requests as large as suits the registry. Those of one application lie together.
pub(in crate::bench) async fn write_all(registry: &dyn Registry, instances: &[Instance]) -> Result<()> {
    let style = registry.style();
    let mut sorted = instances.to_vec();
    sorted.sort_by_key(|one| (one.app, one.number));
    let puts = sorted.chunks(style.bulk).map(|some| registry.put(some));
    stream::iter(puts).buffer_unordered(style.at_once).try_collect().await
}
