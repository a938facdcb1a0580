//! Tables: a healthy installation, one thing that is not well with it, and what is said of that.

use std::{collections::BTreeMap, time::Duration};

use bcs_kit::bus::{
    Deviation,
    survey::{Allowed, Found, Lag, Me, Room, Server, Subjects, catalogue},
};
use bcs_schemas::{Name, Service, bucket, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::examine;
use crate::doctor::{
    Finding, Verdict,
    facts::{At, Facts},
    worst,
};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("an instant")
}

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("has the form")
}

fn status(service: Service) -> bcs_schemas::query::ServiceStatus {
    read(
        json!({ "service": service, "version": "9.9.9", "started_at": at(-600), "revision": 7, "unpublished": 0,
        "commands": 3, "quarantined": 0 }),
    )
}

fn heartbeat() -> bcs_schemas::observation::ClusterHealth {
    let none = json!({ "cpu_millis": 0, "memory_bytes": 0, "instances": 0 });
    read(json!({ "cluster": "sim-a", "reachable": true, "synced": true, "nodes": 3, "nodes_ready": 3,
        "capacity": none, "observed_at": at(-1) }))
}

fn cluster() -> bcs_schemas::query::ClusterView {
    read(
        json!({ "name": "sim-a", "labels": {}, "generation": 1, "revision": 1, "health": "healthy", "since": at(-600),
        "spec": { "kubeconfig": { "file": "/x" } },
        "nodes": 3, "nodes_ready": 3, "capacity": { "cpu_millis": 0, "memory_bytes": 0, "instances": 0 } }),
    )
}

fn registry() -> bcs_schemas::observation::RegistryStatus {
    read(
        json!({ "cluster": "sim-a", "registry": "dns", "driver": "etcd", "reachable": true, "epoch": 1, "entries": 4,
        "pending": 0, "drift_repaired": 0, "observed_at": at(-1) }),
    )
}

/// An installation of which nothing is to be said.
fn healthy() -> Facts {
    let found = Found { copies: 1, led: true, ..Found::default() };
    let parts = catalogue().iter().map(|part| (part.stream(), Ok(Some(found.clone())))).collect();
    let consumers =
        Service::ALL.map(|service| (service, stream::command_consumer(service), Ok(Some(Lag::default()))));
    let answered = |service| At { answer: status(service), theirs: at(0), ours: at(0) };
    let leases = Service::ALL.map(|service| (bucket::service_lease(service), ("holder".to_owned(), at(-1))));
    Facts {
        url: "nats://bus:4222".to_owned(),
        version: "9.9.9",
        place: (name("local"), name("demo")),
        now: at(0),
        server: Server { version: "2.15.1".to_owned(), jetstream: true, ..Server::default() },
        round_trip: Ok(Duration::from_millis(1)),
        certificates: vec![("bus:4222".to_owned(), Ok(at(397 * DAY)))],
        me: Ok(At { answer: Me::default(), theirs: at(0), ours: at(0) }),
        parts,
        room: Ok(Room::default()),
        consumers: consumers.to_vec(),
        services: Service::ALL.map(|service| (service, Ok(answered(service)))).to_vec(),
        leases: Ok(BTreeMap::from(leases)),
        clusters: Ok(vec![cluster()]),
        heartbeats: Ok(BTreeMap::from([("sim-a".to_owned(), (heartbeat(), at(-1)))])),
        registries: Ok(BTreeMap::from([("sim-a.dns".to_owned(), (registry(), at(-1)))])),
    }
}

const DAY: i64 = 86_400;

/// What is not well after a change.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    examine(&facts).into_iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
}

/// Exactly one thing is not well after a change: this one.
#[track_caller]
fn one(verdict: Verdict, about: &str, words: &str, change: impl FnOnce(&mut Facts)) {
    let findings = after(change);
    let [finding] = findings.as_slice() else { panic!("expected one finding: {findings:#?}") };
    let path = format!("{}/{}", finding.check, finding.about);
    assert_eq!((finding.verdict, path.as_str()), (verdict, about), "{finding:?}");
    assert!(finding.found.contains(words), "{words:?} is not in {:?}", finding.found);
    assert!(finding.advice.is_some(), "nothing to do is said");
}

fn part(facts: &mut Facts, name: &str, change: impl FnOnce(&mut Found)) {
    let found = facts.parts.get_mut(name).expect("is in the catalogue");
    change(found.as_mut().expect("was asked").as_mut().expect("exists"));
}

fn beat(facts: &mut Facts) -> &mut (bcs_schemas::observation::ClusterHealth, Timestamp) {
    facts.heartbeats.as_mut().expect("were asked").get_mut("sim-a").expect("is there")
}

fn kept(facts: &mut Facts) -> &mut (bcs_schemas::observation::RegistryStatus, Timestamp) {
    facts.registries.as_mut().expect("were asked").get_mut("sim-a.dns").expect("is there")
}

#[test]
fn of_a_healthy_installation_every_check_says_ok() {
    let findings = examine(&healthy());
    assert_eq!(worst(&findings), Verdict::Ok, "{findings:#?}");
    let checks: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
    let all = [
        "bus",
        "server",
        "certificate",
        "rights",
        "streams",
        "room",
        "quarantine",
        "services",
        "leaders",
        "lag",
        "clusters",
    ];
    assert_eq!(checks, [&all[..], &["registries", "clock"]].concat());
}

#[test]
fn a_certificate_is_spoken_of_before_it_ends() {
    use Verdict::{Problem, Unknown, Warning};
    let other = |f: &mut Facts, until| f.certificates.push(("other:4222".to_owned(), until));
    assert!(after(|f| other(f, Ok(at(31 * DAY)))).is_empty());
    assert!(after(|f| f.certificates.clear()).is_empty());
    one(Warning, "certificate/other:4222", "holds until", |f| other(f, Ok(at(29 * DAY))));
    one(Problem, "certificate/other:4222", "holds until", |f| other(f, Ok(at(6 * DAY))));
    one(Unknown, "certificate/other:4222", "no answer", |f| other(f, Err("no answer".to_owned())));
}

#[test]
fn what_is_not_well_with_the_bus_is_said() {
    use Verdict::{Problem, Unknown, Warning};
    one(Warning, "bus/", "400 ms", |f| f.round_trip = Ok(Duration::from_millis(400)));
    one(Problem, "bus/", "was silent", |f| f.round_trip = Err("no answer".to_owned()));
    one(Problem, "server/", "older than 2.14", |f| f.server.version = "2.9.1".to_owned());
    one(Problem, "server/", "keeps no streams", |f| f.server.jetstream = false);
    one(Problem, "streams/EVT_DEPLOY", "does not exist", |f| {
        f.parts.insert("EVT_DEPLOY".to_owned(), Ok(None));
    });
    one(Problem, "streams/KV_nodes", "max_age is 9s, expected 0ns", |f| {
        part(f, "KV_nodes", |found| {
            let (found_it, wanted) = ("9s".to_owned(), "0ns".to_owned());
            found.deviations =
                vec![Deviation { setting: "max_age", found: found_it, wanted, mendable: true }];
        });
    });
    one(Problem, "streams/CMD_DEPLOY", "no copy leads", |f| part(f, "CMD_DEPLOY", |found| found.led = false));
    one(Warning, "streams/CMD_DEPLOY", "bus-2", |f| {
        part(f, "CMD_DEPLOY", |found| found.behind = vec!["bus-2".to_owned()]);
    });
    one(Warning, "streams/", "fewer than 3 copies", |f| f.server.cluster = Some("bcs".to_owned()));
    one(Unknown, "streams/EVT_DEPLOY", "no answer", |f| {
        f.parts.insert("EVT_DEPLOY".to_owned(), Err("no answer".to_owned()));
    });
    let filled = |bytes| {
        move |found: &mut Found| (found.max_bytes, found.bytes, found.refuses) = (Some(100), bytes, true)
    };
    one(Warning, "room/CMD_DEPLOY", "85 %", |f| part(f, "CMD_DEPLOY", filled(85)));
    one(Problem, "room/CMD_DEPLOY", "99 %", |f| part(f, "CMD_DEPLOY", filled(99)));
    one(Problem, "room/", "the account holds", |f| {
        f.room = Ok(Room { used: 90, reserved: 0, limit: Some(100) });
    });
    one(Problem, "quarantine/", "2 messages", |f| part(f, "DLQ", |found| found.messages = 2));
}

#[test]
fn what_is_not_well_with_services_is_said() {
    use Verdict::{Problem, Warning};
    one(Problem, "services/deploy", "does not answer", |f| f.services[1].1 = Err("nobody".to_owned()));
    one(Warning, "services/deploy", "9.9.8", |f| {
        f.services[1].1.as_mut().expect("answered").answer.version = "9.9.8".to_owned();
    });
    one(Warning, "services/deploy", "5000 events", |f| {
        f.services[1].1.as_mut().expect("answered").answer.unpublished = 5_000;
    });
    let lease = |holder: &'static str, seconds| {
        move |f: &mut Facts| {
            let leases = f.leases.as_mut().expect("were asked");
            leases.insert("service.deploy".to_owned(), (holder.to_owned(), at(seconds)));
        }
    };
    one(Problem, "leaders/deploy", "given away", lease("", -60));
    one(Problem, "leaders/deploy", "not renewed", lease("holder", -60));
    one(Problem, "leaders/deploy", "nobody leads", |f| {
        f.leases.as_mut().expect("were asked").remove("service.deploy");
    });
    let lag = |pending, redelivered| {
        move |f: &mut Facts| f.consumers[1].2 = Ok(Some(Lag { pending, unsettled: 0, redelivered }))
    };
    one(Warning, "lag/deploy-commands", "5000 commands wait", lag(5_000, 0));
    one(Warning, "lag/deploy-commands", "more than once", lag(0, 3));
    one(Problem, "lag/deploy-commands", "never ran", |f| f.consumers[1].2 = Ok(None));
    let findings = after(|f| {
        f.services[1].1 = Err("nobody".to_owned());
        f.consumers[1].2 = Ok(Some(Lag { pending: 1, ..Lag::default() }));
    });
    assert!(findings.iter().any(|f| f.check == "lag" && f.verdict == Problem), "{findings:#?}");
}

#[test]
fn what_is_not_well_outside_is_said() {
    use Verdict::{Problem, Warning};
    one(Problem, "clusters/sim-a", "silent for 60.0 s", |f| *beat(f) = (heartbeat_at(-60), at(-60)));
    one(Problem, "clusters/sim-a", "connection refused", |f| {
        let beat = &mut beat(f).0;
        (beat.reachable, beat.reason) = (false, Some("connection refused".to_owned()));
    });
    one(Warning, "clusters/sim-a", "not seen everything", |f| beat(f).0.synced = false);
    one(Warning, "clusters/sim-a", "1 of 3 nodes", |f| beat(f).0.nodes_ready = 2);
    one(Problem, "clusters/sim-a", "never heard", |f| f.heartbeats.as_mut().expect("were asked").clear());
    let health = |health: bcs_schemas::cluster::Health| {
        move |f: &mut Facts| f.clusters.as_mut().expect("were asked")[0].health = health
    };
    one(Warning, "clusters/sim-a", "Suspect", health(bcs_schemas::cluster::Health::Suspect));
    one(Problem, "clusters/sim-a", "Failed", health(bcs_schemas::cluster::Health::Failed));
    one(Problem, "registries/sim-a.dns", "silent for", |f| kept(f).1 = at(-60));
    one(Problem, "registries/sim-a.dns", "no route", |f| {
        let status = &mut kept(f).0;
        (status.reachable, status.reason) = (false, Some("no route".to_owned()));
    });
    one(Warning, "registries/sim-a.dns", "refuses 2 entries", |f| kept(f).0.quarantined = 2);
    one(Warning, "registries/sim-a.dns", "3 changes wait, the oldest for 90.0 s", |f| {
        let status = &mut kept(f).0;
        (status.pending, status.oldest_pending_since) = (3, Some(at(-90)));
    });
}

fn heartbeat_at(seconds: i64) -> bcs_schemas::observation::ClusterHealth {
    bcs_schemas::observation::ClusterHealth { observed_at: at(seconds), ..heartbeat() }
}

#[test]
fn clocks_that_are_apart_are_named() {
    use Verdict::{Problem, Unknown, Warning};
    // Heartbeats and leases are dated by the bus, so only the clock is wrong.
    one(Warning, "clock/agent of sim-a", "10.0 s ahead of the bus", |f| beat(f).0.observed_at = at(9));
    one(Warning, "clock/agent of sim-a", "60.0 s behind the bus", |f| beat(f).0.observed_at = at(-61));
    one(Problem, "clock/agent of sim-a", "at 35 s it refuses", |f| beat(f).0.observed_at = at(29));
    one(Problem, "clock/agent of sim-a", "it refuses every step", |f| beat(f).0.observed_at = at(39));
    one(Warning, "clock/service network", "8.0 s ahead", |f| {
        f.services[2].1.as_mut().expect("answered").theirs = at(8);
    });
    let findings = after(|f| {
        // This machine is a minute late: everybody else agrees with the bus.
        f.now = at(-60);
        f.me.as_mut().expect("answered").ours = at(-60);
        for (_, status) in &mut f.services {
            status.as_mut().expect("answered").ours = at(-60);
        }
    });
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((finding.about.as_str(), finding.verdict), ("this machine", Warning));
    assert!(finding.found.contains("60.0 s behind the bus"), "{}", finding.found);
    let silent = after(|f| f.me = Err("no answer".to_owned()));
    let verdicts: Vec<_> = silent.iter().map(|finding| (finding.check, finding.verdict)).collect();
    assert_eq!(verdicts, [("rights", Warning), ("clock", Unknown)]);
    assert_eq!(healthy().bus_now(), at(0));
    assert_eq!(SignedDuration::ZERO, healthy().me.expect("answered").ahead());
}

#[test]
fn who_has_few_rights_is_told_which_and_nothing_is_green_that_was_not_asked() {
    let publish = vec!["bcs.cmd.*.local.demo.>".to_owned()];
    let few = Allowed { publish: Subjects { allow: publish, deny: Vec::new() }, ..Allowed::default() };
    let refused = || "this user may not publish on x".to_owned();
    let findings = after(|f| {
        f.server.keys = true;
        f.me.as_mut().expect("answered").answer.rights = Some(few);
        f.parts.values_mut().for_each(|part| *part = Err(refused()));
        (f.room, f.leases, f.clusters) = (Err(refused()), Err(refused()), Err(refused()));
        (f.heartbeats, f.registries) = (Err(refused()), Err(refused()));
        f.services.iter_mut().for_each(|(_, status)| *status = Err(refused()));
        f.consumers.iter_mut().for_each(|(_, _, lag)| *lag = Err(refused()));
    });
    let rights = &findings[0];
    assert_eq!((rights.check, rights.verdict), ("rights", Verdict::Warning));
    assert!(rights.found.contains("look at streams and buckets"), "{}", rights.found);
    assert!(!rights.found.contains("command the project's applications"), "{}", rights.found);
    assert!(findings[1..].iter().all(|finding| finding.verdict == Verdict::Unknown), "{findings:#?}");
    for check in ["streams", "room", "quarantine", "services", "leaders", "lag", "clusters", "registries"] {
        assert!(findings.iter().any(|finding| finding.check == check), "nothing is said of {check}");
    }
}
