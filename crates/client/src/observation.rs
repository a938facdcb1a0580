//! Observations: what agents and sidecars last saw, with its age. Listed once, or mirrored.

use std::collections::BTreeMap;

use bcs_kit::kv::View;
use bcs_schemas::bucket::Bucket;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Client, Error};

impl Client {
    /// Everything in `bucket` under `filter`: `sim-a.>`, or `>`.
    pub async fn observed<T>(&self, bucket: Bucket<T>, filter: &str) -> Result<BTreeMap<String, T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        Ok(self.bus().bucket(bucket).await?.list(filter).await?)
    }

    /// The same, mirrored in memory as long as this client lives. It heals itself after any gap.
    pub async fn watch<T>(&self, bucket: Bucket<T>, filter: &str) -> Result<View<T>, Error>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        Ok(self.bus().bucket(bucket).await?.watch(&self.0.tasks, filter))
    }
}
