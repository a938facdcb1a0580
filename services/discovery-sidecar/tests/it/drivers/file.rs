//! Files alone.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    contract::Site,
    faults::{Able, Fault, Faulty, Line},
};

/// What a resolver makes of it.
fn named(hosts: &str) -> BTreeSet<IpAddr> {
    let named = hosts.lines().filter_map(|line| line.split_once('\t'));
    named
        .filter(|(_, name)| *name == "web.shop.bcs.local")
        .filter_map(|(address, _)| address.parse().ok())
        .collect()
}

struct Directory(tempfile::TempDir);

impl Site for Directory {
    async fn start() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn spec(&self) -> serde_json::Value {
        serde_json::json!({ "driver": { "file": { "directory": self.0.path() } } })
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        named(&std::fs::read_to_string(self.0.path().join("sim-a.hosts")).unwrap_or_default())
    }

    /// A file belongs to one owner: what others write lies in a file of theirs, which programs may read as well.
    async fn add_foreign(&self, address: IpAddr) {
        let line = format!("{address}\tweb.shop.bcs.local\n");
        std::fs::write(self.0.path().join("theirs.hosts"), line).expect("writes");
    }
}

crate::contract::contract!(super::Directory);

/// Below another folder, which can be taken away.
struct Below(tempfile::TempDir);

impl Below {
    /// The folder may be away at this moment.
    fn at(&self, file: &str) -> std::path::PathBuf {
        let folders = ["registry", "registry.away"].map(|folder| self.0.path().join(folder));
        let folder = folders.iter().find(|folder| folder.is_dir()).expect("a folder");
        folder.join(file)
    }
}

impl Site for Below {
    async fn start() -> Self {
        let below = Self(tempfile::tempdir().expect("a directory"));
        std::fs::create_dir(below.0.path().join("registry")).expect("a folder");
        below
    }

    fn spec(&self) -> serde_json::Value {
        serde_json::json!({ "driver": { "file": { "directory": self.at("") } } })
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        named(&std::fs::read_to_string(self.at("sim-a.hosts")).unwrap_or_default())
    }

    async fn add_foreign(&self, address: IpAddr) {
        std::fs::write(self.at("theirs.hosts"), format!("{address}\tweb.shop.bcs.local\n")).expect("writes");
    }
}

impl Faulty for Below {
    const NAME: &'static str = "file";
    const ABLE: Able = Able::of(&[&[Fault::Cut, Fault::Emptied, Fault::TakenOut]]);

    async fn lines(&self, _: u16) -> Vec<(Line, serde_json::Value)> {
        let folder = self.0.path().join("registry");
        [0, 1].map(|_| (Line::Folder(folder.clone()), self.spec())).into()
    }

    /// Every file is gone.
    async fn down(&mut self, _: bool) {
        for file in std::fs::read_dir(self.at("")).expect("reads").flatten() {
            // One that was being written has been renamed.
            let _ = std::fs::remove_file(file.path());
        }
    }

    async fn up(&mut self) {}

    async fn theirs(&self) -> String {
        let file = self.at("theirs.hosts");
        let modified = std::fs::metadata(&file).and_then(|meta| meta.modified());
        format!("{:?} {modified:?}", std::fs::read_to_string(&file))
    }

    /// Somebody edits the hosts file.
    async fn take_out(&self, address: IpAddr) {
        let Ok(hosts) = std::fs::read_to_string(self.at("sim-a.hosts")) else { return };
        let rest = hosts.lines().filter(|line| !line.starts_with(&format!("{address}\t")));
        let _ =
            std::fs::write(self.at("sim-a.hosts"), rest.map(|line| format!("{line}\n")).collect::<String>());
    }
}

crate::faults::faults!(Below);
