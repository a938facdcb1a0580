//! Informers: lists and watches of what BCS looks after, as one stream of news.

use std::{fmt::Debug, time::Duration};

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
    label,
    translate::{self, Sight},
};
use crate::{Kind, News, Observed};

/// A watch that hears nothing for this long is begun again, so that a connection that died in silence is noticed.
const WATCH_SECONDS: u32 = 25;
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
    let kind = eyes.kind;
    events(api, config).filter_map(move |event| {
        let sight = Sight { cluster: &eyes.cluster, now: eyes.clock.now() };
        let news = match event {
            Ok(watcher::Event::Init) => Some(News::ListBegan(kind)),
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                see(&object, sight).map(News::Seen)
            }
            Ok(watcher::Event::Delete(object)) => {
                see(&object, sight).map(|last| News::Gone(kind, last.key()))
            }
            Ok(watcher::Event::InitDone) => Some(News::ListEnded(kind)),
            Err(error) => Some(News::Failed(kind, error.to_string())),
        };
        async move { news }
    })
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
