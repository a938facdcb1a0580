//! The kubelets of all nodes in one: it leads every assigned pod through its life.

pub(crate) mod network;
mod plan;
mod report;
mod server;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    network::{PodNetwork, Pool},
    plan::Plan,
    report::Station,
};
use crate::{
    clock,
    controller::{
        Controller, Outcome,
        recorder::{Note, Recorder},
    },
    kind::{self, Kind},
    object::{self, Key, text},
    status::Status,
    store::{DeleteOptions, Event, Store},
    task::Tasks,
};

/// What the kubelet knows of a pod beyond its object.
struct Local {
    uid: String,
    seen: Instant,
    running: Option<Instant>,
    stopping: Option<Instant>,
    crashed: Option<Instant>,
    crashes: u32,
    address: Option<Ipv4Addr>,
    server: Option<CancellationToken>,
}

pub(crate) struct Settings {
    pub cluster: String,
    pub network: PodNetwork,
    pub listen: bool,
    pub startup: Duration,
}

pub(crate) struct Kubelet {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    tasks: Tasks,
    settings: Settings,
    pool: Pool,
    pods: HashMap<Key, Local>,
    down: watch::Receiver<BTreeSet<String>>,
}

impl Controller for Kubelet {
    fn kinds(&self) -> Vec<&'static Kind> {
        // Nodes too: a lost node changes the life of its pods.
        vec![&kind::PODS, &kind::NODES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::PODS {
            queue.insert(Key::of(&event.object));
            return;
        }
        let ready = |o: &Value| object::condition_true(o, "Ready");
        if event.previous.as_ref().is_some_and(|p| ready(p) != ready(&event.object)) {
            queue.extend(self.pods.keys().cloned());
        }
    }

    fn reconcile(&mut self, key: &Key) -> Outcome {
        let pod = self.store.get(&kind::PODS, key);
        let uid = pod.as_deref().map_or("", object::uid);
        if self.pods.get(key).is_some_and(|local| local.uid != uid) {
            self.forget(key);
        }
        let Some(pod) = pod else { return Ok(None) };
        if text(&pod, "/spec/nodeName").is_empty() {
            return Ok(None);
        }
        if !self.pods.contains_key(key) {
            let local = self.meet(&pod);
            self.pods.insert(key.clone(), local);
        }
        let Some(mut local) = self.pods.remove(key) else { return Ok(None) };
        let outcome = self.step(key, &pod, &mut local);
        self.pods.insert(key.clone(), local);
        outcome
    }
}

impl Kubelet {
    pub(crate) fn new(
        store: Arc<Store>,
        recorder: Arc<Recorder>,
        tasks: Tasks,
        settings: Settings,
        down: watch::Receiver<BTreeSet<String>>,
    ) -> Self {
        let mut pool = Pool::new(settings.network);
        // Pods of an earlier start keep their addresses, before anybody new can take them.
        for pod in store.list(&kind::PODS, "").objects {
            if let Ok(address) = text(&pod, "/status/podIP").parse() {
                pool.claim(address);
            }
        }
        Self { store, recorder, tasks, settings, pool, pods: HashMap::new(), down }
    }

    /// A pod seen for the first time: new, or running since before a restart of the simulator.
    fn meet(&mut self, pod: &Value) -> Local {
        let now = Instant::now();
        let mut local = Local {
            uid: object::uid(pod).to_owned(),
            seen: now,
            running: None,
            stopping: None,
            crashed: None,
            crashes: 0,
            address: text(pod, "/status/podIP").parse().ok(),
            server: None,
        };
        if text(pod, "/status/phase") == "Running" && local.address.is_some() {
            local.running = Some(now);
            self.listen(pod, &mut local);
        }
        local
    }

    fn forget(&mut self, key: &Key) {
        if let Some(mut local) = self.pods.remove(key) {
            close(&mut local);
            if let Some(address) = local.address {
                self.pool.free(address);
            }
        }
    }

    fn node_lost(&self, pod: &Value) -> bool {
        self.down.borrow().contains(text(pod, "/spec/nodeName"))
    }

    fn step(&mut self, key: &Key, pod: &Value, local: &mut Local) -> Outcome {
        let plan = plan::plan(pod, self.settings.startup);
        let now = Instant::now();
        if self.node_lost(pod) {
            // Nobody there to do anything: the pod is unready and silent until the node comes back.
            close(local);
            if local.running.is_some() {
                self.set_ready(key, false, "NodeStatusUnknown")?;
            }
            return Ok(None);
        }
        if object::deleting(pod) {
            return self.stop(key, pod, &plan, local);
        }
        if matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            close(local);
            return Ok(None);
        }
        if plan.bad_image && local.running.is_none() {
            return self.refuse_image(key, pod);
        }
        match local.running {
            Some(since) => self.live(key, pod, &plan, local, since),
            None => {
                let from = local.crashed.map_or(local.seen, |at| at + backoff(local.crashes));
                let due = from + plan.startup;
                if now >= due {
                    return self.launch(key, pod, local);
                }
                if local.crashed.is_none() && pod["status"]["containerStatuses"].is_null() {
                    self.report(key, &Station::Creating, Some(false))?;
                }
                Ok(Some(due - now))
            }
        }
    }

    fn launch(&mut self, key: &Key, pod: &Value, local: &mut Local) -> Outcome {
        if !self.listen(pod, local) {
            return Ok(Some(Duration::from_secs(1)));
        }
        local.running = Some(Instant::now());
        let plan = plan::plan(pod, self.settings.startup);
        let address = local.address.map(|a| a.to_string()).unwrap_or_default();
        let ready = !plan.never_ready && plan.ready_after.is_zero();
        self.report(key, &Station::Running { address: &address }, Some(ready))?;
        self.note(pod, false, "Started", "Started container".to_owned());
        self.live(key, pod, &plan, local, Instant::now())
    }

    /// A running pod: readiness, and the end that it may be going to have.
    fn live(&mut self, key: &Key, pod: &Value, plan: &Plan, local: &mut Local, since: Instant) -> Outcome {
        let age = since.elapsed();
        if local.server.is_none() {
            self.listen(pod, local);
        }
        let address = local.address.map(|a| a.to_string()).unwrap_or_default();
        if text(pod, "/status/phase") == "Running" && text(pod, "/status/podIP") != address {
            // Its old address was taken when it came back.
            self.report(key, &Station::Running { address: &address }, Some(false))?;
        }
        if plan.crash_after.is_some_and(|at| age >= at) {
            return self.crash(key, pod, local);
        }
        if plan.complete_after.is_some_and(|at| age >= at) {
            close(local);
            self.report(key, &Station::Ended { failed: false }, Some(false))?;
            return Ok(None);
        }
        self.set_ready(key, !plan.never_ready && age >= plan.ready_after, "ContainersNotReady")?;
        let next = [Some(plan.ready_after), plan.crash_after, plan.complete_after];
        Ok(next.into_iter().flatten().filter(|at| *at > age).map(|at| at - age).min())
    }

    fn crash(&mut self, key: &Key, pod: &Value, local: &mut Local) -> Outcome {
        close(local);
        local.running = None;
        if text(pod, "/spec/restartPolicy") == "Never" {
            self.report(key, &Station::Ended { failed: true }, Some(false))?;
            return Ok(None);
        }
        local.crashed = Some(Instant::now());
        local.crashes += 1;
        self.report(key, &Station::Crashed, Some(false))?;
        self.note(pod, true, "BackOff", "Back-off restarting failed container".to_owned());
        Ok(Some(backoff(local.crashes)))
    }

    fn stop(&mut self, key: &Key, pod: &Value, plan: &Plan, local: &mut Local) -> Outcome {
        let first = local.stopping.is_none();
        let began = *local.stopping.get_or_insert_with(Instant::now);
        let takes = report::shutdown(pod, plan);
        let left = takes.saturating_sub(began.elapsed());
        if first && !left.is_zero() {
            self.set_ready(key, false, "ContainersNotReady")?;
            self.note(pod, false, "Killing", "Stopping container".to_owned());
        }
        if !left.is_zero() {
            return Ok(Some(left));
        }
        close(local);
        let options = DeleteOptions { uid: Some(local.uid.clone()), ..DeleteOptions::now() };
        match self.store.delete(&kind::PODS, key, &options) {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => Ok(None),
        }
    }

    fn refuse_image(&self, key: &Key, pod: &Value) -> Outcome {
        let status = object::items(pod, "/status/containerStatuses").first();
        if status.is_none_or(|s| text(s, "/state/waiting/reason") != "ImagePullBackOff") {
            self.report(key, &Station::BadImage, Some(false))?;
            self.note(pod, true, "Failed", "Error: ImagePullBackOff".to_owned());
        }
        Ok(None)
    }

    /// Gives the pod its address and listens there; false when no address is left.
    fn listen(&mut self, pod: &Value, local: &mut Local) -> bool {
        let ports = if self.settings.listen { server::ports(pod) } else { Vec::new() };
        loop {
            let Some(address) = local.address.or_else(|| self.pool.take()) else {
                tracing::error!(network = %self.settings.network, "no address left for pods");
                return false;
            };
            match server::bind(address, &ports) {
                Ok(listeners) => {
                    local.address = Some(address);
                    let plan = plan::plan(pod, self.settings.startup);
                    let app = server::App::new(&self.settings.cluster, pod, &plan);
                    local.server = Some(server::serve(&self.tasks, listeners, app));
                    return true;
                }
                // Somebody else on this machine has the address: the next one, and this one stays taken.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => local.address = None,
                Err(error) => {
                    tracing::warn!(%error, %address, pod = object::name(pod), "the pod cannot listen; it runs without");
                    local.address = Some(address);
                    local.server = Some(self.tasks.stop.child_token());
                    return true;
                }
            }
        }
    }

    fn report(&self, key: &Key, station: &Station<'_>, ready: Option<bool>) -> Result<(), Status> {
        let now = clock::stamp();
        let done = self.store.update(&kind::PODS, key, |seen| {
            let value = report::at(seen, station, &now);
            Ok(Some(match ready {
                Some(ready) => report::readiness(&value, ready, "ContainersNotReady", &now),
                None => value,
            }))
        });
        gone_is_fine(done)
    }

    fn set_ready(&self, key: &Key, ready: bool, why: &str) -> Result<(), Status> {
        let done = self.store.update(&kind::PODS, key, |seen| {
            let value = report::readiness(seen, ready, why, &clock::stamp());
            Ok((value != *seen).then_some(value))
        });
        gone_is_fine(done)
    }

    fn note(&self, pod: &Value, warning: bool, reason: &str, message: String) {
        self.recorder.record(&kind::PODS, pod, &Note { warning, reason, message, component: "kubelet" });
    }
}

fn gone_is_fine(done: Result<Arc<Value>, Status>) -> Result<(), Status> {
    match done {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

fn close(local: &mut Local) {
    if let Some(server) = local.server.take() {
        server.cancel();
    }
}

/// Half a second, doubling up to half a minute: shorter than real, since tests wait for it.
fn backoff(crashes: u32) -> Duration {
    Duration::from_millis(250 * 2_u64.pow(crashes.min(7)))
}
