//! `bcs version`.

use clap::Args;
use serde_json::json;

use crate::{Failure, output, session::Session};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bcs version -o json")]
pub struct Arguments {}

impl Arguments {
    pub(super) fn run(self, session: &Session) -> Result<(), Failure> {
        let (version, commit) = (env!("CARGO_PKG_VERSION"), option_env!("BCS_COMMIT"));
        if session.format().for_people() {
            output::line(text(version, commit));
            return Ok(());
        }
        output::answer(session.format(), ["bcs".to_owned()], &json!({ "version": version, "commit": commit }))
    }
}

/// The commit is known where the build was told it (`BCS_COMMIT`), as that of images is.
fn text(version: &str, commit: Option<&str>) -> String {
    match commit.filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("bcs {version} ({commit})"),
        None => format!("bcs {version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn the_commit_is_told_where_the_build_knew_it() {
        assert_eq!(text("0.2.0", Some("80a4925f")), "bcs 0.2.0 (80a4925f)");
        assert_eq!(text("0.2.0", None), "bcs 0.2.0");
        assert_eq!(text("0.2.0", Some("")), "bcs 0.2.0");
    }
}
