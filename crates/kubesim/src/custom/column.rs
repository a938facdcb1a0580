//! The columns that a definition adds to tables.

use serde_json::{Value, json};
use serde_json_path::JsonPath;

use crate::object::{items, text};

#[derive(Debug)]
pub(crate) struct Column {
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub of_type: String,
    pub format: String,
    pub description: String,
    /// From 1 on, only wide tables show it.
    pub priority: i64,
    path: JsonPath,
}

impl Column {
    /// The columns of a version, or which path cannot be read.
    pub(super) fn all(version: &Value) -> Result<Vec<Self>, String> {
        items(version, "/additionalPrinterColumns").iter().map(Self::one).collect()
    }

    fn one(column: &Value) -> Result<Self, String> {
        let path = text(column, "/jsonPath");
        let wrong = |why: &str| format!("{path:?}: {why}");
        if !path.starts_with('.') {
            return Err(wrong("must begin with a dot"));
        }
        Ok(Self {
            name: text(column, "/name").to_owned(),
            of_type: text(column, "/type").to_owned(),
            format: text(column, "/format").to_owned(),
            description: text(column, "/description").to_owned(),
            priority: column["priority"].as_i64().unwrap_or(0),
            path: JsonPath::parse(&format!("${path}")).map_err(|error| wrong(&error.to_string()))?,
        })
    }

    /// What the object has there, as the cell of a table; nothing when it is of another type than the column.
    pub(crate) fn cell(&self, object: &Value) -> Value {
        let Some(found) = self.path.query(object).first() else { return Value::Null };
        match (self.of_type.as_str(), found) {
            ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => found.clone(),
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("date", Value::String(_)) => {
                found.clone()
            }
            ("string", Value::String(_)) => found.clone(),
            ("string", other) => json!(other.to_string()),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_of_the_type_of_their_column() {
        let object = json!({"spec": {"size": 3, "name": "a"}, "status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]}});
        for (path, of_type, expected) in [
            (".spec.size", "integer", json!(3)),
            (".spec.size", "string", json!("3")),
            (".spec.name", "integer", Value::Null),
            (".spec.nothing", "string", Value::Null),
            (".status.conditions[?(@.type==\"Old\")].status", "string", json!("False")),
            (".status.conditions[0].type", "string", json!("Ready")),
        ] {
            let column = Column::one(&json!({"name": "x", "type": of_type, "jsonPath": path})).expect(path);
            assert_eq!(column.cell(&object), expected, "{path} as {of_type}");
        }
        assert!(Column::one(&json!({"jsonPath": "spec.size"})).is_err());
        assert!(Column::one(&json!({"jsonPath": ".spec[?"})).is_err());
    }
}
