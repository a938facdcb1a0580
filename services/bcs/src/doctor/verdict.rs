//! What the facts mean. Pure: facts in, findings out.

mod bus;
mod outside;
mod parts;
mod services;
#[cfg(test)]
mod tests;

use super::{Finding, facts::Facts};

/// Every check, in the order in which a person should read them: what others stand on first.
pub(crate) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = bus::reach(facts);
    findings.extend(bus::certificates(facts));
    findings.extend(bus::rights(facts));
    findings.extend(parts::settings(facts));
    findings.extend(parts::room(facts));
    findings.extend(parts::quarantine(facts));
    findings.extend(services::answers(facts));
    findings.extend(services::leaders(facts));
    findings.extend(services::lag(facts));
    findings.extend(outside::clusters(facts));
    findings.extend(outside::registries(facts));
    findings.extend(bus::clocks(facts));
    findings
}

/// Those that are not well, or one that says that all are.
fn or_all_well(
    findings: Vec<Finding>,
    check: &'static str,
    all_well: impl FnOnce() -> String,
) -> Vec<Finding> {
    if findings.is_empty() { vec![Finding::ok(check, "", all_well())] } else { findings }
}

/// `in 3 s`, `1.5 s`: for people who compare it with a limit.
fn seconds(duration: jiff::SignedDuration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
