//! Files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FieldError;

/// Files in a directory, for each cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
// What is unknown is passed over, as it was before there was more than a directory.
#[serde(rename_all = "camelCase")]
pub struct FileDriver {
    /// Directory of the files.
    pub directory: PathBuf,
    /// Also a file for `include` inside `http` or `stream` of nginx, with a group of servers (`upstream`) for each name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nginx: bool,
    /// Program that is run after the files were replaced, and its arguments, without a shell: `["nginx", "-s", "reload"]`. What
    /// changed counts as done when it succeeded, within ten seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

impl FileDriver {
    /// In this directory, and nobody is told.
    pub const fn plain(directory: PathBuf) -> Self {
        Self { directory, nginx: false, command: Vec::new() }
    }

    /// What the types alone cannot tell.
    pub fn validate(&self) -> Vec<FieldError> {
        let nameless = self.command.first().is_some_and(String::is_empty);
        let problem = "names no program: expected such as [\"nginx\", \"-s\", \"reload\"]";
        nameless.then(|| FieldError::new("command", problem)).into_iter().collect()
    }
}
