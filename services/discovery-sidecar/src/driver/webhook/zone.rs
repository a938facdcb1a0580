//! All records of a provider, looked at as names that have one owner: an address set, the text by which ExternalDNS says
//! whose it is, and a text of ours that tells our entries. Pure.

use form_urlencoded::{Serializer, parse};
use sha2::{Digest, Sha256};

use crate::{
    domain::guest::heritage,
    driver::rrset::{Comment, Mark, Record, RrSet, Spelling},
    externaldns::wire::{Changes, Endpoint},
};

const TXT: &str = "TXT";

/// What a provider told at one moment.
pub(super) struct Zone(pub(super) Vec<Endpoint>);

impl Zone {
    pub(super) fn find(&self, name: &str, kind: &str) -> Option<&Endpoint> {
        self.0.iter().find(|endpoint| endpoint.is(name, kind))
    }

    /// The record set of a name (without its last dot) with its marks; empty if there is none.
    pub(super) fn set(&self, spelling: &Spelling, name: &str, kind: &str) -> RrSet {
        let addresses = self.find(name, kind);
        let records = addresses.iter().flat_map(|endpoint| &endpoint.targets);
        let marks = self.find(&marks_name(name, kind), TXT);
        let marks = marks.iter().flat_map(|endpoint| &endpoint.targets).filter_map(|text| read_mark(text));
        RrSet {
            name: format!("{name}."),
            kind: kind.to_owned(),
            ttl: addresses.map_or(0, |endpoint| u32::try_from(endpoint.record_ttl).unwrap_or_default()),
            records: records.map(|content| Record { content: content.clone(), disabled: false }).collect(),
            // Two owners never share a name, so a mark of another one is theirs to keep.
            comments: marks
                .map(|mark| mark.comment())
                .filter(|_| self.stranger(spelling, name, kind).is_none())
                .collect(),
        }
    }

    /// Who has the name by the text of ExternalDNS, if it is not us.
    pub(super) fn stranger(&self, spelling: &Spelling, name: &str, kind: &str) -> Option<String> {
        let owner = heritage(self.find(&owner_name(name, kind), TXT)?.targets.first()?.trim_matches('"'))?;
        (owner != spelling.owner).then_some(owner)
    }

    /// Every set in which we have entries.
    pub(super) fn ours(&self, spelling: &Spelling) -> Vec<RrSet> {
        let names = self.0.iter().filter(|e| e.record_type == TXT).filter_map(|e| marked(&e.dns_name));
        names.map(|(name, kind)| self.set(spelling, &name, kind)).collect()
    }

    /// What has to be asked for to make the addresses of a set what they should be.
    pub(super) fn addresses(&self, wanted: &RrSet, changes: &mut Changes) {
        let targets = wanted.records.iter().map(|record| record.content.clone()).collect();
        self.replace(bare(&wanted.name), &wanted.kind, targets, wanted.ttl, changes);
    }

    /// The same for the texts beside it: whose it is, and these marks.
    pub(super) fn texts(&self, spelling: &Spelling, wanted: &RrSet, marks: &[Mark], changes: &mut Changes) {
        let (name, kind) = (bare(&wanted.name), wanted.kind.as_str());
        let ours = marks.iter().any(|mark| mark.owner == spelling.owner);
        let owner = if ours { vec![write_heritage(&spelling.owner, name)] } else { Vec::new() };
        self.replace(&owner_name(name, kind), TXT, owner, wanted.ttl, changes);
        let texts = marks.iter().map(write_mark).collect();
        self.replace(&marks_name(name, kind), TXT, texts, wanted.ttl, changes);
    }

    fn replace(&self, name: &str, kind: &str, targets: Vec<String>, ttl: u32, changes: &mut Changes) {
        let wanted = (!targets.is_empty()).then(|| Endpoint {
            dns_name: name.to_owned(),
            record_type: kind.to_owned(),
            targets,
            record_ttl: ttl.into(),
            ..Endpoint::default()
        });
        changes.add(self.find(name, kind), wanted);
    }

    /// As it is when these changes were made.
    pub(super) fn after(mut self, changes: Changes) -> Self {
        let gone: Vec<Endpoint> = changes.update_old.into_iter().chain(changes.delete).collect();
        self.0.retain(|endpoint| !gone.contains(endpoint));
        self.0.extend(changes.create.into_iter().chain(changes.update_new));
        self
    }

    /// A text that the sidecar keeps for itself.
    pub(super) fn kept(&self, name: &str, what: &str) -> Option<String> {
        let text = self.find(name, TXT)?.targets.first()?;
        parse(text.trim_matches('"').as_bytes())
            .find(|(key, _)| key == what)
            .map(|(_, value)| value.into_owned())
    }

    pub(super) fn keep(&self, name: &str, what: &str, value: &str) -> Changes {
        let text = Serializer::new(String::new()).append_pair(what, value).finish();
        let wanted = Endpoint {
            dns_name: name.to_owned(),
            record_type: TXT.to_owned(),
            targets: vec![format!("\"{text}\"")],
            ..Endpoint::default()
        };
        let mut changes = Changes::default();
        changes.add(self.find(name, TXT), Some(wanted));
        changes
    }
}

/// Marks of both, each once: what says whose addresses are as long as both may be there.
pub(super) fn union(found: &RrSet, wanted: &RrSet) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for mark in found.comments.iter().chain(&wanted.comments).filter_map(Comment::mark) {
        if !marks.contains(&mark) {
            marks.push(mark);
        }
    }
    marks
}

fn bare(name: &str) -> &str {
    name.trim_end_matches('.')
}

/// As ExternalDNS names it: the type before the first label.
fn owner_name(name: &str, kind: &str) -> String {
    format!("{}-{name}", kind.to_ascii_lowercase())
}

fn marks_name(name: &str, kind: &str) -> String {
    format!("bcs-{}", owner_name(name, kind))
}

fn marked(text: &str) -> Option<(String, &'static str)> {
    let rest = text.trim_end_matches('.').strip_prefix("bcs-")?;
    [("a-", "A"), ("aaaa-", "AAAA")]
        .into_iter()
        .find_map(|(prefix, kind)| Some((rest.strip_prefix(prefix)?.to_owned(), kind)))
}

/// Where something of an owner is kept that is no entry.
pub(super) fn own_name(what: &str, of: &str, zone: &str) -> String {
    let hash = Sha256::digest(of.as_bytes());
    let hash = hash.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("bcs-{what}-{hash}.{zone}")
}

fn write_heritage(owner: &str, name: &str) -> String {
    format!("\"heritage=external-dns,external-dns/owner={owner},external-dns/resource=bcs/{name}\"")
}

/// Without quotes, commas and anything else that providers escape.
fn write_mark(mark: &Mark) -> String {
    let address = mark.address.to_string();
    let pairs = [
        ("owner", &mark.owner),
        ("id", &mark.id),
        ("address", &address),
        ("key", &mark.key),
        ("uid", &mark.uid),
    ];
    format!("\"{}\"", Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn read_mark(text: &str) -> Option<Mark> {
    let pairs: Vec<_> = parse(text.trim_matches('"').as_bytes()).collect();
    let said = |what: &str| pairs.iter().find(|(key, _)| key == what).map(|(_, value)| value.to_string());
    Some(Mark {
        owner: said("owner")?,
        address: said("address")?.parse().ok()?,
        id: said("id")?,
        key: said("key")?,
        uid: said("uid")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelling(owner: &str) -> Spelling {
        Spelling { owner: owner.into(), keeps_ttl: false }
    }

    fn mark(owner: &str) -> Mark {
        Mark {
            owner: owner.into(),
            address: "10.0.0.1".parse().expect("an address"),
            id: "i1".into(),
            key: "sim-a.shop.web.web-1".into(),
            uid: "u\"1,%".into(),
        }
    }

    fn set(owner: &str) -> RrSet {
        RrSet {
            name: "web.shop.bcs.local.".into(),
            kind: "A".into(),
            ttl: 30,
            records: vec![Record { content: "10.0.0.1".into(), disabled: false }],
            comments: vec![mark(owner).comment()],
        }
    }

    #[test]
    fn a_set_is_an_address_record_a_text_of_external_dns_and_one_of_ours() {
        let (ours, mut changes) = (spelling("o"), Changes::default());
        Zone(vec![]).addresses(&set("o"), &mut changes);
        Zone(vec![]).texts(&ours, &set("o"), &[mark("o")], &mut changes);
        let names: Vec<_> = changes.create.iter().map(|e| (&*e.dns_name, &*e.record_type)).collect();
        let wanted = [
            ("web.shop.bcs.local", "A"),
            ("a-web.shop.bcs.local", "TXT"),
            ("bcs-a-web.shop.bcs.local", "TXT"),
        ];
        assert_eq!(names, wanted);
        assert_eq!(
            changes.create[1].targets,
            ["\"heritage=external-dns,external-dns/owner=o,external-dns/resource=bcs/web.shop.bcs.local\""]
        );
        // As providers give it back: some without quotes, some with a last dot.
        for unquote in [true, false] {
            let back = changes.create.iter().cloned().map(|mut endpoint| {
                if unquote {
                    endpoint
                        .targets
                        .iter_mut()
                        .for_each(|target| *target = target.trim_matches('"').to_owned());
                    endpoint.dns_name.push('.');
                }
                endpoint
            });
            let zone = Zone(back.collect());
            assert_eq!(zone.ours(&ours), [set("o")]);
            let mut again = Changes::default();
            zone.addresses(&set("o"), &mut again);
            zone.texts(&ours, &set("o"), &[mark("o")], &mut again);
            assert!(again.is_empty(), "{again:?}");
            assert_eq!(zone.stranger(&spelling("p"), "web.shop.bcs.local", "A").as_deref(), Some("o"));
            let nothing = RrSet { records: vec![], comments: vec![], ..set("o") };
            zone.addresses(&nothing, &mut again);
            zone.texts(&ours, &nothing, &[], &mut again);
            assert_eq!((again.delete.len(), zone.after(again).0.len()), (3, 0));
        }
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let changes = Zone(vec![]).keep("bcs-epoch-1.bcs.local", "epoch", "7");
        let zone = Zone(changes.create);
        assert_eq!(zone.kept("bcs-epoch-1.bcs.local", "epoch").as_deref(), Some("7"));
        assert_eq!(zone.keep("bcs-epoch-1.bcs.local", "epoch", "8").update_new.len(), 1);
    }
}
