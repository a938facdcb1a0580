//! The four ways to change an object: JSON patch, merge patch, strategic merge patch, server-side apply.

pub(crate) mod apply;
pub(crate) mod fields;
mod list;
pub(crate) mod strategic;

use serde_json::Value;

use crate::status::Status;

pub(crate) fn json(current: &Value, patch: Value) -> Result<Value, Status> {
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|e| Status::bad_request(format!("json patch: {e}")))?;
    let mut value = current.clone();
    json_patch::patch(&mut value, &patch).map_err(|e| {
        Status::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {e}"),
        )
    })?;
    Ok(value)
}

pub(crate) fn merge(current: &Value, patch: &Value) -> Value {
    let mut value = current.clone();
    json_patch::merge(&mut value, patch);
    value
}
