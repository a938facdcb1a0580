//! The hands of the kubelet: addresses, listeners, probes and hooks, as the life of a pod asks for them.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio_util::sync::DropGuard;

use super::{
    Kubelet,
    container::Exit,
    image::{normal, warning},
    life::{Effect, View},
    local::{Letter, Local, News},
    plan,
    probe::ask::{self, Action},
    process::{self, Launch, Process},
    server,
    stop::Again,
};
use crate::{
    controller::recorder::Note,
    kind,
    object::{self, Key, int, text},
};

/// What stands behind a container; dropping it ends that.
#[derive(Default)]
pub(super) enum Handle {
    #[default]
    Nothing,
    Server(#[expect(dead_code, reason = "it is there to be dropped")] DropGuard),
    Process(Process),
}

impl Kubelet {
    /// Does what was asked for, and says what that leads to.
    pub(super) fn perform(
        &self,
        key: &Key,
        view: &View<'_>,
        local: &mut Local,
        effect: Effect,
    ) -> Vec<Effect> {
        match effect {
            Effect::Event { warning, reason, message } => self.note(view.pod, warning, reason, message),
            Effect::Start(index) if view.plan.process => return self.run(key, view, local, index),
            Effect::Start(index) => {
                self.open(view, local, index);
                return started(view.container(index)).into();
            }
            Effect::Probe(index, which) => {
                let spec = which.spec(view.spec(index));
                let seconds = int(spec, "/timeoutSeconds").and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
                let limit = Duration::from_secs(seconds);
                self.ask(key, view, local, index, spec, limit, move |answer| News::Probed(which, answer));
            }
            Effect::PostStart(index) => self.hook(key, view, local, index, "postStart", News::Begun),
            Effect::PreStop(index) => self.hook(key, view, local, index, "preStop", News::Hooked),
            Effect::Terminate(index) => {
                if let Handle::Process(process) = &local.handles[index] {
                    process.terminate();
                }
            }
            Effect::Kill(index) => {
                if let Handle::Process(process) = &local.handles[index] {
                    process.kill();
                }
            }
        }
        Vec::new()
    }

    fn hook(
        &self,
        key: &Key,
        view: &View<'_>,
        local: &Local,
        index: usize,
        which: &str,
        news: fn(Result<(), String>) -> News,
    ) {
        if local.life.containers[index].running().is_none() {
            return;
        }
        let spec = &view.spec(index)["lifecycle"][which];
        self.ask(key, view, local, index, spec, super::container::grace(view.pod), news);
    }

    /// Starts the process of a container.
    fn run(&self, key: &Key, view: &View<'_>, local: &mut Local, index: usize) -> Vec<Effect> {
        let name = view.container(index);
        let launch = match self.launch(view, local, index) {
            Ok(launch) => launch,
            Err(why) => {
                local.life.containers[index].refuse(why.clone(), view.now);
                return vec![warning("Failed", format!("Error: {why}"))];
            }
        };
        let log = self.settings.logs.begin(&local.uid, name);
        let restarts = local.life.containers[index].restarts;
        let (post, key, uid) = (self.post.clone(), key.clone(), local.uid.clone());
        let tail = (text(view.spec(index), "/terminationMessagePolicy") == "FallbackToLogsOnError")
            .then(|| Arc::clone(&log));
        let done = move |mut exit: Exit| {
            if let Some(log) = tail.filter(|_| exit.code != 0 && exit.special.is_none()) {
                exit.special = Some(("Error", log.tail(2048).into()));
            }
            // The kubelet goes only together with everything else.
            let _ = post.send(Letter { key, uid, index, restarts, news: News::Exited(exit) });
        };
        match process::start(&launch, log, &self.tasks, done) {
            Ok(process) => {
                local.handles[index] = Handle::Process(process);
                started(name).into()
            }
            Err(error) => {
                let [created, _] = started(name);
                let exit = process::failed(&error);
                let message = exit.special.as_ref().map(|(_, message)| format!("Error: {message}"));
                let failed = warning("Failed", message.unwrap_or_default());
                let then = local.life.exit(index, exit, Again::Policy, view);
                [created, failed].into_iter().chain(then).collect()
            }
        }
    }

    fn launch(&self, view: &View<'_>, local: &Local, index: usize) -> Result<Launch, String> {
        let address = local.address.unwrap_or(Ipv4Addr::LOCALHOST);
        let namespace = object::namespace(view.pod);
        let find = |kind: &'static kind::Kind, name: &str| self.store.get(kind, &Key::new(namespace, name));
        Launch::of(view.pod, view.spec(index), address, &find)
    }

    /// What a probe or a hook does.
    fn action(&self, view: &View<'_>, local: &Local, index: usize, spec: &Value) -> Action {
        if view.plan.process && spec["exec"].is_object() {
            let launch = self.launch(view, local, index);
            return launch.map_or(Action::Nothing, |launch| Action::Run(launch.with(&spec["exec"])));
        }
        local.address.map_or(Action::Nothing, |address| Action::of(spec, view.spec(index), address))
    }

    /// Sends a probe or a hook, and the answer to the kubelet.
    #[expect(
        clippy::too_many_arguments,
        reason = "a question is asked in a place, about a container, in a form"
    )]
    fn ask(
        &self,
        key: &Key,
        view: &View<'_>,
        local: &Local,
        index: usize,
        spec: &Value,
        limit: Duration,
        news: impl FnOnce(Result<(), String>) -> News + Send + 'static,
    ) {
        let action = self.action(view, local, index, spec);
        let restarts = local.life.containers[index].restarts;
        let (post, key, uid) = (self.post.clone(), key.clone(), local.uid.clone());
        self.tasks.spawn(async move {
            let news = news(ask::ask(action, limit).await);
            // The kubelet goes only together with everything else.
            let _ = post.send(Letter { key, uid, index, restarts, news });
        });
    }

    /// Gives the pod its address.
    pub(super) fn sandbox(&mut self, view: &View<'_>, local: &mut Local) -> Result<(), String> {
        if view.plan.process && !self.settings.allow_processes {
            return Err("this cluster does not run processes".to_owned());
        }
        let address = match view.plan.address {
            Some(wanted) => self.wanted_address(view.pod, wanted)?,
            None => self.free_address(view.pod).ok_or_else(|| {
                format!("no address is left for pods in the network {}", self.settings.network)
            })?,
        };
        local.address = Some(address);
        Ok(())
    }

    fn wanted_address(&mut self, pod: &Value, wanted: &str) -> Result<Ipv4Addr, String> {
        let network = self.settings.network;
        let address = wanted.parse().ok().filter(|a| network.contains(*a));
        let address = address
            .ok_or_else(|| format!("the address {wanted:?} is not one of the pod network {network}"))?;
        if !self.pool.claim(address) {
            return Err(format!("the address {address} is taken by another pod"));
        }
        if self.bindable(pod, address) {
            return Ok(address);
        }
        self.pool.free(address);
        Err(format!("the address {address} is in use by another program"))
    }

    /// The next address that nobody on this machine uses; those that somebody does stay taken.
    pub(super) fn free_address(&mut self, pod: &Value) -> Option<Ipv4Addr> {
        loop {
            let address = self.pool.take()?;
            if self.bindable(pod, address) {
                return Some(address);
            }
        }
    }

    pub(super) fn still_free(&self, pod: &Value, local: &Local) -> bool {
        local.address.is_some_and(|address| self.bindable(pod, address))
    }

    fn bindable(&self, pod: &Value, address: Ipv4Addr) -> bool {
        let mut ports: Vec<u16> = plan::containers(pod).flat_map(|(_, c)| server::ports(c)).collect();
        ports.sort_unstable();
        ports.dedup();
        if !self.settings.listen {
            return true;
        }
        !matches!(server::bind(address, &ports), Err(e) if e.kind() == io::ErrorKind::AddrInUse)
    }

    /// Opens again what a restart of the simulator or the loss of the node closed.
    pub(super) fn reopen(&self, view: &View<'_>, local: &mut Local) {
        for index in 0..local.handles.len() {
            let closed = matches!(local.handles[index], Handle::Nothing);
            if closed && local.life.containers[index].running().is_some() {
                self.open(view, local, index);
            }
        }
    }

    fn open(&self, view: &View<'_>, local: &mut Local, index: usize) {
        if view.plan.process {
            return;
        }
        let Some(address) = local.address else { return };
        let spec = view.spec(index);
        let ports = if self.settings.listen { server::ports(spec) } else { Vec::new() };
        let stop = match server::bind(address, &ports) {
            Ok(listeners) => {
                let app =
                    server::App::new(&self.settings.cluster, view.pod, spec, &view.plan.containers[index]);
                server::serve(&self.tasks, listeners, app)
            }
            Err(error) => {
                let pod = object::name(view.pod);
                tracing::warn!(%error, %address, pod, "the container cannot listen; it runs without");
                self.tasks.stop.child_token()
            }
        };
        local.handles[index] = Handle::Server(stop.drop_guard());
    }

    pub(super) fn complain(&self, pod: &Value, local: &mut Local, why: String) {
        if !std::mem::replace(&mut local.complained, true) {
            let (name, namespace) = (object::name(pod), object::namespace(pod));
            let message = format!(
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for \
                 sandbox of pod {name}_{namespace}({}): {why}",
                text(pod, "/metadata/uid")
            );
            self.note(pod, true, "FailedCreatePodSandBox", message);
        }
    }

    pub(super) fn note(&self, pod: &Value, warning: bool, reason: &str, message: String) {
        self.recorder.record(&kind::PODS, pod, &Note { warning, reason, message, component: "kubelet" });
    }
}

fn started(name: &str) -> [Effect; 2] {
    [
        normal("Created", format!("Created container: {name}")),
        normal("Started", format!("Started container {name}")),
    ]
}
