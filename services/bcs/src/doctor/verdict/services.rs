//! Services: which answer, in which version, who leads, and how far they are behind.

use bcs_kit::bus::survey::Lag;
use bcs_schemas::{Service, bucket};
use jiff::{SignedDuration, Timestamp};

use super::{or_all_well, seconds};
use crate::{
    doctor::{Finding, facts::Facts},
    view::age,
};

/// Events that wait to be published, beyond what a busy moment makes.
const UNPUBLISHED: u64 = 1_000;
/// Commands that wait, beyond what a busy moment makes.
const WAITING: u64 = 1_000;
/// A lease is renewed each second, and taken over after 3.5 s.
const RENEWED: SignedDuration = SignedDuration::from_secs(5);

/// Whether each answers, and is of our version.
pub(super) fn answers(facts: &Facts) -> Vec<Finding> {
    const SERVICES: &str = "services";
    let mut findings = Vec::new();
    let mut well = Vec::new();
    for (service, status) in &facts.services {
        let status = match status {
            Ok(status) => &status.answer,
            Err(why) if why.contains("may not publish") => {
                findings.push(Finding::unknown(SERVICES, service.as_str(), why));
                continue;
            }
            Err(why) => {
                let advice = "start it, or look at its log and its /readyz; what it is asked waits on the bus for 3 days";
                findings.push(Finding::problem(
                    SERVICES,
                    service.as_str(),
                    format!("does not answer: {why}"),
                    advice,
                ));
                continue;
            }
        };
        if status.version != facts.version {
            let found = format!("runs version {}, and this program is {}", status.version, facts.version);
            let advice = "finish the upgrade: services first, then the command lines (docs/operations.md)";
            findings.push(Finding::warning(SERVICES, service.as_str(), found, advice));
        } else if status.unpublished > UNPUBLISHED {
            let found = format!("{} events are decided and not on the bus yet", status.unpublished);
            let advice =
                "look at its log: the bus refuses them or is slow; they are in the journal and will come";
            findings.push(Finding::warning(SERVICES, service.as_str(), found, advice));
        } else {
            well.push(format!("{service} #{}", status.revision));
        }
    }
    or_all_well(findings, SERVICES, || {
        format!("{} answer, version {}: {}", well.len(), facts.version, well.join(", "))
    })
}

/// Whether somebody decides for each service, and since when.
pub(super) fn leaders(facts: &Facts) -> Vec<Finding> {
    const LEADERS: &str = "leaders";
    let leases = match &facts.leases {
        Ok(leases) => leases,
        Err(why) => return vec![Finding::unknown(LEADERS, "", why)],
    };
    let (mut findings, mut well) = (Vec::new(), Vec::new());
    for service in Service::ALL {
        let advice = "start an instance of it, or look at the log of those that run: the lease is taken by the first that can";
        match leases.get(&bucket::service_lease(service)) {
            None => findings.push(Finding::problem(LEADERS, service.as_str(), "nobody leads", advice)),
            Some((holder, given_at)) if holder.is_empty() => {
                let ago = age(*given_at, facts.bus_now());
                let found = format!("nobody leads since {ago}, when its lease was given away");
                findings.push(Finding::problem(LEADERS, service.as_str(), found, advice));
            }
            Some((holder, renewed_at)) => {
                let silent = facts.bus_now().duration_since(*renewed_at);
                if silent > RENEWED {
                    let found = format!("its leader has not renewed the lease for {}", seconds(silent));
                    findings.push(Finding::problem(LEADERS, service.as_str(), found, advice));
                } else {
                    well.push(format!("{service} {}", since(holder, facts.now)));
                }
            }
        }
    }
    or_all_well(findings, LEADERS, || format!("each service has one: {}", well.join(", ")))
}

/// A holder is named by an id that was drawn when it began to want the lease.
fn since(holder: &str, now: Timestamp) -> String {
    let id = uuid::Uuid::parse_str(holder).ok();
    let drawn = id.and_then(|id| id.get_timestamp()).and_then(|time| {
        let (seconds, nanos) = time.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
    });
    let short = holder.rsplit('-').next().unwrap_or(holder);
    drawn.map_or_else(|| short.to_owned(), |drawn| format!("{short} (candidate for {})", age(drawn, now)))
}

/// Whether what waits for each is taken.
pub(super) fn lag(facts: &Facts) -> Vec<Finding> {
    const LAG: &str = "lag";
    let (mut findings, mut waiting) = (Vec::new(), 0);
    for (service, consumer, lag) in &facts.consumers {
        match lag {
            Err(why) => findings.push(Finding::unknown(LAG, consumer.clone(), why)),
            Ok(None) => {
                let found = format!("there is no such consumer: {service} never ran on this bus");
                findings.push(Finding::problem(
                    LAG,
                    consumer.clone(),
                    found,
                    "start the service: it makes its consumer",
                ));
            }
            Ok(Some(lag)) => {
                waiting += lag.pending;
                let runs = facts.services.iter().any(|(of, status)| of == service && status.is_ok());
                findings.extend(one(consumer, lag, runs));
            }
        }
    }
    or_all_well(findings, LAG, || format!("{waiting} commands wait, none was delivered twice"))
}

fn one(consumer: &str, lag: &Lag, runs: bool) -> Option<Finding> {
    const LAG: &str = "lag";
    if lag.pending > 0 && !runs {
        let found = format!("{} commands wait, and nobody takes them", lag.pending);
        return Some(Finding::problem(
            LAG,
            consumer,
            found,
            "start the service: it takes them in their order",
        ));
    }
    if lag.pending > WAITING {
        let found = format!("{} commands wait", lag.pending);
        let advice = "look at the service's log and at its database: each batch waits for the disk";
        return Some(Finding::warning(LAG, consumer, found, advice));
    }
    if lag.redelivered > 0 {
        let found = format!("{} commands were delivered more than once and are not settled", lag.redelivered);
        let advice = "look at the service's log: it was killed with them in hand, its database is away, or one makes it panic";
        return Some(Finding::warning(LAG, consumer, found, advice));
    }
    None
}
