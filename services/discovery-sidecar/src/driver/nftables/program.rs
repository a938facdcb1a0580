//! The program `nft`: a process for each reading and for each transaction.

use std::time::Duration;

use bcs_schemas::resource::registry::NftablesDriver;

use super::{super::program, ruleset::Reading, transaction::Transaction};
use crate::domain::Failure;

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(3);

/// How it is started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    command: Vec<String>,
    family: String,
    table: String,
}

/// What became of a transaction.
pub(super) enum Committed {
    Whole,
    /// Nothing of it was done; why, in the words of `nft`.
    Nothing(String),
}

impl Program {
    pub(super) fn new(settings: &NftablesDriver) -> Self {
        let (family, table) = settings.table();
        Self { command: settings.command.clone(), family: family.to_owned(), table: table.to_owned() }
    }

    /// What the table holds; nothing if there is none.
    pub(super) async fn read(&self) -> Result<Reading, Failure> {
        let arguments = ["-j", "-n", "list", "table", &self.family, &self.table];
        match self.run(&arguments, Vec::new()).await? {
            Ok(text) => Reading::parse(&text).map_err(|e| {
                failed(&format!("{} answered what is no JSON of nft ({e})", self.command.join(" ")))
            }),
            Err(words) if words.starts_with("Error: No such file or directory") => Ok(Reading::default()),
            Err(words) => Err(failed(&format!("reading failed: {}", with_hint(&words)))),
        }
    }

    /// The kernel takes all of it or nothing.
    pub(super) async fn commit(&self, transaction: &Transaction) -> Result<Committed, Failure> {
        let text = transaction.render(&self.family, &self.table).to_string();
        match self.run(&["-j", "-f", "-"], text.into_bytes()).await? {
            Ok(_) => Ok(Committed::Whole),
            // Only the kernel's own refusal says for certain that nothing was done.
            Err(words) if !words.contains("Error: ") || words.contains("not permitted") => {
                Err(failed(&format!("writing failed: {}", with_hint(&words))))
            }
            Err(words) => Ok(Committed::Nothing(words)),
        }
    }

    /// What it wrote, or its words if it failed.
    async fn run(&self, arguments: &[&str], input: Vec<u8>) -> Result<Result<String, String>, Failure> {
        program::run(&self.command, arguments, input, WITHIN).await.map_err(|words| failed(&words))
    }
}

fn with_hint(words: &str) -> String {
    if words.contains("not permitted") {
        return format!("{words}: the sidecar needs CAP_NET_ADMIN in this network namespace");
    }
    words.to_owned()
}

pub(super) fn failed(words: &str) -> Failure {
    Failure::Unavailable(format!("nftables: {words}"))
}
