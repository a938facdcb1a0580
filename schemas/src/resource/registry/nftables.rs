//! Sets of nftables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Member;
use crate::FieldError;

/// How the packet filter of this host is reached and which of its sets are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NftablesDriver {
    /// The program `nft` and what comes before its own arguments, such as `["nsenter", "--net=/run/netns/edge", "nft"]`. No
    /// shell reads it.
    #[serde(default = "default_command")]
    pub command: Vec<String>,
    /// Family and name of the table; made if it is missing.
    #[serde(default = "default_table")]
    pub table: String,
    /// Name of the sets of an application, to which `_v4` and `_v6` are added; made if they are missing. `{app}`, `{project}` and
    /// `{cluster}` stand for themselves.
    #[serde(default = "default_set")]
    pub set: String,
    /// What an element is.
    #[serde(default)]
    pub member: Member,
}

fn default_command() -> Vec<String> {
    vec!["nft".to_owned()]
}

fn default_table() -> String {
    "inet bcs".to_owned()
}

fn default_set() -> String {
    "{project}_{app}".to_owned()
}

/// What can be named in a file of rules, so that what was saved can be loaded again.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && text.len() <= 100
}

impl NftablesDriver {
    /// Family and name of the table.
    pub fn table(&self) -> (&str, &str) {
        self.table.split_once(' ').unwrap_or((&self.table, ""))
    }

    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        if self.command.first().is_none_or(String::is_empty) {
            refuse("command", "names no program: expected such as [\"nft\"]".to_owned());
        }
        let (family, table) = self.table();
        if !["inet", "ip", "ip6", "bridge", "netdev"].contains(&family) || !is_name(table) {
            refuse("table", format!("{:?}: expected a family and a name, such as inet bcs", self.table));
        }
        let rendered =
            ["{app}", "{project}", "{cluster}"].iter().fold(self.set.clone(), |set, p| set.replace(p, "x"));
        if !self.set.contains("{app}") || !is_name(&rendered) {
            refuse("set", format!("{:?}: expected a template such as {{project}}_{{app}}", self.set));
        } else if rendered.starts_with("bcs_owner_") || rendered.starts_with("bcs_epoch_") {
            refuse(
                "set",
                format!("{:?}: the sidecar keeps what it must know in sets of such names", self.set),
            );
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_could_not_name_is_refused_with_the_field() {
        let read = |settings: serde_json::Value| {
            let driver: NftablesDriver = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            let errors: Vec<String> = driver.validate().iter().map(ToString::to_string).collect();
            if errors.is_empty() { Ok(driver) } else { Err(errors.join("; ")) }
        };
        let whole = read(serde_json::json!({})).expect("everything has a default");
        assert_eq!((whole.table(), &*whole.set), (("inet", "bcs"), "{project}_{app}"));
        for (settings, words) in [
            (serde_json::json!({ "command": [] }), "command: names no program"),
            (serde_json::json!({ "command": "nft" }), "invalid type"),
            (serde_json::json!({ "table": "inet" }), "expected a family and a name"),
            (serde_json::json!({ "table": "arp bcs" }), "table: \"arp bcs\""),
            (serde_json::json!({ "table": "inet a; flush ruleset" }), "table: "),
            (serde_json::json!({ "set": "{project}" }), "set: \"{project}\""),
            (serde_json::json!({ "set": "9{app}" }), "set: \"9{app}\""),
            (serde_json::json!({ "set": "bcs_epoch_{app}" }), "the sidecar keeps"),
            (serde_json::json!({ "member": "host" }), "unknown variant"),
        ] {
            let error = read(settings).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
