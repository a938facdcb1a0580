//! Informers: lists and watches of what BCS looks after, as one stream of news.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use bcs_kit::Clock;
use bcs_schemas::Name;
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

use super::{
    call, label,
    translate::{self, Sight},
};
use crate::{Kind, News, Observed};

/// A watch that hears nothing for this long is begun again, so that a connection that died in silence is noticed.
pub(super) const WATCH_SECONDS: u32 = 25;
/// Pause before a watcher is replaced, so that a server that forgets everything at once is not stormed.
const BEGIN_AGAIN: Duration = Duration::from_millis(250);

/// Pods, ReplicaSets and nodes of the cluster behind `client`.
pub(crate) fn all(client: Client, cluster: Name, clock: Clock) -> BoxStream<'static, News> {
    let ours = || watcher::Config::default().timeout(WATCH_SECONDS).labels(&label::managed());
    let eyes = |kind| Eyes { kind, cluster: cluster.clone(), clock: clock.clone() };
    stream::select_all([
        news(Api::<Pod>::all(client.clone()), ours(), eyes(Kind::Endpoints), pod).boxed(),
        news(Api::<ReplicaSet>::all(client.clone()), ours(), eyes(Kind::Workloads), replica_set).boxed(),
        news(
            Api::<Node>::all(client),
            watcher::Config::default().timeout(WATCH_SECONDS),
            eyes(Kind::Nodes),
            node,
        )
        .boxed(),
    ])
    .boxed()
}

/// What one watch looks at.
struct Eyes {
    kind: Kind,
    cluster: Name,
    clock: Clock,
}

fn news<K>(
    api: Api<K>,
    config: watcher::Config,
    eyes: Eyes,
    see: fn(&K, Sight<'_>) -> Option<Observed>,
) -> impl Stream<Item = News> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut said = Said { kind: eyes.kind, keys: BTreeMap::new() };
    events(api, config).flat_map(move |event| {
        let sight = Sight { cluster: &eyes.cluster, now: eyes.clock.now() };
        stream::iter(match event {
            Ok(watcher::Event::Init) => said.begin(),
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                said.hear(&identity(&object), see(&object, sight))
            }
            Ok(watcher::Event::Delete(object)) => said.hear(&identity(&object), None),
            Ok(watcher::Event::InitDone) => vec![News::ListEnded(said.kind)],
            Err(error) => vec![News::Failed(said.kind, complaint(&error))],
        })
    })
}

fn identity<K: Resource>(object: &K) -> String {
    let meta = object.meta();
    meta.uid.clone().or_else(|| meta.name.clone()).unwrap_or_default()
}

/// The key under which every object was last told of, by its identity. Labels make the key, and labels change: what is
/// none of ours any more, or somebody else's, must go from where it stood.
struct Said {
    kind: Kind,
    keys: BTreeMap<String, String>,
}

impl Said {
    /// A complete list says of itself what is gone.
    fn begin(&mut self) -> Vec<News> {
        self.keys.clear();
        vec![News::ListBegan(self.kind)]
    }

    /// The object is this now, or nothing of ours.
    fn hear(&mut self, identity: &str, now: Option<Observed>) -> Vec<News> {
        let key = now.as_ref().map(Observed::key);
        let before = match key.clone() {
            Some(key) => self.keys.insert(identity.to_owned(), key),
            None => self.keys.remove(identity),
        };
        let left = before.filter(|before| key.as_ref() != Some(before));
        let gone = left.map(|key| News::Gone(self.kind, key));
        gone.into_iter().chain(now.map(News::Seen)).collect()
    }
}

/// The events of a watcher that lists again whenever it must. The one of `kube` does so when an open watch is told that
/// its version is too old (410), but asks with the same version for ever when it is told before the watch opens.
fn events<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = move || watcher(api.clone(), config.clone()).default_backoff().boxed();
    stream::unfold((begin(), begin), |(mut events, begin)| async move {
        let event = events.next().await?;
        if matches!(&event, Err(error) if outdated(error)) {
            tokio::time::sleep(BEGIN_AGAIN).await;
            events = begin();
        }
        Some((event, (events, begin)))
    })
}

fn complaint(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => call::said(cause),
        other => other.to_string(),
    }
}

fn outdated(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

fn pod(pod: &Pod, sight: Sight<'_>) -> Option<Observed> {
    translate::pod::endpoint(pod, sight).map(Observed::Endpoint)
}

fn replica_set(set: &ReplicaSet, sight: Sight<'_>) -> Option<Observed> {
    translate::workload::workload(set, sight).map(Observed::Workload)
}

fn node(node: &Node, sight: Sight<'_>) -> Option<Observed> {
    translate::node::node(node, sight).map(Observed::Node)
}
