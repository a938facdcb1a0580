//! A plan as a document: what `-o json` shows and what a file keeps.

use std::path::Path;

use bcs_schemas::{CommandId, Name, outcome::Rejected};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    change::{Expected, Kind},
    wish::Wish,
};
use crate::{Failure, file, session::short};

/// The form of the document. One that is changed so that older programs misread it gets another number.
const VERSION: u32 = 1;

/// What commands would do, each on its own, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The form of this document.
    version: u32,
    /// Identity: the ids of its commands come from it, so that it is carried out once.
    pub(crate) id: CommandId,
    /// Site that it was made for.
    pub(crate) site: Name,
    /// When it was made.
    pub(crate) made_at: Timestamp,
    /// Who made it.
    pub(crate) made_by: String,
    /// The commands, in order.
    pub(crate) commands: Vec<Step>,
}

/// One command of a plan, and what would come of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    #[serde(flatten)]
    pub(crate) wish: Wish,
    /// Revision of the object that it was planned on; none when it would be rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base_revision: Option<u64>,
    /// What becomes of the object.
    pub(crate) change: Kind,
    /// Labels and spec before; none when it does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Value>,
    /// Labels and spec after; none when it is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Value>,
    /// What will happen, one sentence each.
    pub(crate) effects: Vec<String>,
    /// What would be decided.
    pub(crate) events: Vec<Expected>,
    /// A hash of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// Why it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rejected: Option<Rejected>,
}

impl Plan {
    pub(super) fn new(id: CommandId, site: Name, made_at: Timestamp, made_by: &str) -> Self {
        Self { version: VERSION, id, site, made_at, made_by: made_by.to_owned(), commands: Vec::new() }
    }

    /// Id of the command at this place, whenever and by whomever the plan is carried out.
    pub(crate) fn command_id(&self, place: usize) -> CommandId {
        CommandId::derived(&self.id.to_string(), &place.to_string())
    }

    /// What would be refused.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = Failure> {
        let rejected =
            |step: &Step| Some(Failure::rejected(&short(&step.wish.object), step.rejected.as_ref()?));
        self.commands.iter().filter_map(rejected)
    }

    /// Writes it, whole or not at all, readable by its owner.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        let failed = |e: String| Failure::failed(format!("{} cannot be written: {e}", path.display()));
        let text = serde_json::to_string_pretty(self).map_err(|e| failed(e.to_string()))?;
        file::replace(path, format!("{text}\n").as_bytes()).map_err(|e| failed(e.to_string()))
    }

    /// Reads what [`Plan::save`] or `-o json` wrote.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let wrong = |e: String| Failure::usage(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        Self::read(&text).map_err(wrong)
    }

    /// Reads the text of such a file.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}"))?;
        if let Some(version) = value.get("version").filter(|version| **version != VERSION) {
            return Err(format!("version: {version} is not known, expected {VERSION}: make the plan again"));
        }
        let plan: Self = serde_path_to_error::deserialize(value)
            .map_err(|e| format!("is no plan: {}: {}", e.path(), e.inner()))?;
        let based = |step: &Step| step.base_revision.is_some() || step.rejected.is_some();
        match plan.commands.iter().position(|step| !based(step)) {
            Some(place) => Err(format!("commands[{place}].base_revision: is missing")),
            None => Ok(plan),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan() -> Value {
        json!({
            "version": 1, "id": "32a4596b-9a3e-4c55-b3a1-7e5f2a4b9f10", "site": "local",
            "made_at": "2026-11-22T10:00:00Z", "made_by": "ada",
            "commands": [{
                "object": "demo/app/shop-web", "type": "bcs.deploy.app.scale.v1", "payload": { "replicas": 8 },
                "base_revision": 12, "change": "changed", "effects": [],
                "events": [{ "object": "demo/app/shop-web", "type": "bcs.deploy.app.scaled.v1",
                    "payload": { "generation": 2, "replicas": 8, "remove": [] } }],
            }],
        })
    }

    #[test]
    fn a_plan_reads_back_and_its_commands_keep_their_ids() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plan.json");
        let plan: Plan = serde_json::from_value(plan()).expect("is a plan");
        plan.save(&path).expect("writes");
        let read = Plan::load(&path).expect("reads");
        assert_eq!(read, plan);
        assert_eq!(read.command_id(0), plan.command_id(0));
        assert_ne!(read.command_id(0), plan.command_id(1));
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_wrong_in_a_plan_is_named_with_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plan.json");
        for (place, value, words) in [
            ("/version", json!(2), "version: 2 is not known, expected 1"),
            ("/commands/0/object", json!("shop-web"), "commands[0]"),
            ("/commands/0/type", json!("scale"), "commands[0]"),
            ("/commands/0/base_revision", Value::Null, "commands[0].base_revision: is missing"),
            ("/id", json!("seven"), "id: "),
            ("", json!("a plan"), "is no plan"),
        ] {
            let mut document = plan();
            *document.pointer_mut(place).expect("is there") = value;
            std::fs::write(&path, document.to_string()).expect("writes");
            let failure = Plan::load(&path).expect_err(words);
            assert!(failure.message.contains(words) && failure.message.contains("plan.json"), "{failure}");
        }
    }
}
