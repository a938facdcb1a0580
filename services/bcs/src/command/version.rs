//! `bcs version`.

use clap::Args;
use serde_json::json;

use crate::{Failure, output, session::Session};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bcs version -o json")]
pub struct Arguments {}

impl Arguments {
    pub(super) fn run(self, session: &Session) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        if session.format().for_people() {
            output::line(format!("bcs {version}"));
            return Ok(());
        }
        output::answer(session.format(), ["bcs".to_owned()], &json!({ "version": version }))
    }
}
