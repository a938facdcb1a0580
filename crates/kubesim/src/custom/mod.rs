//! Custom resources: what a CustomResourceDefinition says of a kind, and what its objects have to keep to.

mod column;
mod default;
mod definition;
mod prune;
mod rule;
mod validate;

use serde_json::Value;

pub(crate) use self::{
    column::Column,
    default::fill,
    definition::{check, kinds},
    prune::prune,
    validate::{check_change, check_object},
};

/// One version of a custom resource.
#[derive(Debug)]
pub(crate) struct Custom {
    /// The structural schema, with the published one for the metadata.
    pub schema: Value,
    /// Whether the schema fills in anything.
    pub defaults: bool,
    /// The columns of tables beside the name.
    pub columns: Vec<Column>,
    /// Where the numbers of the scale subresource lie, as dotted paths without the first dot.
    pub scale: Option<Scale>,
    /// Whether objects are stored in this version.
    pub stored: bool,
    /// The rules in CEL, by the address of their schema in `schema` (a JSON pointer).
    pub rules: rule::Rules,
}

/// The paths of the scale subresource: field names, outer before inner.
#[derive(Debug)]
pub(crate) struct Scale {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    pub selector: Option<Vec<String>>,
}
