//! A plan for people: each object with what differs, what will happen, and the revision that it was planned on.

use serde_json::Value;

use super::{
    change::Kind,
    diff::{Line, diff},
    document::{Plan, Step},
};
use crate::{Failure, color, output, output::Format, session::short};

/// All of it.
pub(super) fn text(plan: &Plan) -> Result<String, Failure> {
    let mut text = String::new();
    for step in &plan.commands {
        text.push_str(&object(step)?);
    }
    let count = |kind| plan.commands.iter().filter(|step| step.change == kind).count();
    let counts = [
        (Kind::Created, "to create"),
        (Kind::Changed, "to change"),
        (Kind::Deleted, "to delete"),
        (Kind::Unchanged, "unchanged"),
        (Kind::Rejected, "rejected"),
    ];
    let counts = counts.map(|(kind, words)| (count(kind), words));
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{n} {words}")).collect();
    text.push_str(&format!("{}: {}; nothing was done\n", color::strong("plan"), counts.join(", ")));
    Ok(text)
}

fn object(step: &Step) -> Result<String, Failure> {
    let (sign, word) = match step.change {
        Kind::Created => ("+", "would be created"),
        Kind::Changed => ("~", "would be changed"),
        Kind::Deleted => ("-", "would be deleted"),
        Kind::Unchanged => ("=", "stays as it is"),
        Kind::Rejected => ("!", "would be rejected"),
    };
    let base = step.base_revision.map(|base| format!(" (planned on revision {base})")).unwrap_or_default();
    let mut text = format!("{sign} {} {word}{base}\n", color::strong(&short(&step.wish.object)));
    let (before, after) = (yaml(step.before.as_ref())?, yaml(step.after.as_ref())?);
    // What is to go goes as a whole: that it goes is all there is to say.
    let lines = if step.change == Kind::Deleted { Vec::new() } else { diff(&before, &after) };
    for line in lines {
        let line = match line {
            Line::Both(line) => format!("      {line}"),
            Line::Before(line) => color::removed(&format!("    - {line}")),
            Line::After(line) => color::added(&format!("    + {line}")),
        };
        text.push_str(&line);
        text.push('\n');
    }
    for effect in &step.effects {
        text.push_str(&format!("    {effect}\n"));
    }
    Ok(text)
}

fn yaml(value: Option<&Value>) -> Result<String, Failure> {
    value.map_or_else(|| Ok(String::new()), |value| output::text(Format::Yaml, value))
}
