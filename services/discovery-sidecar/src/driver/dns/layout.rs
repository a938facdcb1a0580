//! Where an entry lies in a zone and how it is written there. Pure.
//!
//! Every instance has an ownership record, a TXT record at `<id>.<registry>.<cluster>.<platform>._bcs.<zone>`: whom it
//! belongs to, and what was written for it. What users ask for are single records beside those of others: an address at the
//! name of the application and, where SRV is wanted, a service record with a host name of its own to point to.

use std::{fmt::Write, net::IpAddr, sync::Arc};

use bcs_schemas::resource::{app::Protocol, registry::DnsDriver};
use hickory_proto::rr::{
    Name, RData,
    rdata::{SRV, TXT},
};

use crate::{
    domain::{Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

/// A string of a TXT record holds no more bytes.
const STRING: usize = 255;

/// Names of one owner in one zone. All of them lower case and without a last dot.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    owner: String,
    srv: bool,
    /// Below it lie the ownership records; at it, the epoch.
    pub(super) base: String,
    pub(super) claim: Claim,
}

/// That a name of an installation is taken, and by which one.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) name: String,
    pub(super) platform: bcs_schemas::Name,
    pub(super) installation: String,
}

/// What an ownership record says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Written {
    pub(super) owner: String,
    endpoint: String,
    uid: String,
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    pub(super) ttl: u32,
    services: Vec<String>,
}

/// A record that users ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) data: RData,
}

impl Zone {
    pub(super) fn new(settings: &DnsDriver, owner: &Owner) -> Self {
        let Owner { platform, cluster, registry, installation } = owner;
        let name = format!("{platform}._bcs.{}", settings.zone);
        Self {
            owner: owner.to_string(),
            srv: settings.srv,
            base: format!("{registry}.{cluster}.{name}"),
            claim: Claim { name, platform: platform.clone(), installation: installation.clone() },
        }
    }

    /// Below it lie the marks of all owners.
    pub(super) fn marks(&self) -> String {
        let own = format!("{}.", self.claim.platform);
        self.claim.name.strip_prefix(&own).unwrap_or(&self.claim.name).to_owned()
    }

    fn written(&self, entry: &Entry) -> Written {
        let endpoint = &entry.endpoint;
        let service = |port: &bcs_schemas::observation::EndpointPort| {
            let transport = match port.protocol {
                Protocol::Tcp => "_tcp",
                Protocol::Udp => "_udp",
            };
            let weight = u16::try_from(endpoint.weight).unwrap_or(u16::MAX);
            format!("_{}.{transport}:{}:{weight}", port.name, port.port)
        };
        Written {
            owner: self.owner.clone(),
            endpoint: entry.key(),
            uid: endpoint.uid.clone(),
            name: entry.name.clone(),
            address: Some(entry.address),
            ttl: entry.ttl,
            services: if self.srv { endpoint.ports.iter().map(service).collect() } else { Vec::new() },
        }
    }

    /// The ownership record.
    pub(super) fn txt(&self, entry: &Entry) -> TXT {
        text(&self.written(entry).text(entry.endpoint.generation))
    }

    /// What a TXT record says, if it is an ownership record of ours.
    pub(super) fn ours(&self, txt: &TXT) -> Option<Written> {
        Written::parse(&joined(txt)).filter(|written| written.owner == self.owner)
    }

    /// Our entry, if the records at its place are one. It counts as another one when not everything is there that belongs to it.
    pub(super) fn item(&self, place: &Place, found: &[TXT], whole: bool) -> Option<Item> {
        let written = found.iter().find_map(|txt| self.ours(txt))?;
        let digest = fingerprint(&(&**place, &written));
        Some(Item {
            place: place.clone(),
            key: Arc::from(written.endpoint.as_str()),
            uid: Arc::from(written.uid.as_str()),
            digest: if whole { digest } else { !digest },
            version: version(found),
        })
    }
}

/// What stands at a place, as a number.
pub(super) fn version(found: &[TXT]) -> u64 {
    // In no order of theirs.
    found.iter().map(fingerprint).fold(0, u64::wrapping_add)
}

impl Written {
    /// Everything that is written for it besides this record, the shared address first.
    pub(super) fn records(&self, place: &str) -> Vec<Record> {
        let Some(address) = self.address else { return Vec::new() };
        let mut records = vec![Record { name: self.name.clone(), data: RData::from(address) }];
        let id = place.split('.').next().unwrap_or_default();
        let host = format!("{id}.{}", self.name);
        let Ok(target) = Name::from_ascii(format!("{host}.")) else { return records };
        for service in &self.services {
            let mut parts = service.splitn(3, ':');
            let label = parts.next().unwrap_or_default();
            let mut number = || parts.next().and_then(|text| text.parse().ok()).unwrap_or_default();
            let (port, weight): (u16, u16) = (number(), number());
            let data = RData::SRV(SRV::new(0, weight, port, target.clone()));
            records.push(Record { name: format!("{label}.{}", self.name), data });
        }
        if !self.services.is_empty() {
            records.push(Record { name: host, data: RData::from(address) });
        }
        records
    }

    fn text(&self, generation: u64) -> String {
        let mut text = String::from("bcs=1");
        let mut field = |key: &str, value: &str| {
            let _ = write!(text, ",{key}={}", escaped(value));
        };
        field("owner", &self.owner);
        field("endpoint", &self.endpoint);
        field("uid", &self.uid);
        field("name", &self.name);
        field("address", &self.address.map(|a| a.to_string()).unwrap_or_default());
        field("ttl", &self.ttl.to_string());
        self.services.iter().for_each(|service| field("srv", service));
        field("gen", &generation.to_string());
        text
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut written = Self::default();
        for field in text.strip_prefix("bcs=1,")?.split(',') {
            let (key, value) = field.split_once('=')?;
            let value = unescaped(value)?;
            match key {
                "owner" => written.owner = value,
                "endpoint" => written.endpoint = value,
                "uid" => written.uid = value,
                "name" => written.name = value,
                "address" => written.address = Some(value.parse().ok()?),
                "ttl" => written.ttl = value.parse().ok()?,
                "srv" => written.services.push(value),
                _ => (),
            }
        }
        written.address.is_some().then_some(written)
    }
}

impl Layout for Zone {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(format!("{}.{}", entry.id, self.base))
    }

    fn digest(&self, entry: &Entry) -> u64 {
        fingerprint(&(&*self.place(entry), &self.written(entry)))
    }
}

/// A name as messages hold it.
pub(super) fn name(text: &str) -> Result<Name, String> {
    Name::from_ascii(format!("{text}.")).map_err(|e| format!("{text} is no name of DNS: {e}"))
}

/// A name as we hold it.
pub(super) fn spelt(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    text.truncate(text.trim_end_matches('.').len());
    text
}

/// A TXT record of this text.
pub(super) fn text(text: &str) -> TXT {
    TXT::from_bytes(text.as_bytes().chunks(STRING).collect())
}

/// The text of a TXT record.
pub(super) fn joined(txt: &TXT) -> String {
    String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()
}

/// Whom an ownership record belongs to, for people.
pub(super) fn owner_of(txt: &TXT) -> String {
    match Written::parse(&joined(txt)) {
        Some(written) => format!("owner {:?}", written.owner),
        None => "nobody that says so".to_owned(),
    }
}

/// So that a value holds neither what parts fields nor what zone files quote.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b':' | b'/' => {
                text.push(byte.into());
            }
            other => {
                let _ = write!(text, "%{other:02x}");
            }
        }
    }
    text
}

fn unescaped(value: &str) -> Option<String> {
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing;

    pub(crate) fn zone(platform: &str, srv: bool) -> Zone {
        let settings = serde_json::json!({
            "servers": ["127.0.0.1"], "zone": "corp.test", "srv": srv, "key": { "name": "k", "secret": { "file": "/k" } },
        });
        let owner = Owner {
            platform: testing::name(platform),
            cluster: testing::name("sim-a"),
            registry: testing::name("dns"),
            installation: "one".to_owned(),
        };
        Zone::new(&serde_json::from_value(settings).expect("settings"), &owner)
    }

    pub(crate) fn entry(number: u32) -> Entry {
        let endpoint = testing::endpoint("web", number);
        Entry {
            name: "web.shop.bcs.corp.test".into(),
            id: format!("i{number:04}"),
            address: endpoint.addresses[0],
            port: 8080,
            ttl: 30,
            metadata: Default::default(),
            endpoint: Arc::new(endpoint),
        }
    }

    #[test]
    fn ownership_lies_below_the_owner_in_the_servers_zone() {
        let zone = zone("eu1", false);
        assert_eq!(&*zone.place(&entry(1)), "i0001.dns.sim-a.eu1._bcs.corp.test");
        assert_eq!((&*zone.base, &*zone.claim.name), ("dns.sim-a.eu1._bcs.corp.test", "eu1._bcs.corp.test"));
    }

    #[test]
    fn what_is_written_is_recognized_and_equal() {
        let (zone, entry) = (zone("eu1", true), entry(1));
        let (place, txt) = (zone.place(&entry), zone.txt(&entry));
        let item = zone.item(&place, std::slice::from_ref(&txt), true).expect("ours");
        assert_eq!((item.digest, item.version), (zone.digest(&entry), version(std::slice::from_ref(&txt))));
        assert_eq!((&*item.key, &*item.uid), ("sim-a.shop.web.web-1", "uid-web-1"));
        let torn = zone.item(&place, std::slice::from_ref(&txt), false).expect("ours");
        assert_ne!(torn.digest, item.digest);
        let records = zone.ours(&txt).expect("ours").records(&place);
        let shown: Vec<String> = records.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
        assert_eq!(
            shown,
            [
                "web.shop.bcs.corp.test 10.0.0.1",
                "_http._tcp.web.shop.bcs.corp.test 0 100 8080 i0001.web.shop.bcs.corp.test.",
                "i0001.web.shop.bcs.corp.test 10.0.0.1"
            ]
        );
    }

    #[test]
    fn what_others_wrote_is_not_ours() {
        let zone_of = |platform: &str| zone(platform, false);
        let theirs = zone_of("eu2").txt(&entry(1));
        for txt in [theirs.clone(), text("v=spf1 -all"), text("bcs=1"), text("bcs=1,owner=%zz"), text("")] {
            assert_eq!(zone_of("eu1").item(&Place::from("x"), &[txt], true), None);
        }
        assert_eq!(owner_of(&theirs), "owner \"eu2.sim-a.dns\"");
    }

    #[test]
    fn ports_and_weights_count_only_where_there_are_services() {
        let heavier = bcs_schemas::observation::Endpoint { weight: 7, ..testing::endpoint("web", 1) };
        let heavier = Entry { endpoint: Arc::new(heavier), ..entry(1) };
        let newer = bcs_schemas::observation::Endpoint { generation: 9, ..testing::endpoint("web", 1) };
        let newer = Entry { endpoint: Arc::new(newer), ..entry(1) };
        for (srv, changed) in [(false, false), (true, true)] {
            let zone = zone("eu1", srv);
            assert_eq!(zone.digest(&heavier) != zone.digest(&entry(1)), changed);
            assert_eq!(zone.digest(&newer), zone.digest(&entry(1)));
            assert_ne!(zone.digest(&Entry { ttl: 31, ..entry(1) }), zone.digest(&entry(1)));
        }
    }

    #[test]
    fn any_text_comes_back_and_long_ones_are_split() {
        for value in ["", "a,b=c%", "é\"\\\n", &"x,".repeat(400)] {
            let escaped = escaped(value);
            assert!(!escaped.contains([',', '"', '\\', '=']), "{escaped}");
            assert_eq!(unescaped(&escaped).as_deref(), Some(value));
            assert_eq!(joined(&text(&escaped)), escaped);
        }
        assert_eq!(text(&"x".repeat(600)).txt_data.len(), 3);
        assert_eq!(unescaped("%é"), None);
    }

    #[test]
    fn names_are_spelt_without_case_and_last_dot() {
        let there = name("web.Shop._bcs.corp.test").expect("a name");
        assert_eq!(spelt(&there), "web.shop._bcs.corp.test");
        assert!(name(&"a".repeat(64)).is_err());
    }
}
