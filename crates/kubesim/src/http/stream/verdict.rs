//! How a command ended, in the words of the error channel. Pure.

use serde_json::{Value, json};

use crate::{kubelet::stdio::Ending, status::Status};

pub(super) fn of(ending: &Ending) -> Value {
    match ending {
        Ending::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        Ending::Exited(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Ending::Failed(why) => internal(&format!("error executing command in container: {why}")),
    }
}

/// Something that the node could not do.
pub(super) fn internal(why: &str) -> Value {
    let mut status = Status::internal(format!("Internal error occurred: {why}"));
    status.details = Some(json!({"causes": [{"message": why}]}));
    status.body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_the_exit_code_among_the_causes() {
        assert_eq!(of(&Ending::Exited(0))["status"], "Success");
        let three = of(&Ending::Exited(3));
        assert_eq!(
            (&three["reason"], &three["details"]["causes"][0]["reason"]),
            (&json!("NonZeroExitCode"), &json!("ExitCode"))
        );
        assert_eq!(three["details"]["causes"][0]["message"], "3");
        let failed = of(&Ending::Failed("no".to_owned()));
        assert_eq!(failed["message"], "Internal error occurred: error executing command in container: no");
        assert_eq!((&failed["reason"], &failed["code"]), (&json!("InternalError"), &json!(500)));
    }
}
