//! A session that is fenced: it knows the version of the node that holds its epoch. Every transaction writes that node anew on the
//! condition that it still has this version, so that a newer sidecar, and even our own calls that come late, find it changed.

use std::collections::{BTreeMap, BTreeSet};

use bcs_schemas::resource::registry::ZookeeperDriver;
use zookeeper_client::{
    Acl, Acls, AddWatchMode, Client, CreateMode, Error, MultiReadResult, MultiWriteError, MultiWriteResult,
    PersistentWatcher, Stat,
};

use super::{
    connect::{answered, connect, failed, rights, within},
    layout::{Services, parent},
};
use crate::domain::{Change, Failure, Place};

/// Nodes that are read at once.
const PAGE: usize = 100;

pub(super) struct Session {
    pub(super) client: Client,
    rights: Vec<Acl>,
    node: String,
    epoch: u64,
    version: i32,
    /// Services that are there for all that we know.
    parents: BTreeSet<String>,
}

/// What lies at a place.
pub(super) struct Node {
    pub(super) data: Vec<u8>,
    pub(super) stat: Stat,
}

pub(super) type Nodes = BTreeMap<Place, Node>;

/// What became of a transaction.
pub(super) enum Committed {
    /// All of it, in the transaction of this number.
    Whole(u64),
    /// Nothing, since this change of it found something else than it expected.
    Differs,
    /// Nothing, since the server does not want this change.
    Refused(usize, String),
}

impl Session {
    /// Connects, takes the name, and raises the epoch; with a watch that began before anything is read.
    pub(super) async fn open(
        settings: &ZookeeperDriver,
        services: &Services,
        epoch: u64,
    ) -> Result<(Self, PersistentWatcher), Failure> {
        let client = connect(settings).await?;
        let rights = rights(settings);
        let watching = client.watch(&services.prefix, AddWatchMode::PersistentRecursive);
        let watcher = within("watching", watching).await?;
        let node = services.epoch.clone();
        let mut session = Self { client, rights, node, epoch, version: 0, parents: BTreeSet::new() };
        session.claim(services).await?;
        session.raise().await?;
        Ok((session, watcher))
    }

    async fn claim(&self, services: &Services) -> Result<(), Failure> {
        let held = self.make(&services.claim, services.installation.as_bytes()).await?;
        match held {
            Some((held, _)) if held != services.installation.as_bytes() => {
                Err(Failure::Unavailable(services.taken_by(&String::from_utf8_lossy(&held))))
            }
            _ => Ok(()),
        }
    }

    async fn raise(&mut self) -> Result<(), Failure> {
        let Some((held, stat)) = self.make(&self.node, self.epoch.to_string().as_bytes()).await? else {
            return Ok(());
        };
        let held = number(&held);
        if held > self.epoch {
            return Err(Failure::Fenced(held));
        }
        let text = self.epoch.to_string();
        let raising = self.client.set_data(&self.node, text.as_bytes(), Some(stat.version));
        self.version = within("raising the epoch", raising).await?.version;
        Ok(())
    }

    /// Makes a node of our own; what lies there if it is there already.
    async fn make(&self, path: &str, data: &[u8]) -> Result<Option<(Vec<u8>, Stat)>, Failure> {
        match answered("reading", self.client.get_data(path)).await? {
            Ok(found) => return Ok(Some(found)),
            Err(Error::NoNode) => (),
            Err(error) => return Err(failed("reading", &error)),
        }
        let options = CreateMode::Persistent.with_acls(Acls::new(&self.rights));
        let made = answered("making nodes", self.client.mkdir(parent(path), &options)).await?;
        made.map_err(|error| match error {
            // All that is above is made as well, up to the root.
            Error::NoNode => {
                Failure::Unavailable(format!("zookeeper: the chroot is not there ({path}): make it"))
            }
            error => failed("making nodes", &error),
        })?;
        match answered("making nodes", self.client.create(path, data, &options)).await? {
            Ok(_) => Ok(None),
            Err(Error::NodeExists) => within("reading", self.client.get_data(path)).await.map(Some),
            Err(error) => Err(failed("making nodes", &error)),
        }
    }

    /// Every node of every service, those of others as well: whose one is stands in it.
    pub(super) async fn read_all(&self, prefix: &str) -> Result<Nodes, Failure> {
        self.sync(prefix).await?;
        let names = match answered("reading", self.client.list_children(prefix)).await? {
            Ok(names) => names,
            Err(Error::NoNode) => Vec::new(),
            Err(error) => return Err(failed("reading", &error)),
        };
        let services: Vec<String> = names.iter().map(|name| format!("{prefix}/{name}")).collect();
        let mut places = Vec::new();
        for page in services.chunks(PAGE) {
            let mut reader = self.client.new_multi_reader();
            for service in page {
                reader.add_get_children(service).map_err(|e| failed("reading", &e))?;
            }
            let answers = within("reading", reader.commit()).await?;
            for (service, answer) in page.iter().zip(answers) {
                if let MultiReadResult::Children { children } = answer {
                    places.extend(children.iter().map(|id| Place::from(format!("{service}/{id}"))));
                }
            }
        }
        self.read(&places).await
    }

    /// What lies at these places. What cannot be read is nobody's that we know.
    pub(super) async fn read(&self, places: &[Place]) -> Result<Nodes, Failure> {
        let mut nodes = Nodes::new();
        for page in places.chunks(PAGE) {
            let mut reader = self.client.new_multi_reader();
            for place in page {
                reader.add_get_data(place).map_err(|e| failed("reading", &e))?;
            }
            let answers = within("reading", reader.commit()).await?;
            for (place, answer) in page.iter().zip(answers) {
                if let MultiReadResult::Data { data, stat } = answer {
                    nodes.insert(place.clone(), Node { data, stat });
                }
            }
        }
        Ok(nodes)
    }

    /// From here on, the server that we talk to knows what the leader knew.
    pub(super) async fn sync(&self, path: &str) -> Result<(), Failure> {
        within("catching up", self.client.sync(path)).await
    }

    /// Makes the services of these changes; the change whose service cannot be made, and why.
    pub(super) async fn prepare(&mut self, changes: &[Change]) -> Result<Option<(usize, String)>, Failure> {
        let options = CreateMode::Container.with_acls(Acls::new(&self.rights));
        for (index, change) in changes.iter().enumerate() {
            let service = parent(change.place());
            if matches!(change, Change::Remove { .. }) || self.parents.contains(service) {
                continue;
            }
            match answered("making a service", self.client.mkdir(service, &options)).await? {
                Ok(()) => drop(self.parents.insert(service.to_owned())),
                Err(error) if is_refusal(&error) => return Ok(Some((index, format!("{service}: {error}")))),
                Err(error) => return Err(failed("making a service", &error)),
            }
        }
        Ok(None)
    }

    pub(super) async fn commit(
        &mut self,
        services: &Services,
        there: &Nodes,
        changes: &[Change],
    ) -> Result<Committed, Failure> {
        let options = CreateMode::Persistent.with_acls(Acls::new(&self.rights));
        let mut writer = self.client.new_multi_writer();
        let bad = |e: Error| Failure::Rejected(format!("zookeeper: {e}"));
        writer
            .add_set_data(&self.node, self.epoch.to_string().as_bytes(), Some(self.version))
            .map_err(bad)?;
        for change in changes {
            let place = change.place();
            let version = there.get(place).map(|node| node.stat.version);
            match change {
                Change::Put { entry, .. } => {
                    let data = services.value(entry).map_err(|e| Failure::Rejected(e.to_string()))?;
                    match version {
                        Some(_) => writer.add_set_data(place, &data, version).map_err(bad)?,
                        None => writer.add_create(place, &data, &options).map_err(bad)?,
                    }
                }
                Change::Remove { .. } => writer.add_delete(place, version).map_err(bad)?,
            }
        }
        match answered("writing", writer.commit()).await? {
            Ok(results) => {
                let Some(MultiWriteResult::SetData { stat }) = results.first() else {
                    return Err(Failure::Unavailable(
                        "zookeeper: an answer that nobody understands".to_owned(),
                    ));
                };
                self.version = stat.version;
                Ok(Committed::Whole(unsigned(stat.mzxid)))
            }
            Err(MultiWriteError::RequestFailed { source }) => Err(failed("writing", &source)),
            Err(MultiWriteError::OperationFailed { index, source }) => match index.checked_sub(1) {
                None => Err(self.fenced(&source).await),
                Some(index) => Ok(self.judge(index, &source, changes)?),
            },
        }
    }

    fn judge(&mut self, index: usize, error: &Error, changes: &[Change]) -> Result<Committed, Failure> {
        match error {
            Error::NodeExists | Error::BadVersion => Ok(Committed::Differs),
            Error::NoNode => {
                // Perhaps a service that was empty for a while.
                self.parents.clear();
                Ok(Committed::Differs)
            }
            error if is_refusal(error) => {
                let place = changes.get(index).map_or("", |change| change.place());
                Ok(Committed::Refused(index, format!("{place}: {error}")))
            }
            error => Err(failed("writing", error)),
        }
    }

    /// The epoch is not as we left it, or may not be written.
    async fn fenced(&self, error: &Error) -> Failure {
        if !matches!(error, Error::BadVersion | Error::NoNode) {
            return failed("writing the epoch", error);
        }
        match within("reading the epoch", self.client.get_data(&self.node)).await {
            Ok((held, _)) if number(&held) > self.epoch => Failure::Fenced(number(&held)),
            Ok(_) => {
                Failure::Unavailable(format!("zookeeper: the node {} was changed by somebody", self.node))
            }
            Err(failure) => failure,
        }
    }
}

/// What the server says of a node that it does not want, or does not want from us.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::NoAuth
            | Error::NotEmpty
            | Error::NoChildrenForEphemerals
            | Error::QuotaExceeded
            | Error::InvalidAcl
            | Error::BadArguments(_)
    )
}

/// What is no number stands for nobody.
fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

pub(super) fn unsigned(zxid: i64) -> u64 {
    u64::try_from(zxid).unwrap_or_default()
}
