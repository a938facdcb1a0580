//! From what an ExternalDNS says to what can be done with a zone, and back. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::wire::{Changes, Endpoint};
use crate::domain::guest::{Data, Kind, Set, Shown, Wish, plain_name};

/// RFC 2181: more is read as nothing.
const LONGEST: i64 = i32::MAX as i64;

/// What was told of a zone last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Names that sidecars write.
    pub(super) owned: BTreeSet<String>,
    sets: HashMap<(String, Kind), Set>,
}

impl Told {
    pub(super) fn of(owned: BTreeSet<String>, shown: &[Shown]) -> Self {
        let set = |shown: &Shown| ((shown.name.clone(), shown.kind), shown.set.clone());
        Self { owned, sets: shown.iter().map(set).collect() }
    }
}

/// A record set, as it is told.
pub(super) fn endpoint(shown: Shown) -> Endpoint {
    Endpoint {
        dns_name: shown.name,
        targets: shown.set.data.iter().map(Data::target).collect(),
        record_type: shown.kind.to_string(),
        record_ttl: shown.set.ttl.into(),
        ..Endpoint::default()
    }
}

/// What is wanted by these changes, for each record set; or which field is not what was expected.
pub(super) fn wishes(changes: &Changes) -> Result<Vec<Wish>, String> {
    let mut wishes = BTreeMap::<(String, Kind), Wish>::new();
    let all = [
        ("updateOld", &changes.update_old, true),
        ("delete", &changes.delete, true),
        ("create", &changes.create, false),
        ("updateNew", &changes.update_new, false),
    ];
    for (list, endpoints, seen) in all {
        for (i, endpoint) in endpoints.iter().enumerate() {
            let at = |why: String| format!("{list}[{i}].{why}");
            let (name, kind) = key(endpoint).map_err(at)?;
            let data = data(kind, endpoint).map_err(at)?;
            let fresh = Wish { name: name.clone(), kind, told: None, wanted: None, ttl: None };
            let wish = wishes.entry((name.clone(), kind)).or_insert(fresh);
            let side = if seen { &mut wish.told } else { &mut wish.wanted };
            match side {
                Some(other) if *other != data => {
                    return Err(at(format!("dnsName: {name} {kind} is there twice, with other targets")));
                }
                _ => *side = Some(data),
            }
            if !seen {
                wish.ttl = ttl(endpoint).map_err(at)?;
            }
        }
    }
    Ok(wishes.into_values().collect())
}

/// The endpoints as they can be: spelt as they will be told afterwards, so that nothing differs that is the same. One that
/// cannot be kept here is left out, with why, or stays what it is in the zone now: it must not stop the others.
pub(super) fn adjusted(endpoints: Vec<Endpoint>, told: &Told) -> (Vec<Endpoint>, Vec<String>) {
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for endpoint in endpoints {
        let shown = format!("{} {}", endpoint.dns_name, endpoint.record_type);
        match adjust(&endpoint, told) {
            Ok(endpoint) => kept.push(endpoint),
            Err(why) => {
                refused.push(format!("{shown}: {why}"));
                kept.extend(as_it_is(endpoint, told));
            }
        }
    }
    (kept, refused)
}

fn adjust(endpoint: &Endpoint, told: &Told) -> Result<Endpoint, String> {
    let (name, kind) = key(endpoint)?;
    if told.owned.contains(&name) {
        return Err("belongs to an entry of BCS: expected another name".to_owned());
    }
    let (data, ttl) = (data(kind, endpoint)?, ttl(endpoint)?);
    Ok(Endpoint {
        targets: data.iter().map(Data::target).collect(),
        record_ttl: ttl.unwrap_or_default().into(),
        // Nothing of it can be kept, so it would differ for ever.
        provider_specific: None,
        ..endpoint.clone()
    })
}

/// What was told of it last, if it is one of those that can be there at all.
fn as_it_is(bad: Endpoint, told: &Told) -> Option<Endpoint> {
    let (name, kind) = key(&bad).ok().filter(|(name, _)| !told.owned.contains(name))?;
    let set = told.sets.get(&(name.clone(), kind))?.clone();
    Some(Endpoint { labels: bad.labels, ..endpoint(Shown { name, kind, set }) })
}

fn key(endpoint: &Endpoint) -> Result<(String, Kind), String> {
    let Endpoint { dns_name, record_type, set_identifier, .. } = endpoint;
    let name = plain_name(dns_name)
        .ok_or_else(|| format!("dnsName: {dns_name:?} is no name: expected one such as web.example.org"))?;
    let kind = Kind::of(record_type).ok_or_else(|| {
        format!("recordType: {record_type:?} of {name} is not kept here: expected one of {}", Kind::all())
    })?;
    if !set_identifier.is_empty() {
        return Err(format!(
            "setIdentifier: {set_identifier:?} of {name}: expected none, since a zone has one set of a name and type"
        ));
    }
    Ok((name, kind))
}

fn data(kind: Kind, endpoint: &Endpoint) -> Result<BTreeSet<Data>, String> {
    if endpoint.targets.is_empty() {
        return Err(format!("targets: is empty for {}: expected at least one", endpoint.dns_name));
    }
    let targets = endpoint.targets.iter().enumerate();
    let read = targets.map(|(i, target)| {
        Data::read(kind, target).map_err(|why| format!("targets[{i}] of {}: {why}", endpoint.dns_name))
    });
    read.collect()
}

fn ttl(endpoint: &Endpoint) -> Result<Option<u32>, String> {
    match endpoint.record_ttl {
        ..=0 => Ok(None),
        ttl @ 1..=LONGEST => Ok(u32::try_from(ttl).ok()),
        ttl => Err(format!("recordTTL: {ttl} of {}: expected at most {LONGEST} seconds", endpoint.dns_name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, kind: &str, targets: &[&str]) -> Endpoint {
        let endpoint = serde_json::json!({ "dnsName": name, "recordType": kind, "targets": targets });
        serde_json::from_value(endpoint).expect("an endpoint")
    }

    fn told(name: &str, kind: Kind, target: &str) -> Told {
        let set = Set { ttl: 60, data: BTreeSet::from([Data::read(kind, target).expect("a target")]) };
        Told::of(BTreeSet::from(["ours.x.test".to_owned()]), &[Shown { name: name.to_owned(), kind, set }])
    }

    #[test]
    fn changes_become_one_wish_for_each_record_set_whatever_their_order_is() {
        let changes = Changes {
            create: vec![made("New.x.test.", "A", &["10.0.0.1", "10.0.0.2"])],
            update_old: vec![made("b.x.test", "A", &["10.0.0.3"]), made("a.x.test", "TXT", &["old"])],
            update_new: vec![made("a.x.test", "TXT", &["\"new\""]), made("b.x.test", "CNAME", &["c.x.test"])],
            delete: vec![made("gone.x.test", "AAAA", &["fd00::1"])],
        };
        let wishes = wishes(&changes).expect("is read");
        let shown: Vec<_> = wishes
            .iter()
            .map(|wish| (wish.name.as_str(), wish.kind, wish.told.is_some(), wish.wanted.is_some()))
            .collect();
        assert_eq!(
            shown,
            [
                ("a.x.test", Kind::Txt, true, true),
                ("b.x.test", Kind::A, true, false),
                ("b.x.test", Kind::Cname, false, true),
                ("gone.x.test", Kind::Aaaa, true, false),
                ("new.x.test", Kind::A, false, true),
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_field() {
        let long = Endpoint { record_ttl: 1 << 40, ..made("a.x.test", "A", &["10.0.0.1"]) };
        let one_of = Endpoint { set_identifier: "eu".into(), ..made("a.x.test", "A", &["10.0.0.1"]) };
        let twice = vec![made("a.x.test", "A", &["10.0.0.1"]), made("A.x.test", "A", &["10.0.0.2"])];
        for (create, words) in [
            (vec![made("a b", "A", &["10.0.0.1"])], "create[0].dnsName: \"a b\" is no name"),
            (vec![made("a.x.test", "PTR", &["b"])], "create[0].recordType: \"PTR\" of a.x.test is not kept"),
            (vec![made("a.x.test", "A", &[])], "create[0].targets: is empty"),
            (
                vec![made("a.x.test", "A", &["10.0.0.1", "web"])],
                "create[0].targets[1] of a.x.test: \"web\" is no A",
            ),
            (vec![long], "create[0].recordTTL: 1099511627776 of a.x.test"),
            (vec![one_of], "create[0].setIdentifier: \"eu\" of a.x.test"),
            (twice, "create[1].dnsName: a.x.test A is there twice"),
        ] {
            let why = wishes(&Changes { create, ..Changes::default() }).expect_err(words);
            assert!(why.starts_with(words), "{why}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_left_out_or_stays_what_it_is_and_stops_nothing_else() {
        let told = told("web.x.test", Kind::A, "10.0.0.9");
        let specific = serde_json::json!([{ "name": "aws/weight", "value": "9" }]);
        let plain = Endpoint {
            provider_specific: Some(specific),
            ..made("Txt.x.test", "TXT", &["v=spf1 -all", "\"v=spf1 -all\""])
        };
        let all = vec![
            plain,
            made("ours.x.test", "A", &["10.0.0.1"]),
            made("new.x.test", "A", &["nonsense"]),
            made("web.x.test", "A", &["nonsense"]),
            made("ptr.x.test", "PTR", &["x"]),
        ];
        let (kept, refused) = adjusted(all, &told);
        let shown: Vec<_> = kept.iter().map(|e| (e.dns_name.as_str(), e.targets.join("|"))).collect();
        assert_eq!(
            shown,
            [("Txt.x.test", "\"v=spf1 -all\"".to_owned()), ("web.x.test", "10.0.0.9".to_owned())]
        );
        assert_eq!((kept[0].provider_specific.as_ref(), kept[1].record_ttl), (None, 60));
        assert_eq!(refused.len(), 4, "{refused:?}");
        assert!(refused[0].starts_with("ours.x.test A: belongs to an entry of BCS"), "{refused:?}");
    }
}
