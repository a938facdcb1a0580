//! One call to the API server: a deadline around it, and its errors sorted by what can be done about them.

use std::{error::Error as StdError, time::Duration};

use bcs_schemas::step::StepResult;
use kube::client::AuthError;

use crate::ProbeError;

/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is told of a login that failed.
const LOGIN: &str = "the user of the kubeconfig could not log in: its token or login plugin failed";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no answer within {} s", DEADLINE.as_secs())]
    TimedOut,
    #[error("{}", said(.0))]
    Kube(#[source] kube::Error),
}

/// Awaits a call, but not for ever.
pub(crate) async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(result) => result.map_err(Error::Kube),
        Err(_) => Err(Error::TimedOut),
    }
}

impl Error {
    /// HTTP status, when the server answered with one.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            Self::Kube(_) | Self::TimedOut => None,
        }
    }

    /// The object is not there.
    pub(crate) fn missing(&self) -> bool {
        self.code() == Some(404)
    }

    /// Somebody was faster: read again and compare again.
    pub(crate) fn conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

impl From<Error> for StepResult {
    /// What the server calls malformed stays so; everything else may pass.
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        match error.code() {
            Some(400 | 405 | 413 | 415 | 422) => Self::Refused { reason },
            _ => Self::Failed { reason },
        }
    }
}

impl From<Error> for ProbeError {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error.code() {
            Some(401 | 403) => Self::Refused(said),
            _ => Self::Unreachable(said),
        }
    }
}

/// Without the address of a page about it, which some libraries add.
fn plain(words: &str) -> &str {
    words.split(": https://").next().unwrap_or(words)
}

/// What the server said, or the deepest cause: the outer layers only repeat that something failed. Nothing is quoted of a
/// failed login: the plugin's environment and output hold secrets.
pub(super) fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        let words = if status.message.is_empty() { &status.reason } else { &status.message };
        return format!("{words} ({})", status.code);
    }
    let mut deepest: &dyn StdError = error;
    loop {
        if matches!(error, kube::Error::Auth(_)) || deepest.is::<AuthError>() {
            return LOGIN.to_owned();
        }
        let Some(next) = deepest.source() else { return plain(&deepest.to_string()).to_owned() };
        deepest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> AuthError {
        AuthError::AuthExec("TOKEN=hush-hush".to_owned())
    }

    #[test]
    fn a_failed_login_quotes_no_secret_wherever_it_is_wrapped() {
        for error in [kube::Error::Auth(secret()), kube::Error::Service(Box::new(secret()))] {
            assert_eq!(said(&error), LOGIN);
            assert_eq!(Error::Kube(error).to_string(), LOGIN);
        }
    }

    #[test]
    fn a_connection_that_breaks_off_is_told_without_the_page_of_the_library() {
        let words = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual";
        let error = kube::Error::Service(std::io::Error::other(words).into());
        assert_eq!(said(&error), "peer closed connection without sending TLS close_notify");
        let error = kube::Error::Service(std::io::Error::other("connection refused: 127.0.0.1").into());
        assert_eq!(said(&error), "connection refused: 127.0.0.1");
    }
}
