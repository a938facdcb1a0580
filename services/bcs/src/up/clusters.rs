//! The two simulated clusters of `bcs up`.

use bcs_kubesim::{Config, Kubesim};

use super::data::DataDir;
use crate::Failure;

/// Name, nodes and region of each.
pub(super) const CLUSTERS: [(&str, usize, &str); 2] = [("sim-a", 3, "eu"), ("sim-b", 5, "us")];

/// Starts them where the last run left them, and puts each into `clusters` as it runs.
pub(super) async fn start(data: &DataDir, clusters: &mut Vec<Kubesim>) -> Result<(), Failure> {
    for (name, nodes, _) in CLUSTERS {
        let failed = |e: bcs_kubesim::Error| {
            Failure::failed(format!("cluster {name}: {}", bcs_kit::telemetry::chain(&e)))
        };
        let directory = data.cluster(name);
        let config = Config {
            name: name.to_owned(),
            nodes,
            data_dir: Some(directory),
            tls: true,
            ..Config::default()
        };
        let cluster = bcs_kubesim::start(config).await.map_err(failed)?;
        let written = cluster.write_kubeconfig(data.kubeconfig(name)).map_err(failed);
        clusters.push(cluster);
        written?;
    }
    Ok(())
}
