//! What the kubelet is told of faults.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, watch};

use super::{
    Kubelet,
    container::{Exit, Role},
    local::{Letter, News},
};
use crate::{
    faults::{Order, Starts},
    object::Key,
};

/// Where news of faults come from.
pub(crate) struct Trouble {
    pub down: watch::Receiver<BTreeSet<String>>,
    pub starts: watch::Receiver<Starts>,
    pub crashes: mpsc::UnboundedReceiver<Order>,
}

pub(super) enum Change {
    Nodes,
    Starts,
    Crash(Order),
}

impl Trouble {
    pub(super) async fn next(&mut self) -> Change {
        tokio::select! {
            Some(order) = self.crashes.recv() => Change::Crash(order),
            Ok(()) = self.down.changed() => Change::Nodes,
            Ok(()) = self.starts.changed() => Change::Starts,
            else => std::future::pending().await,
        }
    }
}

impl Kubelet {
    /// Who has to look again, and at what.
    pub(super) fn heed(&mut self, change: Change, queue: &mut BTreeSet<Key>) {
        match change {
            Change::Nodes => queue.extend(self.pods.keys().cloned()),
            Change::Starts => {
                // Even those who rest: they may wait for what has just been made shorter.
                self.pods.values_mut().for_each(|local| local.rest = None);
                queue.extend(self.pods.keys().cloned());
            }
            Change::Crash(order) => self.crash(order, queue),
        }
    }

    fn crash(&mut self, order: Order, queue: &mut BTreeSet<Key>) {
        let Order { key, uid, code } = order;
        let Some(local) = self.pods.get(&key).filter(|local| local.uid == uid) else { return };
        let hit = local.life.containers.iter().enumerate();
        let hit = hit.filter(|(_, container)| container.role == Role::App && container.running().is_some());
        let letters = hit.map(|(index, container)| {
            let news = News::Crashed(Exit { code, ..Exit::default() });
            Letter { key: key.clone(), uid: uid.clone(), index, restarts: container.restarts, news }
        });
        self.unread.entry(key.clone()).or_default().extend(letters);
        queue.insert(key);
    }
}
