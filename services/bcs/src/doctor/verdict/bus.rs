//! The server, who we are for it, and whether all clocks agree.

use std::time::Duration;

use jiff::SignedDuration;

use super::{or_all_well, seconds};
use crate::doctor::{
    Finding,
    facts::{At, Facts},
    need,
};

/// With less than this left, `bcs bus credentials` makes a new certificate.
const RENEWED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// With less than this left, nobody should wait for it any more.
const ENDS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Oldest server whose stream settings we use.
const OLDEST: (u32, u32) = (2, 14);
/// A way to the bus and back that is longer slows every command down.
const SLOW: Duration = Duration::from_millis(250);
/// An agent refuses a step that comes later than this after it was asked for, by its own clock.
const REFUSED: SignedDuration = SignedDuration::from_secs(35);
/// Soon it will refuse.
const NEARLY: SignedDuration = SignedDuration::from_secs(25);
/// Clocks that somebody keeps are nearer to each other than this.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// Reached, trusted, of a version that is known, keeping streams.
pub(super) fn reach(facts: &Facts) -> Vec<Finding> {
    const BUS: &str = "bus";
    let server = &facts.server;
    let how = match (server.tls, server.keys) {
        (true, true) => "TLS, with a key",
        (true, false) => "TLS, without a key",
        (false, true) => "without TLS, with a key",
        (false, false) => "without TLS and keys",
    };
    let mut findings = vec![match &facts.round_trip {
        Ok(trip) if *trip > SLOW => Finding::warning(
            BUS,
            "",
            format!(
                "{} is reached ({how}), and the way there and back takes {} ms",
                facts.url,
                trip.as_millis()
            ),
            "look at the network between this machine and the bus, and at the load of nats-server",
        ),
        Ok(trip) => Finding::ok(
            BUS,
            "",
            format!(
                "{} is reached ({how}), there and back in {:.1} ms",
                facts.url,
                trip.as_secs_f64() * 1000.0
            ),
        ),
        Err(why) => Finding::problem(
            BUS,
            "",
            format!("{} was reached, and then was silent: {why}", facts.url),
            "look at the log of nats-server, and whether its disk is full",
        ),
    }];
    findings.push(if !server.jetstream {
        let advice = "add a block `jetstream { store_dir: … sync_interval: always }` to the configuration of nats-server";
        Finding::problem("server", "", format!("nats-server {} keeps no streams", server.version), advice)
    } else if number(&server.version) < OLDEST {
        let (major, minor) = OLDEST;
        let advice = "install a newer nats-server, one server after the other";
        let found = format!("nats-server {} is older than {major}.{minor}", server.version);
        Finding::problem("server", "", found, advice)
    } else {
        let cluster = server.cluster.as_ref().map_or_else(
            || "a single server".to_owned(),
            |name| format!("{} of cluster {name}", server.name),
        );
        let durable = "on disk (it does not show sync_interval)";
        Finding::ok("server", "", format!("nats-server {}, {cluster}, keeps streams {durable}", server.version))
    });
    findings
}

fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// How long servers can still be trusted; nothing is said of a bus without TLS.
pub(super) fn certificates(facts: &Facts) -> Vec<Finding> {
    const CERTIFICATE: &str = "certificate";
    let advice = "make a new one (`bcs bus credentials --out DIR --tls --host NAME`), then `nats-server --signal reload`";
    let judged = facts.certificates.iter().map(|(server, until)| {
        let until = match until {
            Ok(until) => *until,
            Err(why) => return Finding::unknown(CERTIFICATE, server, why),
        };
        let left = until.duration_since(facts.now);
        let found = format!("holds until {until}");
        if left < ENDS {
            Finding::problem(CERTIFICATE, server, found, advice)
        } else if left < RENEWED {
            Finding::warning(CERTIFICATE, server, found, advice)
        } else {
            Finding::ok(CERTIFICATE, server, found)
        }
    });
    judged.collect()
}

/// What this user may not do.
pub(super) fn rights(facts: &Facts) -> Vec<Finding> {
    const RIGHTS: &str = "rights";
    let me = match &facts.me {
        Ok(me) => &me.answer,
        Err(why) => {
            let found = format!("the bus does not say who we are: {why}");
            let advice = "make the users' rights anew (`bcs bus credentials --out DIR`), then `nats-server --signal reload`";
            return vec![Finding::warning(RIGHTS, "", found, advice)];
        }
    };
    let Some(rights) = &me.rights else {
        let who = if facts.server.keys { "this user has no limits" } else { "the bus asks nobody who he is" };
        return vec![Finding::ok(RIGHTS, "", format!("{who}: everything may be done"))];
    };
    let (site, project) = &facts.place;
    let lacking: Vec<_> =
        need::needs(site, project).into_iter().filter(|need| need.lacks(rights).is_some()).collect();
    let of_ours: Vec<&str> = lacking.iter().filter(|need| !need.elsewhere).map(|need| need.what).collect();
    let others: Vec<&str> = lacking.iter().filter(|need| need.elsewhere).map(|need| need.what).collect();
    if of_ours.is_empty() {
        let but = if others.is_empty() { String::new() } else { format!("; not: {}", others.join(", ")) };
        return vec![Finding::ok(RIGHTS, "", format!("everything that an operator does may be done{but}"))];
    }
    let found = format!("this user may not: {}", [of_ours, others].concat().join("; "));
    let advice = "what follows can only be told in part: use the context of the operator (`bcs context list`, `--context NAME`)";
    vec![Finding::warning(RIGHTS, "", found, advice)]
}

/// Ours, the services' and the agents', against the bus's. Steps name the time after which they must not be begun.
pub(super) fn clocks(facts: &Facts) -> Vec<Finding> {
    const CLOCK: &str = "clock";
    let Ok(bus) = &facts.me else {
        return vec![Finding::unknown(CLOCK, "", "the bus does not tell its time")];
    };
    let ours = SignedDuration::ZERO - bus.ahead();
    let services = facts.services.iter().filter_map(|(service, status)| {
        let ahead = status.as_ref().ok()?.ahead();
        Some((format!("service {service}"), ahead - bus.ahead()))
    });
    let heartbeats = facts.heartbeats.iter().flatten();
    // Each looks at its clock and then sends: what it says is a moment old when the bus takes it.
    let agents = heartbeats.map(|(cluster, (heartbeat, taken))| {
        (format!("agent of {cluster}"), heartbeat.observed_at.duration_since(*taken))
    });
    let deploy = facts.services.iter().find(|(service, _)| *service == bcs_schemas::Service::Deploy);
    let deploy = deploy.and_then(|(_, status)| status.as_ref().ok()).map(At::ahead);
    let asking = deploy.map_or(SignedDuration::ZERO, |ahead| ahead - bus.ahead());
    let all: Vec<(String, SignedDuration)> =
        std::iter::once(("this machine".to_owned(), ours)).chain(services).chain(agents).collect();
    let widest = all.iter().map(|(_, ahead)| ahead.abs()).max().unwrap_or_default();
    let findings = all.iter().filter_map(|(who, ahead)| {
        let agent = who.starts_with("agent");
        let from_deploy = *ahead - asking;
        let where_to = if ahead.is_negative() { "behind" } else { "ahead of" };
        let apart = format!("is {} {where_to} the bus", seconds(ahead.abs()));
        if agent && from_deploy > NEARLY {
            let found = format!("{apart}, and {} ahead of deploy", seconds(from_deploy));
            let what = if from_deploy >= REFUSED {
                "it refuses every step"
            } else {
                "at 35 s it refuses every step"
            };
            let advice = "set the clock of its machine (chrony or systemd-timesyncd), and that of deploy's";
            Some(Finding::problem(CLOCK, who.clone(), format!("{found}: {what}"), advice))
        } else if ahead.abs() > APART {
            let advice =
                "set the clocks by one source (chrony or systemd-timesyncd): claims and steps carry times";
            Some(Finding::warning(CLOCK, who.clone(), apart, advice))
        } else {
            None
        }
    });
    or_all_well(findings.collect(), CLOCK, || {
        format!("{} clocks are within {} of the bus's", all.len(), seconds(widest))
    })
}
