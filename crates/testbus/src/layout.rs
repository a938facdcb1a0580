//! Which servers make a bus, and what each of them is told.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use crate::free_port;

/// How many servers make a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// One by itself: every stream has one copy.
    One,
    /// A cluster: every stream has a copy on each.
    Three,
}

impl Servers {
    /// What `BCS_TEST_NATS` asks for: `cluster` lets every test that does not care run on three servers.
    pub fn asked() -> Self {
        match std::env::var_os("BCS_TEST_NATS") {
            Some(text) if text == "cluster" => Self::Three,
            _ => Self::One,
        }
    }

    /// How many; also how many copies a stream has.
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// The servers of one bus: where they listen, and where their files lie.
#[derive(Clone, Debug)]
pub struct Layout {
    servers: Servers,
    directory: PathBuf,
    /// Of each server: for clients, and for the other servers.
    ports: Vec<(u16, u16)>,
}

impl Layout {
    /// Chooses ports, and writes the settings of every server below `directory`.
    pub fn make(directory: &Path, servers: Servers) -> io::Result<Self> {
        let ports = (0..servers.count()).map(|_| Ok((free_port()?, free_port()?)));
        let ports = ports.collect::<io::Result<Vec<_>>>()?;
        let layout = Self { servers, directory: directory.to_owned(), ports };
        for node in layout.nodes() {
            fs::create_dir_all(layout.place(node))?;
            fs::write(layout.config(node), layout.settings(node))?;
        }
        Ok(layout)
    }

    /// Adds to the settings of every server.
    pub fn add(&self, more: &str) -> io::Result<()> {
        self.nodes().try_for_each(|node| {
            let settings = fs::read_to_string(self.config(node))?;
            fs::write(self.config(node), settings + more)
        })
    }

    /// Every server, by its number.
    pub fn nodes(&self) -> std::ops::Range<usize> {
        0..self.ports.len()
    }

    /// How many servers there are.
    pub const fn servers(&self) -> Servers {
        self.servers
    }

    /// Where clients reach the bus: every server, joined by commas.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes().map(|node| self.url_of(node)).collect();
        urls.join(",")
    }

    /// Where clients reach one server.
    pub fn url_of(&self, node: usize) -> String {
        format!("nats://127.0.0.1:{}", self.ports[node].0)
    }

    /// How a server is called.
    pub fn name(&self, node: usize) -> String {
        format!("nats-{}", node + 1)
    }

    /// The file with its settings.
    pub fn config(&self, node: usize) -> PathBuf {
        self.place(node).join("nats.conf")
    }

    /// What it says.
    pub fn log(&self, node: usize) -> PathBuf {
        self.place(node).join("nats.log")
    }

    /// Where it keeps streams.
    pub fn store(&self, node: usize) -> PathBuf {
        self.place(node).join("store")
    }

    fn place(&self, node: usize) -> PathBuf {
        self.directory.join(self.name(node))
    }

    /// Streams reserve more than a small disk has; a server counts what is reserved, not what is used.
    fn settings(&self, node: usize) -> String {
        let (port, route) = self.ports[node];
        let mut text = format!(
            "server_name: {}\nlisten: \"127.0.0.1:{port}\"\nlog_file: {:?}\nwrite_deadline: \"10s\"\n\
             jetstream {{ store_dir: {:?}, max_file_store: 1TB, sync_interval: always }}\n",
            self.name(node),
            self.log(node),
            self.store(node)
        );
        if self.servers == Servers::Three {
            let routes: Vec<String> =
                self.ports.iter().map(|(_, route)| format!("\"nats-route://127.0.0.1:{route}\"")).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "cluster {{ name: bcs, listen: \"127.0.0.1:{route}\", routes: [{}] }}",
                routes.join(", ")
            );
        }
        text
    }
}
