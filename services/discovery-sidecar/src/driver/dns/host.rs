//! Records of others in a zone: they come with a whole transfer, and change by one update that requires our epoch and every
//! record set that it touches to be as it was read.

use futures::future::BoxFuture;
use hickory_proto::rr::{
    DNSClass, Name, RData, Record, RecordType,
    rdata::{A, AAAA, CNAME, MX, NS, SRV, TXT},
};

use super::{
    Dns, Writing,
    held::below,
    layout::{Written, joined, spelt},
    lock,
    session::Session,
    unconnected,
    update::{Draft, exactly, nothing, without},
};
use crate::{
    domain::{
        Failure,
        guest::{Data, Kind, Step, View, plain_name},
    },
    driver::Host,
};

/// Of the 64 KiB of a message, besides what stands in every one.
const ROOM: usize = 60_000;

impl Host for Dns {
    fn view(&self) -> BoxFuture<'_, Result<View, Failure>> {
        Box::pin(async {
            let mut session = self.session.lock().await;
            let session = session.as_mut().ok_or_else(unconnected)?;
            let (mut view, marks) = (View::of(&self.settings.zone), self.zone.marks());
            session.client.transfer(|record| note(&mut view, &marks, record)).await?;
            Ok(view)
        })
    }

    fn room(&self) -> usize {
        ROOM
    }

    fn edit<'a>(&'a self, steps: &'a [Step]) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let mut session = self.session.lock().await;
            let session = session.as_mut().ok_or_else(unconnected)?;
            let draft = session.draft_of(&self.zone, steps)?;
            let writing = Writing::begin(&self.count);
            let taken = session.commit(&self.zone, draft).await;
            if let Ok(true) = taken {
                lock(&self.count).guests += 1;
            }
            writing.told(taken.as_ref().map(drop));
            taken
        })
    }
}

/// What a record says about the zone.
fn note(view: &mut View, marks: &str, record: Record) {
    let place = spelt(&record.name);
    if below(&place, marks) {
        let RData::TXT(txt) = &record.data else { return };
        let Some(written) = Written::parse(&joined(txt)) else { return };
        return written.records(&place).into_iter().for_each(|its| view.belongs(its.name, &written.owner));
    }
    let Some(name) = plain(&record.name) else { return };
    match data(&record.data) {
        Some(data) => view.saw(name, record.ttl, data),
        None if is_of_dnssec(record.record_type()) => (),
        None => view.saw_more(name),
    }
}

/// What servers make by themselves: it is in nobody's way.
const fn is_of_dnssec(kind: RecordType) -> bool {
    matches!(kind, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3 | RecordType::SOA)
}

/// A name that can be told without escapes.
fn plain(name: &Name) -> Option<String> {
    let labels: Vec<_> = name.iter().map(String::from_utf8_lossy).collect();
    if labels.iter().any(|label| label.contains('.')) {
        return None;
    }
    plain_name(&labels.join("."))
}

/// The root is an empty name here.
fn host(name: &Name) -> Option<String> {
    if name.is_root() { Some(String::new()) } else { plain(name) }
}

fn data(data: &RData) -> Option<Data> {
    Some(match data {
        RData::A(A(address)) => Data::A(*address),
        RData::AAAA(AAAA(address)) => Data::Aaaa(*address),
        RData::CNAME(CNAME(name)) => Data::Cname(host(name)?),
        RData::NS(NS(name)) => Data::Ns(host(name)?),
        RData::MX(mx) => Data::Mx(mx.preference, host(&mx.exchange)?),
        RData::SRV(srv) => Data::Srv(srv.priority, srv.weight, srv.port, host(&srv.target)?),
        RData::TXT(txt) => Data::Txt(txt.txt_data.iter().map(|string| string.to_vec()).collect()),
        _ => return None,
    })
}

const fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Cname => RecordType::CNAME,
        Kind::Mx => RecordType::MX,
        Kind::Ns => RecordType::NS,
        Kind::Srv => RecordType::SRV,
        Kind::Txt => RecordType::TXT,
    }
}

/// Labels as they are: an ExternalDNS has names such as `a-*.apps.example`.
fn name(text: &str) -> Result<Name, Failure> {
    let labels = text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    Name::from_labels(labels).map_err(|e| Failure::Rejected(format!("{text} is no name of DNS: {e}")))
}

fn rdata(data: &Data) -> Result<RData, Failure> {
    Ok(match data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(alias) => RData::CNAME(CNAME(name(alias)?)),
        Data::Ns(server) => RData::NS(NS(name(server)?)),
        Data::Mx(preference, host) => RData::MX(MX::new(*preference, name(host)?)),
        Data::Srv(priority, weight, port, host) => {
            RData::SRV(SRV::new(*priority, *weight, *port, name(host)?))
        }
        Data::Txt(strings) => RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect())),
    })
}

impl Session {
    fn draft_of(&self, zone: &super::Zone, steps: &[Step]) -> Result<Draft, Failure> {
        let mut draft = self.fenced_draft(zone)?;
        for step in steps {
            let at = name(&step.name)?;
            // Where somebody else made an alias, or a sidecar an address, it would not be what it is meant to be.
            for kind in [Kind::A, Kind::Aaaa, Kind::Cname] {
                if kind != step.kind && !step.beside.contains(&kind) {
                    draft.prerequisites.push(nothing(at.clone(), record_type(kind)));
                }
            }
            edit(&mut draft, &at, step)?;
        }
        // What is given up goes first, so that something else can come in its place.
        draft.updates.sort_by_key(|record| record.dns_class == DNSClass::IN);
        Ok(draft)
    }
}

/// What a set has to be, what goes of it, and what comes.
fn edit(draft: &mut Draft, at: &Name, step: &Step) -> Result<(), Failure> {
    let Step { kind, before, after, .. } = step;
    if before.data.is_empty() {
        draft.prerequisites.push(nothing(at.clone(), record_type(*kind)));
    }
    for data in &before.data {
        draft.prerequisites.push(exactly(at.clone(), rdata(data)?));
    }
    for data in before.data.difference(&after.data) {
        draft.updates.push(without(at.clone(), rdata(data)?));
    }
    // A set has one life time: to change it, all of it is written anew.
    let come = after.data.iter().filter(|data| after.ttl != before.ttl || !before.data.contains(data));
    for data in come {
        draft.updates.push(Record::from_rdata(at.clone(), after.ttl, rdata(data)?));
    }
    Ok(())
}
