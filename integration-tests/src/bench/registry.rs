//! Registries of benchmarks: each a real server, a way to write into it by hand as a good small program would, and an
//! outside client, who knows nothing of BCS and looks whether an instance can be found. The scenarios know no more of them
//! than [`Registry`].

mod bind;
mod dns;
mod envoy;
mod etcd;
mod file;
mod haproxy;
mod instance;
mod pen;
mod powerdns;
mod rnacos;
mod watch;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use clap::ValueEnum;
use futures::future::BoxFuture;
use serde_json::Value;

pub(super) use self::{
    bind::Bind,
    dns::Dns,
    haproxy::Haproxy,
    instance::{App, Instance, PORT, Side},
    pen::{Pen, write_all},
    watch::Watch,
};
use crate::harness::Lab;

/// Registries that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Etcd,
    File,
    Bind,
    Rnacos,
    #[value(name = "powerdns")]
    PowerDns,
    Haproxy,
    Envoy,
}

/// How a good program writes into a registry that it has for itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// How many of those that are due go into one request.
    pub(super) together: usize,
    /// How many go into one when all are there at once.
    pub(super) bulk: usize,
    /// How many requests are under way at once.
    pub(super) at_once: usize,
}

/// A server, the way into it by hand, and an outside client of it.
pub(super) trait Registry: Send + Sync {
    /// The `driver` in its document for the sidecar.
    fn driver(&self) -> Value;

    /// The server; none where there is no process.
    fn pid(&self) -> Option<u32>;

    /// How it is written by hand.
    fn style(&self) -> Style;

    /// The instances of these applications that the outside client finds, by their numbers.
    fn look<'a>(&'a self, apps: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>>;

    /// Writes entries by hand, in one request if the registry takes that.
    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>>;

    /// Takes entries out by hand.
    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>>;

    /// The outside client notes what comes and goes of what is waited for. It looks again and again, unless the registry
    /// tells by itself.
    fn follow<'a>(&'a self, watch: &'a Watch) -> BoxFuture<'a, Result<()>> {
        Box::pin(watch::look_again_and_again(self, watch))
    }
}

impl Kind {
    /// What it is called in tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::File => "file",
            Self::Bind => "BIND",
            Self::Rnacos => "rnacos",
            Self::PowerDns => "PowerDNS",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        }
    }

    /// An empty one with room for so many applications; `cluster` is whose instances the sidecar will write.
    pub(super) async fn start(self, lab: &Lab, cluster: &str, apps: u32) -> Result<Arc<dyn Registry>> {
        Ok(match self {
            Self::Etcd => Arc::new(etcd::Registry::start(lab).await?),
            Self::File => Arc::new(file::Registry::start(lab, cluster)?),
            Self::Bind => Arc::new(bind::Bind::start(lab).await?),
            Self::Rnacos => Arc::new(rnacos::Rnacos::start(lab).await?),
            Self::PowerDns => Arc::new(powerdns::PowerDns::start(lab).await?),
            Self::Haproxy => Arc::new(haproxy::Haproxy::start(lab, &backends(apps)).await?),
            Self::Envoy => Arc::new(envoy::Envoy::start(lab, apps).await?),
        })
    }

    /// What the server says of itself.
    pub(super) fn version(self) -> Option<String> {
        let (program, variable, argument) = match self {
            Self::Etcd => ("etcd", "ETCD_BIN", "--version"),
            Self::File => return None,
            Self::Bind => ("named", "NAMED_BIN", "-v"),
            Self::Rnacos => return Some("rnacos 0.8.8".to_owned()),
            Self::PowerDns => return Some(powerdns::version()),
            Self::Haproxy => ("haproxy", "HAPROXY_BIN", "-v"),
            Self::Envoy => return Some(envoy::version()),
        };
        Some(
            super::machine::version(program, variable, argument)
                .split(" - http")
                .next()
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

/// Backends for both sides.
fn backends(apps: u32) -> Vec<String> {
    App::all(Side::Ours, apps)
        .into_iter()
        .chain(App::all(Side::ByHand, apps))
        .map(|app| app.dotted())
        .collect()
}

/// The directory of a server that begins with nothing, however often one was started in this lab.
fn directory(lab: &Lab, name: &str, port: u16) -> Result<std::path::PathBuf> {
    let path = lab.path().join(format!("{name}-{port}"));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
