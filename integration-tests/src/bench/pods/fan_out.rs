//! A thousand watchers of the same pods, and changes that all of them are told.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{AsyncBufReadExt as _, StreamExt as _, future::try_join_all};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource as _,
    api::{ListParams, Patch, PatchParams, WatchParams},
    core::Request,
};
use serde_json::json;
use tokio::time::Instant;

use super::{Crowd, namespace};
use crate::bench::report::Row;

const WATCHERS: usize = 1000;
const CHANGES: u32 = 100;
const LONGEST: Duration = Duration::from_secs(120);

pub(super) async fn measure(crowd: &Crowd) -> Result<Vec<Row>> {
    let client = crowd.api().await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace(0));
    let list = pods.list(&ListParams::default().limit(CHANGES)).await?;
    let version = list.metadata.resource_version.clone().context("a list without a version")?;
    let open = (0..WATCHERS).map(|_| watch(&client, &version));
    let watchers = try_join_all(open).await?;
    let cpu = crowd.process.cpu()?;
    let begin = Instant::now();
    let told = try_join_all(watchers.into_iter().map(|lines| async move {
        tokio::time::timeout(LONGEST, read(lines)).await.context("a watcher waits in vain")?
    }));
    let change = async {
        for pod in &list.items {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let label = json!({"metadata": {"labels": {"told": "yes"}}});
            pods.patch(name, &PatchParams::default(), &Patch::Merge(&label)).await?;
        }
        anyhow::Ok(begin.elapsed())
    };
    let (_, changed) = tokio::try_join!(told, change)?;
    let (took, cpu) = (begin.elapsed(), crowd.process.cpu()? - cpu);
    let events = f64::from(CHANGES) * WATCHERS as f64;
    Ok(vec![
        Row::new("1,000 watchers are told of 100 changes", "s", took.as_secs_f64()),
        Row::new("of this after the last change", "s", took.saturating_sub(changed).as_secs_f64()),
        Row::new("events told per second of CPU", "1/s", events / cpu),
    ])
}

type Lines = futures::stream::BoxStream<'static, std::io::Result<String>>;

async fn watch(client: &Client, version: &str) -> Result<Lines> {
    let pods = Request::new(Pod::url_path(&(), Some(&namespace(0))));
    let request = pods.watch(&WatchParams::default(), version)?;
    Ok(client.request_stream(request).await?.lines().boxed())
}

/// Until this watcher has heard of every change.
async fn read(mut lines: Lines) -> Result<()> {
    let mut told = 0;
    while told < CHANGES {
        let Some(line) = lines.next().await else { bail!("a watch ended after {told} changes") };
        if line?.contains("\"told\":\"yes\"") {
            told += 1;
        }
    }
    Ok(())
}
