//! What the kubelet knows of a pod beyond its object, and how it hears what came of the things that it began.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    container::Exit,
    hand::Handle,
    life::{Effect, Life, View},
    probe::Which,
    stop::Again,
};
use crate::object::Key;

/// What the kubelet knows of a pod beyond its object.
pub(super) struct Local {
    pub uid: String,
    pub life: Life,
    pub address: Option<Ipv4Addr>,
    /// What stands behind each container that runs.
    pub handles: Vec<Handle>,
    /// That the pod has no address was said already.
    pub complained: bool,
    /// The node is lost, and what runs there is cut off.
    pub silent: bool,
    /// The version that was last seen or written, and when the next step after it is due: before that, there is nothing
    /// to do, and most events are those of the kubelet's own writes.
    pub rest: Option<(u64, Option<Instant>)>,
}

/// What came of something that the kubelet had begun for a container.
pub(super) enum News {
    Probed(Which, Result<(), String>),
    Begun(Result<(), String>),
    Hooked(Result<(), String>),
    /// A process ended.
    Exited(Exit),
    /// It has to end now.
    Crashed(Exit),
}

/// News of one start of one container; old news are thrown away.
pub(super) struct Letter {
    pub key: Key,
    pub uid: String,
    pub index: usize,
    pub restarts: u32,
    pub news: News,
}

impl Local {
    /// Whether there is nothing to do about this version of the pod, and for how long.
    pub(super) fn resting(&self, version: u64) -> Option<Option<Duration>> {
        let (_, next) = self.rest.filter(|(seen, _)| *seen == version && !self.silent)?;
        let left = next.map(|at| at.saturating_duration_since(Instant::now()));
        (left != Some(Duration::ZERO)).then_some(left)
    }

    /// What news mean for the life of the pod.
    pub(super) fn read(&mut self, letter: Letter, view: &View<'_>) -> Vec<Effect> {
        let Some(container) = self.life.containers.get_mut(letter.index) else { return Vec::new() };
        if letter.uid != self.uid || letter.restarts != container.restarts || container.running().is_none() {
            return Vec::new();
        }
        match letter.news {
            News::Probed(which, answer) => self.life.probed(letter.index, which, answer, view),
            News::Begun(answer) => self.life.begun(letter.index, answer, view),
            News::Crashed(exit) => {
                if let Some(Handle::Process(process)) = self.handles.get(letter.index) {
                    // Its end is heard as that of any process.
                    process.kill();
                    return Vec::new();
                }
                self.life.exit(letter.index, exit, Again::Policy, view).into_iter().collect()
            }
            News::Hooked(answer) => self.life.hooked(letter.index, answer),
            News::Exited(exit) => {
                let again = container.stop.as_ref().map_or(Again::Policy, |s| s.again);
                self.life.exit(letter.index, exit, again, view).into_iter().collect()
            }
        }
    }

    /// Containers were added to the pod.
    pub(super) fn grow(&mut self, pod: &Value) {
        self.life.grow(pod);
        self.handles.resize_with(self.life.containers.len(), Handle::default);
    }

    pub(super) fn close_ended(&mut self) {
        for (container, handle) in self.life.containers.iter().zip(&mut self.handles) {
            if container.running().is_none() {
                *handle = Handle::Nothing;
            }
        }
    }

    /// Cuts off, or lets back, everything that runs there.
    pub(super) fn silence(&mut self, lost: bool) {
        if lost == self.silent {
            return;
        }
        self.rest = None;
        for handle in &mut self.handles {
            match handle {
                Handle::Process(process) if lost => process.freeze(),
                Handle::Process(process) => process.thaw(),
                _ => *handle = Handle::Nothing,
            }
        }
        self.silent = lost;
    }
}
