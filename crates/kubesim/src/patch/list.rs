//! What identifies an item of a keyed list.

use serde_json::{Map, Value};

use crate::schema::Schema;

/// Its keys; one that it leaves out is what the schema says.
pub(super) fn identity(item: Schema, keys: &[&str], value: &Value) -> Map<String, Value> {
    let part = |key: &&str| {
        let value = value.get(*key).or_else(|| item.default(key))?;
        Some(((*key).to_owned(), value.clone()))
    };
    keys.iter().filter_map(part).collect()
}
