//! Records of others in a zone of PowerDNS. Nothing is compared when it is written to, so the zone is read just before.

use std::collections::HashSet;

use futures::future::BoxFuture;

use super::PowerDns;
use crate::{
    domain::{
        Failure,
        guest::{Data, Kind, Set, Step, View, plain_name},
    },
    driver::{
        Host,
        rrset::{Comment, Record, RrSet},
    },
};

/// Half of what its web server takes in a request unless it is set otherwise (`webserver-max-bodysize`): a record takes more
/// there than in a message of DNS.
const ROOM: usize = 1 << 20;

impl Host for PowerDns {
    fn view(&self) -> BoxFuture<'_, Result<View, Failure>> {
        Box::pin(async {
            let zone = self.session().await?.zone("").await?;
            Ok(view(&self.zone, &zone.rrsets))
        })
    }

    fn room(&self) -> usize {
        ROOM
    }

    fn edit<'a>(&'a self, steps: &'a [Step]) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let session = self.session().await?;
            session.fenced(&self.spelling).await?;
            let zone = session.zone("").await?;
            let now = view(&self.zone, &zone.rrsets);
            let as_read = |step: &Step| {
                let held = now.get(&step.name, step.kind).cloned().unwrap_or_default();
                held == step.before && now.kinds(&step.name) == step.beside
            };
            let names: HashSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            if !steps.iter().all(as_read) || now.owned().iter().any(|name| names.contains(name.as_str())) {
                return Ok(false);
            }
            let sets: Vec<RrSet> = steps.iter().map(|step| rewritten(&zone.rrsets, step)).collect();
            self.replace(&session, &sets).await?;
            Ok(true)
        })
    }
}

fn view(zone: &str, sets: &[RrSet]) -> View {
    let mut view = View::of(zone);
    for set in sets {
        let Some(name) = plain_name(&set.name) else { continue };
        for mark in set.comments.iter().filter_map(Comment::mark) {
            view.belongs(name.clone(), &mark.owner);
        }
        for record in &set.records {
            let kind = Kind::of(&set.kind).filter(|_| !record.disabled);
            match kind.and_then(|kind| Data::read(kind, &record.content).ok()) {
                Some(data) => view.saw(name.clone(), set.ttl, data),
                None if set.kind == "SOA" => (),
                None => view.saw_more(name.clone()),
            }
        }
    }
    view
}

/// The set as the step wants it. Comments stay, and so does what somebody disabled by hand.
fn rewritten(sets: &[RrSet], step: &Step) -> RrSet {
    let (name, kind) = (format!("{}.", step.name), step.kind.to_string());
    let found = sets.iter().find(|set| set.name.eq_ignore_ascii_case(&name) && set.kind == kind);
    let found = found.cloned().unwrap_or_default();
    let Set { ttl, data } = &step.after;
    let come = data.iter().map(|data| Record { content: data.content(), disabled: false });
    let kept = found.records.into_iter().filter(|record| record.disabled);
    let records: Vec<Record> = come.chain(kept).collect();
    let comments = if records.is_empty() { Vec::new() } else { found.comments };
    RrSet { name, kind, ttl: *ttl, records, comments }
}
