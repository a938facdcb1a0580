//! Streams and buckets: there, as they have to be, with room left, and quarantine empty.

use bcs_kit::bus::survey::Found;
use bcs_schemas::stream;

use super::or_all_well;
use crate::doctor::{Finding, Verdict, facts::Facts};

const STREAMS: &str = "streams";
const ROOM: &str = "room";
/// Share of a limit, in percent, from which somebody should look.
const FILLING: u64 = 80;
/// From which it is about to be full.
const FULL: u64 = 95;

/// Whether each is there with the settings that it must have, with a leader, and with copies that keep up.
pub(super) fn settings(facts: &Facts) -> Vec<Finding> {
    if let Some(Err(why)) = facts.parts.values().next()
        && facts.parts.values().all(Result::is_err)
    {
        return vec![Finding::unknown(STREAMS, "", why)];
    }
    let mut findings = Vec::new();
    for (name, found) in &facts.parts {
        match found {
            Ok(Some(found)) => findings.extend(setting(name, found)),
            Ok(None) => findings.push(Finding::problem(
                STREAMS,
                name.clone(),
                "does not exist",
                "make it with `bcs bus apply`. What it held is gone: a bucket is filled again by agents and sidecars (restart them if \
                 not), events of before are in the journals alone (`bcs history`); commands without outcome must be sent again",
            )),
            Err(why) => findings.push(Finding::unknown(STREAMS, name.clone(), why)),
        }
    }
    let copies: std::collections::BTreeSet<usize> =
        facts.parts.values().flatten().flatten().map(|found| found.copies).collect();
    if facts.server.cluster.is_some() && copies.iter().any(|copies| *copies < 3) {
        let found = "the bus is a cluster, and some streams have fewer than 3 copies: they stand still with their server";
        findings.push(Finding::warning(STREAMS, "", found, "`bcs bus apply --replicas 3`"));
    }
    or_all_well(findings, STREAMS, || {
        let copies: Vec<String> = copies.iter().map(usize::to_string).collect();
        format!(
            "{} streams and buckets are as they have to be, copies of each: {}",
            facts.parts.len(),
            copies.join(" or ")
        )
    })
}

fn setting(name: &str, found: &Found) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !found.deviations.is_empty() {
        let each =
            found.deviations.iter().map(|d| format!("{} is {}, expected {}", d.setting, d.found, d.wanted));
        let each = each.collect::<Vec<_>>().join("; ");
        let advice = if found.deviations.iter().all(|deviation| deviation.mendable) {
            "`bcs bus apply` sets it right and loses nothing; find out who changed it"
        } else {
            "the server cannot change that: back it up, delete it, `bcs bus apply`, and restore (docs/operations.md)"
        };
        findings.push(Finding::problem(STREAMS, name, each, advice));
    }
    if !found.led {
        let advice = "start the servers of the bus that are away: more than half of them are needed";
        findings.push(Finding::problem(STREAMS, name, "no copy leads: it takes nothing", advice));
    } else if !found.behind.is_empty() {
        let words = format!("copies are away or behind: {}", found.behind.join(", "));
        let advice = "look whether these servers run; a copy that was away catches up by itself";
        findings.push(Finding::warning(STREAMS, name, words, advice));
    }
    findings
}

/// Whether limits are near: those of streams that refuse what is new, and that of the account.
pub(super) fn room(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut held, mut fullest) = (0, 0);
    for (name, found) in &facts.parts {
        let Ok(Some(found)) = found else { continue };
        held += found.bytes;
        let Some(limit) = found.max_bytes else { continue };
        let percent = percent(found.bytes, limit);
        fullest = fullest.max(percent);
        if !found.refuses || percent < FILLING {
            // Streams of events drop the oldest, which journals keep.
            continue;
        }
        let verdict = if percent >= FULL { Verdict::Problem } else { Verdict::Warning };
        let words = format!("is full to {percent} %, and refuses messages when it is full");
        let advice = "messages go by their age (3 days): find out who sends so many, with `bcs events` and `bcs history`";
        findings.push(Finding {
            check: ROOM,
            about: name.clone(),
            verdict,
            found: words,
            advice: Some(advice.to_owned()),
        });
    }
    match &facts.room {
        Err(why) if facts.parts.values().all(Result::is_err) => {
            findings.push(Finding::unknown(ROOM, "", why))
        }
        Ok(room) => {
            if let Some(limit) = room.limit.filter(|limit| percent(room.used, *limit) >= FILLING) {
                let words = format!("the account holds {} of {}", size(room.used), size(limit));
                let advice = "give nats-server more disk and a larger jetstream.max_file";
                findings.push(Finding::problem(ROOM, "", words, advice));
            }
        }
        Err(_) => (),
    }
    let reserved = facts
        .room
        .as_ref()
        .ok()
        .map_or_else(String::new, |room| format!(" of {} set aside", size(room.reserved)));
    or_all_well(findings, ROOM, || {
        format!("streams and buckets hold {}{reserved}; the fullest is at {fullest} %", size(held))
    })
}

fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{} KiB", bytes >> 10),
        1_048_576..=10_737_418_239 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// Whether anything lies in quarantine.
pub(super) fn quarantine(facts: &Facts) -> Vec<Finding> {
    const QUARANTINE: &str = "quarantine";
    let finding = match facts.parts.get(stream::QUARANTINE) {
        Some(Ok(Some(found))) if found.messages == 0 => Finding::ok(QUARANTINE, "", "is empty"),
        Some(Ok(Some(found))) => Finding::problem(
            QUARANTINE,
            "",
            format!("{} messages could be neither handled nor answered", found.messages),
            "look at each with `bcs dlq ls` and `bcs dlq show NUMBER`, mend the cause, then `bcs dlq replay` or `bcs dlq drop` it",
        ),
        Some(Err(why)) => Finding::unknown(QUARANTINE, "", why),
        Some(Ok(None)) | None => Finding::unknown(QUARANTINE, "", "there is none on this bus"),
    };
    vec![finding]
}
