//! The scheduler finds a node for every pod. Here it listens; `queue` knows who waits and when to look again, `attempt` tries one pod,
//! `cluster` knows who is where, `search` finds the place in it, and `preempt` makes room.

mod attempt;
mod cluster;
mod extender;
mod neighbours;
mod node;
mod preempt;
mod queue;
mod refusal;
mod report;
mod score;
mod search;
mod spread;
mod term;
mod wish;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use self::{
    cluster::Cluster,
    node::Facts,
    queue::Queue,
    report::Report,
    wish::{Class, Wish},
};
use super::{Controller, Outcome, pod, recorder::Recorder};
use crate::{
    kind::{self, Kind},
    object::{self, Key, items, text},
    status::Status,
    store::{Change, Event, Store},
};

/// How many pods are tried, or told why they wait, before the ear is lent to the news again.
const BATCH: usize = 128;

pub(crate) struct Scheduler {
    report: Report,
    /// The URLs of the extenders.
    extenders: Vec<String>,
    cluster: Cluster,
    queue: Queue,
    wishes: HashMap<Class, Weak<Wish>>,
    /// The nodes that have more room than before.
    roomier: BTreeSet<usize>,
    /// Whether something happened that may help everybody, or those who care where others are.
    stirred: bool,
    sociable_stirred: bool,
    /// How much there is still to learn of what was there before: who is placed too early lands on a node that is full.
    unread: AtomicUsize,
}

impl Scheduler {
    pub(crate) fn new(store: Arc<Store>, recorder: Arc<Recorder>, extenders: Vec<String>) -> Self {
        Self {
            report: Report { store, recorder },
            extenders,
            cluster: Cluster::default(),
            queue: Queue::default(),
            wishes: HashMap::new(),
            roomier: BTreeSet::new(),
            stirred: false,
            sociable_stirred: false,
            unread: AtomicUsize::new(0),
        }
    }

    fn wish(&mut self, pod: &Value) -> Arc<Wish> {
        let class = wish::class(pod);
        if let Some(known) = self.wishes.get(&class).and_then(Weak::upgrade) {
            return known;
        }
        if self.wishes.len() == self.wishes.capacity() {
            self.wishes.retain(|_, wish| wish.strong_count() > 0);
        }
        let wish = Arc::new(Wish::of(pod));
        self.wishes.insert(class, Arc::downgrade(&wish));
        wish
    }

    fn observe_node(&mut self, event: &Event) {
        let name = object::name(&event.object);
        if event.change == Change::Deleted {
            self.cluster.forget(name);
            self.stirred = true;
        } else if let Some(at) = self.cluster.learn(name, Facts::of(&event.object)) {
            self.roomier.insert(at);
            self.stirred = true;
        }
    }

    fn observe_namespace(&mut self, event: &Event) {
        let name = object::name(&event.object);
        let labels = object::labels(&event.object).filter(|_| event.change != Change::Deleted);
        self.sociable_stirred |= self.cluster.learn_namespace(name, labels);
    }

    fn observe_pod(&mut self, event: &Event) {
        let (pod, now) = (&*event.object, Instant::now());
        let gone = event.change == Change::Deleted;
        if !gone && event.previous.as_deref().is_some_and(|before| alike(before, pod)) {
            return;
        }
        let key = Key::of(pod);
        let node = text(pod, "/spec/nodeName");
        // A place is never lost: this is how the pod was before it got the one that it was given just now.
        if !gone && node.is_empty() && self.cluster.has(&key) {
            return;
        }
        if gone || !node.is_empty() || !waits(pod) {
            self.queue.remove(&key, now);
            self.roomier.extend(self.cluster.denominate(&key));
        } else {
            let wish = self.wish(pod);
            let nominated = text(pod, "/status/nominatedNodeName");
            if !nominated.is_empty() {
                let at = self.cluster.number(nominated);
                self.cluster.nominate(&key, at, Arc::clone(&wish));
            }
            self.queue.add(key.clone(), wish, now);
        }
        if gone || node.is_empty() || pod::ended(pod) {
            self.leave(&key);
        } else {
            self.settle(&key, pod, node);
        }
    }

    /// Notes that a pod has a place.
    fn settle(&mut self, key: &Key, pod: &Value, node: &str) {
        let wish = self.wish(pod);
        let placement = self.cluster.place(key, wish, node, object::deleting(pod));
        self.roomier.extend(placement.roomier);
        self.sociable_stirred |= placement.news;
    }

    /// Notes that a pod has none any more.
    fn leave(&mut self, key: &Key) {
        let Some((node, wish)) = self.cluster.remove(key) else { return };
        self.roomier.insert(node);
        self.sociable_stirred = true;
        // Whoever was not wanted near it may be welcome on many nodes.
        self.stirred |= !wish.terms.far.is_empty();
    }

    /// Lets those look again for whom something may have changed.
    fn wake(&mut self, now: Instant) {
        let roomier = std::mem::take(&mut self.roomier);
        if !roomier.is_empty() {
            // Who cares about others is stirred instead.
            let fits =
                |at: usize, wish: &Wish| !wish.sociable() && self.cluster.node(at).refuse(wish).is_none();
            self.queue.hope(&roomier, fits, now);
        }
        let all = std::mem::take(&mut self.stirred);
        if std::mem::take(&mut self.sociable_stirred) || all {
            self.queue.stir(|wish| all || wish.sociable(), now);
        }
    }
}

impl Controller for Scheduler {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::NAMESPACES, &kind::NODES, &kind::PODS]
    }

    fn feed(&self, store: &Store) -> mpsc::UnboundedReceiver<Arc<Event>> {
        let feed = store.feed(&self.kinds());
        self.unread.store(feed.len(), Ordering::Relaxed);
        feed
    }

    /// There is one queue for all pods, which has an order of its own; whatever happened, the step is the same.
    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        match event.kind.id {
            "namespaces" => self.observe_namespace(event),
            "nodes" => self.observe_node(event),
            _ => self.observe_pod(event),
        }
        let unread = self.unread.get_mut();
        *unread = unread.saturating_sub(1);
        if *unread == 0 {
            queue.insert(Key::default());
        }
    }

    async fn reconcile(&mut self, _: &Key) -> Outcome {
        let now = Instant::now();
        self.wake(now);
        for _ in 0..BATCH {
            if let Some(attempt) = self.queue.next(now) {
                forgive(self.attempt(&attempt, now).await)?;
            } else if let Some((pod, why)) = self.queue.tell() {
                let node = why.nominated.map(|at| self.cluster.node(at).name.as_str());
                forgive(self.report.refuse(&pod, &why, node))?;
            } else {
                break;
            }
        }
        Ok(self.queue.pause(now))
    }
}

/// A pod that went in the meantime needs nothing any more.
fn forgive(outcome: Result<(), Status>) -> Result<(), Status> {
    outcome.or_else(|status| if status.code == 404 { Ok(()) } else { Err(status) })
}

/// Whether a pod waits for this scheduler.
fn waits(pod: &Value) -> bool {
    matches!(text(pod, "/spec/schedulerName"), "" | "default-scheduler")
        && items(pod, "/spec/schedulingGates").is_empty()
        && !object::deleting(pod)
        && !pod::ended(pod)
}

/// Whether nothing changed that the scheduler looks at: most news of pods are of their status.
fn alike(before: &Value, after: &Value) -> bool {
    before["metadata"]["generation"] == after["metadata"]["generation"]
        && object::deleting(before) == object::deleting(after)
        && object::labels(before) == object::labels(after)
        && pod::ended(before) == pod::ended(after)
}
