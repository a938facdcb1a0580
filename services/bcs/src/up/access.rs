//! As whom each part of `bcs up` speaks on the bus: as nobody in particular, or each with a key of its own, and over TLS.

use std::path::PathBuf;

use bcs_kit::bus::BusConfig;
use jiff::Timestamp;

use super::{clusters::CLUSTERS, data::DataDir, platform::name};
use crate::{
    Failure,
    context::Context,
    credentials::{
        self, ACTORS_FILE, Issued, Keys, User,
        tls::{self, Tls},
    },
};

/// The project that the context of `bcs up` means, and the only one that gets a key unasked.
pub(super) const PROJECT: &str = "demo";

/// How the bus is reached.
#[derive(Default)]
pub(super) struct Access {
    url: String,
    keys: Option<Keys>,
    actors: Option<PathBuf>,
    tls: Option<Tls>,
    /// What nats-server must know of keys and certificates.
    pub(super) server_config: String,
}

impl Access {
    /// Everybody may do everything.
    pub(super) fn open() -> Self {
        Self::default()
    }

    /// Everybody has a key, and nobody is understood without TLS. Keys and certificates of a former run are kept, and so are
    /// those that `bcs bus credentials` made there.
    pub(super) fn with_keys(data: &DataDir, now: Timestamp) -> Result<Self, Failure> {
        let mut users: std::collections::BTreeSet<User> = User::standard().collect();
        users.insert(User::Project(name(PROJECT)?));
        for (cluster, _, _) in CLUSTERS {
            users.insert(User::Sidecar(name(cluster)?));
        }
        let directory = data.keys();
        let issued = credentials::issue(&directory, &BusConfig::default().site, &users, false)?;
        issued.write(&directory)?;
        let Issued { keys, users: authorization, .. } = issued;
        let tls = tls::prepare(&directory, &tls::LOCAL.map(str::to_owned), now)?;
        Ok(Self {
            keys: Some(keys),
            actors: Some(directory.join(ACTORS_FILE)),
            server_config: tls.server_config() + &authorization,
            tls: Some(tls),
            ..Self::default()
        })
    }

    /// How its addresses begin.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "tls" } else { "nats" }
    }

    /// Once it is known where the bus is.
    pub(super) fn at(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }

    /// How `user` reaches the bus.
    pub(super) fn of(&self, user: &User) -> BusConfig {
        BusConfig {
            url: self.url.clone(),
            credentials: self.keys.as_ref().map(|keys| keys.file(user)),
            ca: self.tls.as_ref().map(|tls| tls.ca.clone()),
            actors: self.actors.clone().filter(|_| matches!(user, User::Service(_))),
            inbox: self.keys.as_ref().map(|_| user.inbox()),
            ..BusConfig::default()
        }
    }

    /// How a person at this machine reaches it.
    pub(super) fn context(&self) -> Result<Context, Failure> {
        let BusConfig { url, credentials, ca, inbox, .. } = self.of(&User::Operator);
        Ok(Context { url, credentials, ca, inbox, project: Some(name(PROJECT)?), ..Context::default() })
    }
}
