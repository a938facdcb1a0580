//! Close a node for new instances, or open it.

use kube::api::Patch;
use serde_json::json;

use super::{Executor, Progress, Stop, fresh, label, manager, translate, within};

impl Executor<'_> {
    pub(super) async fn cordon(&self, node: &str, cordoned: bool, generation: u64) -> Progress {
        let nodes = self.nodes();
        let Some(found) = within(nodes.get_opt(node)).await? else {
            return Err(Stop::refused(format!("there is no node {node}")));
        };
        fresh(&found.metadata, generation)?;
        let stamped = translate::generation_of(&found.metadata) == generation;
        // Opened once: a node that carries the stamp and is closed again was closed by somebody with a reason of their
        // own. Whoever asks may have been restarted and not know that it was done.
        if stamped && (!cordoned || translate::node::cordoned(&found)) {
            return Ok(());
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": found.metadata.resource_version,
                "annotations": { label::GENERATION: generation.to_string() },
            },
            "spec": { "unschedulable": cordoned },
        });
        within(nodes.patch(node, &manager(), &Patch::Merge(&patch))).await?;
        Ok(())
    }
}
