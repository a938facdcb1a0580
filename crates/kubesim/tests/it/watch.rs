//! Informers of the kube crate against the simulator: initial lists, changes, 410 and dropped watches.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
    runtime::watcher::{self, Event},
};

use crate::harness::{client, sim};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(serde_json::json!({"metadata": {"name": name, "labels": {"a": "b"}}}))
        .expect("a config map")
}

async fn next_applied(
    stream: &mut (impl futures::Stream<Item = watcher::Result<Event<ConfigMap>>> + Unpin),
) -> String {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(30), stream.next()).await.expect("in time");
        match event {
            Some(Ok(Event::Apply(object) | Event::InitApply(object))) => return object.name_any(),
            Some(_) => {}
            None => panic!("the informer ended"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn informers_survive_dropped_watches_and_compaction() {
    let sim = sim("informer").await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&sim).await);
    for streaming in [false, true] {
        let config =
            if streaming { watcher::Config::default().streaming_lists() } else { watcher::Config::default() };
        let mut stream = std::pin::pin!(watcher::watcher(api.clone(), config));
        let mut seen = BTreeSet::new();
        for step in 0..4 {
            let name = format!("c-{streaming}-{step}");
            api.create(&PostParams::default(), &config_map(&name)).await.expect("created");
            while !seen.contains(&name) {
                seen.insert(next_applied(&mut stream).await);
            }
            if step == 1 {
                sim.faults().drop_watches();
            } else if step == 2 {
                sim.faults().compact();
                sim.faults().drop_watches();
            }
        }
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_gone_after_compaction() {
    let sim = sim("gone").await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&sim).await);
    let first = api.create(&PostParams::default(), &config_map("a")).await.expect("created");
    api.create(&PostParams::default(), &config_map("b")).await.expect("created");
    sim.faults().compact();
    let version = first.resource_version().expect("a version");
    let result = match api.watch(&WatchParams::default(), &version).await {
        Err(error) => Err(error),
        Ok(stream) => stream.boxed().try_next().await,
    };
    let code = match result {
        Err(kube::Error::Api(status)) => status.code,
        Ok(Some(WatchEvent::Error(status))) => status.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code, 410);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_with_a_selector_sees_objects_enter_and_leave() {
    let sim = sim("selector").await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&sim).await);
    let list = api.list(&ListParams::default()).await.expect("a list");
    let version = list.metadata.resource_version.expect("a version");
    let mut stream =
        api.watch(&WatchParams::default().labels("a=b"), &version).await.expect("a watch").boxed();
    api.create(&PostParams::default(), &config_map("x")).await.expect("created");
    for label in ["other", "b"] {
        let mut object = api.get("x").await.expect("there");
        object.labels_mut().insert("a".to_owned(), label.to_owned());
        api.replace("x", &PostParams::default(), &object).await.expect("replaced");
    }
    for expected in ["ADDED", "DELETED", "ADDED"] {
        let event = tokio::time::timeout(Duration::from_secs(30), stream.try_next()).await.expect("in time");
        let found = match event.expect("no error").expect("an event") {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_are_of_one_moment() {
    let sim = sim("pages").await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&sim).await);
    for name in ["a", "b", "c", "d", "e"] {
        api.create(&PostParams::default(), &config_map(name)).await.expect("created");
    }
    let mut params = ListParams::default().limit(2);
    let mut names = Vec::new();
    loop {
        let page = api.list(&params).await.expect("a page");
        names.extend(page.items.iter().map(|o| o.name_any()));
        // Changes between pages are not seen.
        let _ = api.delete("e", &Default::default()).await;
        match page.metadata.continue_.filter(|t| !t.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let pods: Api<Pod> = Api::all(client(&sim).await);
    assert!(pods.list(&ListParams::default()).await.expect("a list").items.is_empty());
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_reaches_a_running_watch_as_410() {
    let sim = sim("running").await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&sim).await);
    let list = api.list(&ListParams::default()).await.expect("a list");
    let version = list.metadata.resource_version.expect("a version");
    let mut stream = api.watch(&WatchParams::default(), &version).await.expect("a watch").boxed();
    api.create(&PostParams::default(), &config_map("a")).await.expect("created");
    let event = tokio::time::timeout(Duration::from_secs(30), stream.try_next()).await.expect("in time");
    assert!(matches!(event, Ok(Some(WatchEvent::Added(_)))), "{event:?}");
    sim.faults().compact();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(30), stream.try_next()).await.expect("in time");
        match event {
            Ok(Some(WatchEvent::Error(status))) => break assert_eq!(status.code, 410),
            Ok(Some(_)) => {}
            Err(kube::Error::Api(status)) => break assert_eq!(status.code, 410),
            other => panic!("{other:?}"),
        }
    }
    sim.shutdown().await;
}
