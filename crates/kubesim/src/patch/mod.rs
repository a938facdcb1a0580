//! The four ways to change an object: JSON patch, merge patch, strategic merge patch, server-side apply.

pub(crate) mod apply;
pub(crate) mod fields;
mod list;
pub(crate) mod strategic;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::status::Status;

pub(crate) fn json(current: &Value, patch: Value) -> Result<Value, Status> {
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|e| Status::bad_request(format!("json patch: {e}")))?;
    let mut value = current.clone();
    for (number, operation) in patch.iter().enumerate() {
        if expects_absence(operation, &value) {
            continue;
        }
        json_patch::patch(&mut value, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = number;
            let message = format!("the server rejected our request due to an error in our request: {error}");
            Status::new(422, "Invalid", message)
        })?;
    }
    Ok(value)
}

/// A field that is not there is `null` to a test, as Kubernetes has it and RFC 6902 has not: clients add their first
/// finalizer so.
fn expects_absence(operation: &PatchOperation, value: &Value) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let parent = test.path.parent().and_then(|parent| value.pointer(parent.as_str()));
    test.value.is_null()
        && parent.is_some_and(Value::is_object)
        && value.pointer(test.path.as_str()).is_none()
}

pub(crate) fn merge(current: &Value, patch: &Value) -> Value {
    let mut value = current.clone();
    json_patch::merge(&mut value, patch);
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_not_there_is_null_to_a_test() {
        let object = json!({"metadata": {"name": "a", "labels": {}}});
        let finalizer = |test: Value, path: &str| json!([{"op": "test", "path": path, "value": test}, {"op": "add", "path": "/metadata/finalizers", "value": ["x"]}]);
        let path = "/metadata/finalizers";
        let patched = json(&object, finalizer(Value::Null, path)).expect("is absent");
        assert_eq!(patched["metadata"]["finalizers"], json!(["x"]));
        for (object, test, path) in [
            (&patched, Value::Null, path),
            (&object, json!([]), path),
            (&object, Value::Null, "/spec/finalizers"),
        ] {
            let error = json(object, finalizer(test, path)).expect_err("is something else");
            assert_eq!(error.code, 422);
        }
    }
}
