//! How a command ends when it does not end well: an exit code for scripts, and words for people.

use std::process::ExitCode;

use bcs_schemas::outcome::Rejected;

use crate::output;

/// Exit codes, documented in `bcs --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It could not be done, or went wrong.
    Failed = 1,
    /// The command line or a file is wrong; nothing was sent.
    Usage = 2,
    /// The platform refused it.
    Rejected = 3,
    /// It was not finished in time, and goes on without us.
    TimedOut = 4,
    /// Ctrl-C while waiting; it goes on without us.
    Interrupted = 130,
}

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What scripts see.
    pub exit: Exit,
    /// What people see: what happened and what to do.
    pub message: String,
}

impl Failure {
    /// It could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// The command line or a file is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// The platform refused it.
    pub fn rejected(what: &str, rejected: &Rejected) -> Self {
        let mut message = format!("{what} was rejected ({}): {}", rejected.code, rejected.message);
        if rejected.fields.len() > 1 {
            for field in &rejected.fields {
                message.push_str(&format!("\n  {field}"));
            }
        }
        Self { exit: Exit::Rejected, message }
    }

    /// It was not finished in time.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self { exit: Exit::TimedOut, message: message.into() }
    }

    /// Tells the person and the script.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            output::error(&self.message);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<bcs_client::Error> for Failure {
    fn from(error: bcs_client::Error) -> Self {
        use bcs_client::Error;
        let exit = match &error {
            error if error.timed_out() => Exit::TimedOut,
            Error::Refused(_) => Exit::Rejected,
            Error::TooLarge { .. } | Error::Subject { .. } | Error::Header { .. } | Error::ReplyTo(_) => {
                Exit::Usage
            }
            _ => Exit::Failed,
        };
        Self { exit, message: told_once(&error) }
    }
}

/// An error with its causes. Those of other libraries repeat their own causes, which a person need not read twice.
fn told_once(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        source = cause.source();
    }
    text
}

impl From<bcs_kit::bus::Error> for Failure {
    fn from(error: bcs_kit::bus::Error) -> Self {
        bcs_client::Error::from(error).into()
    }
}
