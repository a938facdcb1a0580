//! A list of everything, page by page, as one moment.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tokio::time::Instant;

use super::Crowd;
use crate::bench::report::Row;

const PAGE: u32 = 500;

pub(super) async fn measure(crowd: &Crowd) -> Result<Vec<Row>> {
    let pods: Api<Pod> = Api::all(crowd.api().await?);
    let (resident, cpu) = (crowd.process.resident()?, crowd.process.cpu()?);
    let begin = Instant::now();
    let mut parameters = ListParams::default().limit(PAGE);
    let mut seen = BTreeSet::new();
    loop {
        let page = pods.list_metadata(&parameters).await?;
        seen.extend(page.items.into_iter().filter_map(|pod| pod.metadata.uid));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    let (took, cpu) = (begin.elapsed(), crowd.process.cpu()? - cpu);
    ensure!(seen.len() == crowd.size.pods, "the pages held {} of {} pods", seen.len(), crowd.size.pods);
    let more = crowd.process.resident()? - resident;
    Ok(vec![
        Row::new("a list of 100,000 pods in pages of 500", "s", took.as_secs_f64()),
        Row::new("CPU of it", "s", cpu),
        Row::new("RSS that it added", "MiB", more),
    ])
}
