//! Files alone.

use std::{collections::BTreeSet, net::IpAddr};

use crate::contract::Site;

struct Directory(tempfile::TempDir);

impl Site for Directory {
    async fn start() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn spec(&self) -> serde_json::Value {
        serde_json::json!({ "driver": { "file": { "directory": self.0.path() } } })
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let hosts = std::fs::read_to_string(self.0.path().join("sim-a.hosts")).unwrap_or_default();
        let named = hosts.lines().filter_map(|line| line.split_once('\t'));
        named
            .filter(|(_, name)| *name == "web.shop.bcs.local")
            .filter_map(|(address, _)| address.parse().ok())
            .collect()
    }

    /// A file belongs to one owner: what others write lies in a file of theirs, which programs may read as well.
    async fn add_foreign(&self, address: IpAddr) {
        let line = format!("{address}\tweb.shop.bcs.local\n");
        std::fs::write(self.0.path().join("theirs.hosts"), line).expect("writes");
    }
}

crate::contract::contract!(super::Directory);
