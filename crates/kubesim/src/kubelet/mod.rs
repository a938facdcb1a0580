//! The kubelets of all nodes in one: it leads every assigned pod through its life.
//!
//! `life` and its neighbours decide, without any I/O, what happens to a pod; this file and `hand` do it.

mod container;
mod hand;
mod image;
mod life;
mod local;
pub(crate) mod network;
mod plan;
mod probe;
pub(crate) mod process;
mod program;
mod restore;
mod server;
pub(crate) mod session;
mod status;
pub(crate) mod stdio;
mod stop;
mod trouble;
pub(crate) mod usage;

pub(crate) use self::trouble::Trouble;

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use self::{
    container::Now,
    hand::Handle,
    image::Images,
    life::{Life, View},
    local::{Letter, Local},
    network::{PodNetwork, Pool},
    process::log::Logs,
};
use crate::{
    clock,
    controller::{Controller, Outcome, recorder::Recorder},
    kind::{self, Kind},
    object::{self, Key, text},
    status::Status,
    store::{DeleteOptions, Event, Store},
    task::Tasks,
};

pub(crate) struct Settings {
    pub cluster: String,
    pub network: PodNetwork,
    pub listen: bool,
    pub startup: Duration,
    pub allow_processes: bool,
    pub logs: Arc<Logs>,
}

pub(crate) struct Kubelet {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    tasks: Tasks,
    settings: Settings,
    pool: Pool,
    images: Images,
    pods: HashMap<Key, Local>,
    trouble: Trouble,
    post: mpsc::UnboundedSender<Letter>,
    mail: mpsc::UnboundedReceiver<Letter>,
    unread: HashMap<Key, Vec<Letter>>,
}

impl Controller for Kubelet {
    fn kinds(&self) -> Vec<&'static Kind> {
        // Nodes too: pods may have been waiting for theirs.
        vec![&kind::PODS, &kind::NODES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::PODS {
            queue.insert(Key::of(&event.object));
            return;
        }
        let ready = |o: &Value| object::condition_true(o, "Ready");
        if event.previous.as_ref().is_none_or(|p| ready(p) != ready(&event.object)) {
            queue.extend(self.pods.keys().cloned());
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let letters = self.unread.remove(key).unwrap_or_default();
        let pod = self.store.get(&kind::PODS, key);
        let uid = pod.as_deref().map_or("", object::uid);
        if self.pods.get(key).is_some_and(|local| local.uid != uid) {
            self.forget(key);
        }
        let Some(pod) = pod else { return Ok(None) };
        if text(&pod, "/spec/nodeName").is_empty() {
            return Ok(None);
        }
        let mut local = match self.pods.remove(key) {
            Some(local) => local,
            None => self.meet(&pod),
        };
        let outcome = self.step(key, &pod, &mut local, letters);
        self.pods.insert(key.clone(), local);
        outcome
    }

    async fn woken(&mut self, queue: &mut BTreeSet<Key>) {
        tokio::select! {
            letter = self.mail.recv() => if let Some(letter) = letter {
                queue.insert(letter.key.clone());
                self.unread.entry(letter.key.clone()).or_default().push(letter);
            },
            change = self.trouble.next() => self.heed(change, queue),
        }
    }
}

impl Kubelet {
    pub(crate) fn new(
        store: Arc<Store>,
        recorder: Arc<Recorder>,
        tasks: Tasks,
        settings: Settings,
        trouble: Trouble,
    ) -> Self {
        let mut pool = Pool::new(settings.network);
        // Pods of an earlier start keep their addresses, before anybody new can take them.
        for pod in store.list(&kind::PODS, "").objects {
            if let Ok(address) = text(&pod, "/status/podIP").parse() {
                pool.claim(address);
            }
        }
        let (post, mail) = mpsc::unbounded_channel();
        let (images, pods, unread) = (Images::default(), HashMap::new(), HashMap::new());
        Self { store, recorder, tasks, settings, pool, images, pods, trouble, post, mail, unread }
    }

    /// A pod seen for the first time: new, or running since before a restart of the simulator.
    fn meet(&mut self, pod: &Value) -> Local {
        let plan = plan::plan(pod, self.settings.startup);
        let now = moment();
        let restored = restore::life(pod, plan.process, now);
        let mut local = Local {
            uid: object::uid(pod).to_owned(),
            address: text(pod, "/status/podIP").parse().ok(),
            life: restored.unwrap_or_else(|| Life::new(pod, now)),
            handles: Vec::new(),
            complained: false,
            silent: false,
            rest: None,
        };
        local.handles.resize_with(local.life.containers.len(), Handle::default);
        if local.life.any_running() && !self.still_free(pod, &local) {
            // Its old address was taken while it was away.
            local.address = self.free_address(pod);
        }
        local
    }

    fn forget(&mut self, key: &Key) {
        // Dropping the handles ends what is behind them.
        let Some(local) = self.pods.remove(key) else { return };
        self.unread.remove(key);
        self.settings.logs.forget(&local.uid);
        if let Some(address) = local.address {
            self.pool.free(address);
        }
    }

    /// Nobody is there to do anything for the pod.
    fn node_lost(&self, pod: &Value) -> bool {
        let node = text(pod, "/spec/nodeName");
        self.trouble.down.borrow().contains(node)
            || self.store.get(&kind::NODES, &Key::new("", node)).is_none()
    }

    fn step(&mut self, key: &Key, pod: &Value, local: &mut Local, letters: Vec<Letter>) -> Outcome {
        local.silence(self.node_lost(pod));
        if letters.is_empty()
            && let Some(left) = local.resting(object::version(pod))
        {
            return Ok(left);
        }
        local.rest = None;
        local.grow(pod);
        let mut plan = plan::plan(pod, self.settings.startup);
        {
            let starts = self.trouble.starts.borrow();
            plan.slow_down(starts.slow);
            self.images.heed(&starts);
        }
        let deleting = object::deleting(pod);
        if local.silent {
            // What was heard meanwhile is read when the node is back.
            self.unread.entry(key.clone()).or_default().extend(letters);
            return Ok(None);
        }
        if !deleting && matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            return Ok(None);
        }
        let view =
            View { pod, plan: &plan, now: moment(), deleting, probing: self.settings.listen || plan.process };
        if !local.life.sandbox && !deleting && local.life.seen + plan.startup <= view.now.at {
            if let Err(why) = self.sandbox(&view, local) {
                self.write(key, local, &view)?;
                self.complain(pod, local, why);
                return Ok(Some(Duration::from_secs(1)));
            }
            local.life.sandbox = true;
        }
        self.live(key, &view, local, letters);
        let written = self.write(key, local, &view)?;
        if deleting && !local.life.any_running() {
            return self.remove(key, local);
        }
        let next = local.life.next(&view);
        local.rest = written.map(|version| (version, next));
        Ok(next.map(|at| at.saturating_duration_since(Instant::now())))
    }

    /// Moves the life on until it rests, and does what it asks for.
    fn live(&mut self, key: &Key, view: &View<'_>, local: &mut Local, letters: Vec<Letter>) {
        let mut effects = Vec::new();
        for letter in letters {
            effects.extend(local.read(letter, view));
        }
        loop {
            for effect in std::mem::take(&mut effects) {
                effects.extend(self.perform(key, view, local, effect));
            }
            effects.extend(local.life.advance(view, &mut self.images));
            local.close_ended();
            if effects.is_empty() {
                break;
            }
        }
        self.reopen(view, local);
    }

    /// The version after the write; none when others had changed the pod since it was looked at.
    fn write(&self, key: &Key, local: &Local, view: &View<'_>) -> Result<Option<u64>, Status> {
        let same = Cell::new(false);
        let done = self.store.update(&kind::PODS, key, |seen| {
            same.set(object::version(seen) == object::version(view.pod));
            let value = status::write(seen, &local.life, local.address, &view.now);
            Ok((object::uid(seen) == local.uid && value != *seen).then_some(value))
        });
        match done {
            Ok(written) => Ok(same.get().then(|| object::version(&written))),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(status),
        }
    }

    fn remove(&self, key: &Key, local: &Local) -> Outcome {
        let options = DeleteOptions { uid: Some(local.uid.clone()), ..DeleteOptions::now() };
        match self.store.delete(&kind::PODS, key, &options) {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => Ok(None),
        }
    }
}

fn moment() -> Now {
    Now { at: Instant::now(), wall: clock::now() }
}

/// The names of the containers of a pod, init containers first.
pub(crate) fn container_names(pod: &Value) -> impl Iterator<Item = &str> {
    plan::containers(pod).map(|(_, spec)| text(spec, "/name"))
}
