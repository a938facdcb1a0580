//! What the command line makes of the bytes of strangers, as functions of the bytes alone: the seam of the fuzz targets.

use std::str::FromStr;

use bcs_schemas::resource::Resource;
use serde_json::Value;

use crate::{
    audit::{self, Chain, Entry},
    document::{self, Setting},
    plan::Plan,
};

/// The documents of `bcs apply -f`, with what `--set` says.
pub fn resources(text: &str, settings: &[&str]) -> Result<Vec<Resource>, Vec<String>> {
    let settings: Result<Vec<Setting>, String> =
        settings.iter().map(|text| Setting::from_str(text)).collect();
    document::read(text, &settings.map_err(|mistake| vec![mistake])?)
}

/// The plan of `bcs apply --from-plan`, as it would be written again, and how many of its commands would be refused.
pub fn plan(text: &str) -> Result<(String, usize), String> {
    let plan = Plan::read(text)?;
    let refusals = plan.refusals().count();
    serde_json::to_string_pretty(&plan).map(|text| (text, refusals)).map_err(|e| e.to_string())
}

/// How many decisions a file of `bcs audit verify` holds.
pub fn audit(bytes: &[u8]) -> Result<u64, String> {
    audit::verify(bytes).map(|chain| chain.events())
}

/// The file that `bcs audit export` writes of these decisions.
pub fn audit_of(decisions: &[Value]) -> Result<String, serde_json::Error> {
    let mut chain = Chain::new();
    let mut text = chain.line(Entry::Begin(Value::Null))?;
    for decision in decisions {
        text.push_str(&chain.line(Entry::Event(decision.clone()))?);
    }
    text.push_str(&chain.end()?);
    Ok(text)
}
