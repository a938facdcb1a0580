//! What belongs to others in the registries: placed before anything else, and never to be touched.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::harness::Etcd;

/// Keys in etcd, one of them among the entries of an application of ours.
pub(super) const KEYS: [&str; 2] =
    ["/skydns/local/bcs/demo/app-0/somebody-else", "/skydns/local/other/service/one"];
const VALUE: &str = r#"{"host":"10.9.9.9","port":99}"#;
/// Files in the folder of the file registry.
const FILES: [&str; 2] = ["other.json", "other.hosts"];
const TEXT: &str = "somebody else's\n";

/// Where it lies.
pub(super) struct Foreign(PathBuf);

impl Foreign {
    pub(super) async fn place(etcd: &Etcd, registry: &Path) -> Result<Self> {
        let mut client = etcd.client().await?;
        for key in KEYS {
            client.put(key, VALUE, None).await?;
        }
        std::fs::create_dir_all(registry)?;
        for file in FILES {
            std::fs::write(registry.join(file), TEXT)?;
        }
        Ok(Self(registry.to_owned()))
    }

    /// It is as it was placed: in etcd, nobody has written it even with the same value.
    pub(super) async fn untouched(&self, etcd: &Etcd) -> Result<()> {
        let mut client = etcd.client().await?;
        for key in KEYS {
            let found = client.get(key, None).await?;
            let kv = found.kvs().first().with_context(|| format!("{key}, which is not ours, is gone"))?;
            ensure!(
                kv.version() == 1 && kv.value() == VALUE.as_bytes(),
                "{key}, which is not ours, was written: {kv:?}"
            );
        }
        for file in FILES {
            let text = std::fs::read_to_string(self.0.join(file)).unwrap_or_default();
            ensure!(text == TEXT, "{file} in the registry, which is not ours, was written: {text:?}");
        }
        Ok(())
    }
}
