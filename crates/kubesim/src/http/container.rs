//! Which container of a pod a request means.

use serde_json::Value;

use crate::{
    kubelet::container_names,
    object::{self, items, text},
    status::Status,
};

/// The container that is meant; there is no need to name the only one that is no helper.
pub(crate) fn named<'a>(pod: &'a Value, wanted: &str) -> Result<&'a str, Status> {
    let all: Vec<&str> = container_names(pod).collect();
    let name = object::name(pod);
    if !wanted.is_empty() {
        let found = all.iter().find(|c| **c == wanted).copied();
        let wrong = || Status::bad_request(format!("container {wanted} is not valid for pod {name}"));
        return found.ok_or_else(wrong);
    }
    match items(pod, "/spec/containers") {
        [only] => Ok(text(only, "/name")),
        _ => {
            let list = all.join(" ");
            let message =
                format!("a container name must be specified for pod {name}, choose one of: [{list}]");
            Err(Status::bad_request(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_must_be_named_when_there_are_several() {
        let several =
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let helped = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "setup"}], "containers": [{"name": "a"}], "ephemeralContainers": [{"name": "debugger"}],
        }});
        for (pod, wanted, expected) in [
            (&several, "b", Ok("b")),
            (&several, "", Err("a container name must be specified for pod p, choose one of: [a b]")),
            (&several, "x", Err("container x is not valid for pod p")),
            (&helped, "", Ok("a")),
            (&helped, "setup", Ok("setup")),
            (&helped, "debugger", Ok("debugger")),
        ] {
            let found = named(pod, wanted).map_err(|status| status.message);
            assert_eq!(
                found.as_deref().map_err(String::as_str),
                expected.as_ref().map(|s| *s).map_err(|e| *e)
            );
        }
    }
}
