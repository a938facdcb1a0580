//! Two sidecars of the same registry, of which one runs most of the time, as processes: each has a wire to the bus, a way to the
//! registry and a clock of its own.

use std::{
    fs::{File, OpenOptions},
    process::Command,
};

use bcs_testbus::{MovableClock, Wire};
use serde_json::Value;

use super::line::Line;
use crate::fixture::{Process, start_command};

pub(super) struct Sidecars {
    pub(super) directory: tempfile::TempDir,
    slots: Vec<Slot>,
}

struct Slot {
    bus: Wire,
    line: Line,
    clock: MovableClock,
    process: Option<Process>,
    /// Whether it is meant to run.
    runs: bool,
}

impl Sidecars {
    pub(super) async fn new(bus: &str, lines: Vec<(Line, Value)>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut slots = Vec::new();
        for (number, (line, spec)) in lines.into_iter().enumerate() {
            let wire = Wire::to(bus.to_owned()).await.expect("a wire");
            let at = |ending: &str| directory.path().join(format!("sidecar-{number}.{ending}"));
            std::fs::write(at("toml"), settings(&wire.address(), spec)).expect("writes");
            let clock = MovableClock::new(at("clock")).expect("a clock");
            slots.push(Slot { bus: wire, line, clock, process: None, runs: false });
        }
        Self { directory, slots }
    }

    pub(super) fn bus(&self, slot: usize) -> &Wire {
        &self.slots[slot].bus
    }

    pub(super) fn line(&self, slot: usize) -> &Line {
        &self.slots[slot].line
    }

    pub(super) fn clock(&self, slot: usize) -> &MovableClock {
        &self.slots[slot].clock
    }

    pub(super) fn start(&mut self, slot: usize) {
        let at = |ending: &str| self.directory.path().join(format!("sidecar-{slot}.{ending}"));
        let log: File = OpenOptions::new().create(true).append(true).open(at("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bcs-discovery-sidecar"));
        command.arg("--config").arg(at("toml")).stderr(log);
        command.envs(self.slots[slot].clock.environment());
        let slot = &mut self.slots[slot];
        (slot.process, slot.runs) = (Some(start_command(command, "the sidecar")), true);
    }

    /// kill -9.
    pub(super) fn kill(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        (slot.process, slot.runs) = (None, false);
    }

    pub(super) fn signal(&self, slot: usize, name: &str) {
        let Some(process) = &self.slots[slot].process else { return };
        let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// One that ended by itself, since there was no bus when it began, is started again, as whoever runs it would do.
    pub(super) fn keep_running(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].runs && self.slots[slot].process.as_mut().is_none_or(Process::ended) {
                self.start(slot);
            }
        }
    }

    /// The one that runs, `draw` of them if there are two.
    pub(super) fn running(&self, draw: u32) -> usize {
        match (self.slots[0].runs, self.slots[1].runs) {
            (true, true) => usize::from(draw % 2 == 1),
            (runs, _) => usize::from(!runs),
        }
    }

    pub(super) fn both_run(&self) -> bool {
        self.slots.iter().all(|slot| slot.runs)
    }

    pub(super) fn log(&self) -> String {
        let of = |slot| std::fs::read_to_string(self.directory.path().join(format!("sidecar-{slot}.log")));
        (0..self.slots.len()).map(|slot| of(slot).unwrap_or_default()).collect()
    }
}

/// With everything that takes its time by the minute made shorter.
fn settings(bus: &str, mut spec: Value) -> String {
    // Nobody resolves names here: what is out is out.
    spec["deregistrationDelay"] = "0s".into();
    let registry = serde_json::json!({
        "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": "dns" }, "spec": spec,
    });
    format!(
        "cluster = \"sim-a\"\nowner = \"eu1\"\nbus.url = \"nats://{bus}\"\nunready_hold = \"300ms\"\n\
         reconcile_every = \"2s\"\nbeat_every = \"200ms\"\ntakeover_after = \"1s\"\nregistries = [{}]\n",
        toml(&registry)
    )
}

/// Within one line.
fn toml(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key} = {}", toml(value)));
            format!("{{ {} }}", list(fields.collect()))
        }
        Value::Array(items) => format!("[{}]", list(items.iter().map(toml).collect())),
        other => other.to_string(),
    }
}
