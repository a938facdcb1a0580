//! What the server knows of the shape of objects: the OpenAPI of the published types, or of a custom resource. What clients
//! are shown and how patches merge come from the same document.

mod facts;
mod published;

use std::sync::LazyLock;

use serde_json::{Map, Value};

pub(crate) use published::{components, root};

/// Schemas by name, as `$ref` names them.
pub(crate) type Components = Map<String, Value>;

/// The schema of one place in an object. A place of which nothing is known merges as JSON does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    components: &'static Components,
    /// As the field that leads here says; it may add to what the type says.
    field: &'static Value,
    /// As the type of the place says.
    of_type: &'static Value,
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum List {
    /// The list is one value.
    Atomic,
    /// Each item once.
    Set,
    /// By these fields of the items.
    Keys(Vec<&'static str>),
}

static NOTHING: Value = Value::Null;
static NOBODY: LazyLock<Components> = LazyLock::new(Components::new);

impl Schema {
    /// Of which nothing is known.
    pub(crate) fn unknown() -> Self {
        Self { components: &NOBODY, field: &NOTHING, of_type: &NOTHING }
    }

    pub(crate) fn new(components: &'static Components, schema: &'static Value) -> Self {
        Self { components, field: schema, of_type: resolve(components, schema) }
    }

    /// The place that a field of this one leads to.
    pub(crate) fn field(self, name: &str) -> Self {
        let listed = self.of_type.get("properties").and_then(|properties| properties.get(name));
        self.inner(listed.or_else(|| self.of_type.get("additionalProperties")))
    }

    /// The place of each item.
    pub(crate) fn item(self) -> Self {
        self.inner(self.of_type.get("items"))
    }

    fn inner(self, schema: Option<&'static Value>) -> Self {
        Self::new(self.components, schema.unwrap_or(&NOTHING))
    }

    fn extension(self, name: &str) -> Option<&'static Value> {
        self.field.get(name).or_else(|| self.of_type.get(name))
    }

    /// Whether a map or an object is one value, for server-side apply.
    pub(crate) fn is_atomic(self) -> bool {
        self.extension("x-kubernetes-map-type").is_some_and(|is| is == "atomic")
    }

    /// How server-side apply tells the items of a list apart.
    pub(crate) fn list(self) -> List {
        match self.extension("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => List::Set,
            Some("map") => {
                let keys = self.extension("x-kubernetes-list-map-keys").and_then(Value::as_array);
                List::Keys(keys.into_iter().flatten().filter_map(Value::as_str).collect())
            }
            _ => List::Atomic,
        }
    }

    /// The field by which a strategic merge patch tells the items of a list apart; none when it replaces the list.
    pub(crate) fn patch_key(self) -> Option<&'static str> {
        self.extension("x-kubernetes-patch-merge-key").and_then(Value::as_str)
    }

    /// Whether a strategic merge patch adds to a list of plain values.
    pub(crate) fn patch_adds(self) -> bool {
        self.extension("x-kubernetes-patch-strategy").is_some_and(|how| how == "merge")
    }

    /// What an item has that leaves out this field: a port is one of TCP unless it says otherwise.
    pub(crate) fn default(self, field: &str) -> Option<&'static Value> {
        self.field(field).extension("default")
    }
}

/// Follows references; one that stands beside a description is wrapped in `allOf`.
fn resolve(components: &'static Components, mut schema: &'static Value) -> &'static Value {
    loop {
        let reference = match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([only]) => only.get("$ref"),
            _ => schema.get("$ref"),
        };
        let name = reference.and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        match name.and_then(|name| components.get(name)) {
            Some(named) => schema = named,
            None => return schema,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn places_of_published_types_know_how_they_merge() {
        let deployment = kind::DEPLOYMENTS.schema();
        let pod = deployment.field("spec").field("template").field("spec");
        let container = pod.field("containers").item();
        assert_eq!(pod.field("containers").list(), List::Keys(vec!["name"]));
        assert_eq!(container.field("ports").list(), List::Keys(vec!["containerPort", "protocol"]));
        assert_eq!(container.field("ports").patch_key(), Some("containerPort"));
        assert_eq!(container.field("ports").item().default("protocol"), Some(&Value::from("TCP")));
        assert_eq!(container.field("args").list(), List::Atomic);
        assert_eq!(deployment.field("metadata").field("finalizers").list(), List::Set);
        assert!(deployment.field("metadata").field("finalizers").patch_adds());
        assert!(deployment.field("spec").field("selector").is_atomic());
        assert!(!deployment.field("metadata").field("labels").is_atomic());
        assert!(pod.field("nodeSelector").is_atomic());
        assert_eq!(kind::SERVICES.schema().field("spec").field("ports").patch_key(), Some("port"));
        assert_eq!(pod.field("nowhere").field("at").item().list(), List::Atomic);
    }
}
