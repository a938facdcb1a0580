//! Observations: what agents and sidecars last saw, with its age. Listed once, or mirrored.

use std::collections::BTreeMap;

use bcs_kit::kv::View;
use bcs_schemas::bucket::{Bucket, Keyed};

use crate::{Client, Error};

impl Client {
    /// Everything in `bucket` under `filter`: `sim-a.>`, or `>`.
    pub async fn observed<T: Keyed>(
        &self,
        bucket: Bucket<T>,
        filter: &str,
    ) -> Result<BTreeMap<String, T>, Error> {
        Ok(self.bus().bucket(bucket).await?.list(filter).await?)
    }

    /// The same, mirrored in memory as long as this client lives. It heals itself after any gap.
    pub async fn watch<T: Keyed>(&self, bucket: Bucket<T>, filter: &str) -> Result<View<T>, Error> {
        Ok(self.bus().bucket(bucket).await?.watch(&self.0.tasks, filter))
    }
}
