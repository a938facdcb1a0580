//! The servers of a bus as processes, which end with their owner.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Layout, Servers};

/// A bus for one test. Panics when it cannot be had: then there is no test.
#[derive(Debug)]
pub struct TestBus {
    layout: Layout,
    running: Vec<Option<Child>>,
    _directory: TempDir,
}

impl TestBus {
    /// Starts it; who connects waits until it listens, and whoever makes streams until the servers have found each other.
    pub fn start(servers: Servers) -> Self {
        Self::start_with(servers, "")
    }

    /// With more in the settings of each server.
    pub fn start_with(servers: Servers, more: &str) -> Self {
        let directory = TempDir::with_prefix("bcs-bus-").expect("a directory");
        let layout = Layout::make(directory.path(), servers).expect("settings of nats-server");
        layout.add(more).expect("settings of nats-server");
        let running = layout.nodes().map(|_| None).collect();
        let mut bus = Self { layout, running, _directory: directory };
        bus.start_again();
        bus
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        self.layout.url()
    }

    /// Where one of its servers listens, for whoever speaks without a client.
    pub fn address(&self) -> String {
        self.layout.url_of(0).trim_start_matches("nats://").to_owned()
    }

    /// How many copies every stream has.
    pub const fn replicas(&self) -> usize {
        self.layout.servers().count()
    }

    /// The servers, by their numbers.
    pub fn nodes(&self) -> std::ops::Range<usize> {
        self.layout.nodes()
    }

    /// How a server is called.
    pub fn name(&self, node: usize) -> String {
        self.layout.name(node)
    }

    /// Kills every server, as `kill -9` does.
    pub fn kill(&mut self) {
        self.nodes().for_each(|node| self.kill_one(node));
    }

    /// Kills one server.
    pub fn kill_one(&mut self, node: usize) {
        if let Some(mut child) = self.running[node].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts every server that does not run.
    pub fn start_again(&mut self) {
        self.nodes().for_each(|node| self.start_one(node));
    }

    /// Starts one server, if it does not run.
    pub fn start_one(&mut self, node: usize) {
        if self.running[node].is_some() {
            return;
        }
        let program = std::env::var_os("NATS_SERVER_BIN").unwrap_or_else(|| "nats-server".into());
        let mut command = Command::new(program);
        command.arg("-c").arg(self.layout.config(node)).stdout(Stdio::null()).stderr(Stdio::null());
        self.running[node] = Some(command.spawn().expect("nats-server is on PATH"));
    }

    /// Kills every server and removes all that they kept.
    pub fn kill_and_forget(&mut self) {
        self.kill();
        for node in self.nodes() {
            // One that was killed early has nothing.
            let _ = fs::remove_dir_all(self.layout.store(node));
        }
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        self.kill();
    }
}
