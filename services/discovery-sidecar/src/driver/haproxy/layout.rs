//! How an entry lies in HAProxy: a server whose name says everything that is not its address. Pure.

use std::sync::Arc;

use bcs_schemas::resource::registry::HaproxyDriver;
use sha2::{Digest, Sha256};

use crate::{
    domain::{Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

/// HAProxy takes no more.
const HEAVIEST: u32 = 256;

/// Servers of one owner: `bcs:<owner>:<installation>:<endpoint>:<uid>` in the backend of their application.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    backend: String,
    /// What the name of every server of ours begins with.
    mark: String,
    /// Variable of the process that holds the epoch.
    pub(super) variable: String,
}

/// What HAProxy says of one of our servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) place: Place,
    address: String,
    port: u16,
    weight: u32,
    /// Taken out of service: only its deletion is left to do.
    pub(super) out: bool,
}

impl Servers {
    pub(super) fn new(settings: &HaproxyDriver, owner: &Owner) -> Self {
        let installation = hash(&owner.installation);
        Self {
            backend: settings.backend.clone(),
            mark: format!("bcs:{owner}:{installation}:"),
            variable: format!("proc.bcs_{}", hash(&format!("{owner} {installation}"))),
        }
    }

    /// Lines of `show servers state` that are ours.
    pub(super) fn parse(&self, text: &str) -> Result<Vec<Server>, String> {
        let header = text.lines().find_map(|line| line.strip_prefix("# "));
        let header: Vec<&str> = header.ok_or("no header in the state of its servers")?.split(' ').collect();
        let column = |name: &str| {
            header
                .iter()
                .position(|column| *column == name)
                .ok_or_else(|| format!("no column {name} in the state of its servers"))
        };
        let [backend, name, address, port, weight, admin] =
            ["be_name", "srv_name", "srv_addr", "srv_port", "srv_uweight", "srv_admin_state"].map(column);
        let (backend, name, address, port, weight, admin) =
            (backend?, name?, address?, port?, weight?, admin?);
        let rows = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let ours = rows.filter(|row| row.get(name).is_some_and(|name| name.starts_with(&self.mark)));
        let number = |text: Option<&&str>| text.and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
        Ok(ours
            .map(|row| Server {
                place: Place::from(format!("{}/{}", row[backend], row[name])),
                address: row.get(address).copied().unwrap_or_default().to_owned(),
                port: u16::try_from(number(row.get(port))).unwrap_or_default(),
                weight: number(row.get(weight)),
                // Any reason for maintenance: the bits of SRV_ADMF_MAINT in haproxy/server-t.h.
                out: number(row.get(admin)) & 0x23 != 0,
            })
            .collect())
    }

    /// Our entry; none for a server whose name was not made by us after all.
    pub(super) fn item(&self, server: &Server) -> Option<Item> {
        let (_, name) = server.place.split_once('/')?;
        let (key, uid) = name.strip_prefix(&self.mark)?.split_once(':')?;
        Some(Item {
            key: Arc::from(key),
            uid: Arc::from(uid),
            digest: fingerprint(&(&*server.place, &server.address, server.port, server.weight)),
            version: 0,
            place: server.place.clone(),
        })
    }

    /// What makes a name that HAProxy would not take.
    pub(super) fn problem(&self, place: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
        (!place.chars().all(plain))
            .then(|| format!("{place}: HAProxy takes letters, digits and . _ - in the name of a server"))
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// As HAProxy counts.
pub(super) fn weight(entry: &Entry) -> u32 {
    entry.endpoint.weight.min(HEAVIEST)
}

impl Layout for Servers {
    fn place(&self, entry: &Entry) -> Place {
        let endpoint = &entry.endpoint;
        let backend = self
            .backend
            .replace("{app}", endpoint.app.as_str())
            .replace("{project}", endpoint.project.as_str())
            .replace("{cluster}", endpoint.cluster.as_str());
        Place::from(format!("{backend}/{}{}:{}", self.mark, entry.key(), endpoint.uid))
    }

    fn digest(&self, entry: &Entry) -> u64 {
        fingerprint(&(&*self.place(entry), &entry.address.to_string(), entry.port, weight(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Naming, testing};

    fn servers() -> Servers {
        let settings =
            serde_json::from_value(serde_json::json!({ "socket": "/run/haproxy.sock" })).expect("settings");
        let owner = Owner {
            platform: testing::name("eu1"),
            cluster: testing::name("sim-a"),
            registry: testing::name("lb"),
            installation: "one".to_owned(),
        };
        Servers::new(&settings, &owner)
    }

    fn entry() -> Entry {
        let spec = serde_json::json!({ "driver": { "haproxy": { "socket": "/run/haproxy.sock" } } });
        let naming = Naming::of(&testing::name("r"), &serde_json::from_value(spec).expect("a spec"));
        naming.entry(&Arc::new(testing::endpoint("web", 1))).expect("an entry")
    }

    #[test]
    fn what_haproxy_shows_is_recognized_whatever_the_order_of_its_columns() {
        let (servers, entry) = (servers(), entry());
        let place = servers.place(&entry);
        let name = place.strip_prefix("web.shop/").expect("in its backend");
        let text = format!(
            "1\n# be_name srv_name srv_admin_state srv_uweight srv_port srv_addr\n\
             web.shop static 0 1 80 10.9.9.9\nweb.shop {name} 0 100 8080 10.0.0.1\nweb.shop {name}x 1 100 8080 10.0.0.1\n"
        );
        let found = servers.parse(&text).expect("is read");
        assert_eq!(found.iter().map(|server| server.out).collect::<Vec<_>>(), [false, true]);
        let item = servers.item(&found[0]).expect("is ours");
        assert_eq!((&item.place, item.digest), (&place, servers.digest(&entry)));
        assert_eq!((&*item.key, &*item.uid), ("sim-a.shop.web.web-1", "uid-web-1"));
        assert!(servers.parse("nonsense").is_err_and(|e| e.contains("no header")));
        assert!(servers.parse("# be_name srv_name").is_err_and(|e| e.contains("srv_addr")));
    }

    #[test]
    fn a_name_is_no_way_to_more_commands() {
        let servers = servers();
        assert_eq!(servers.problem(&servers.place(&entry())), None);
        for bad in ["web/x;disable server y", "web/x y", "web/x\ny"] {
            assert!(servers.problem(bad).is_some(), "{bad:?}");
        }
    }
}
