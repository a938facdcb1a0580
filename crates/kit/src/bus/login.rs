//! As whom a connection speaks, and how it knows that the bus is the right one.

use std::{
    io::{Error as IoError, ErrorKind},
    path::Path,
};

use async_nats::ConnectOptions;

use super::{BusConfig, Error};

/// With the credentials and the certificates of `config`.
pub(super) fn apply(options: ConnectOptions, config: &BusConfig) -> Result<ConnectOptions, Error> {
    let options = match &config.credentials {
        None => options,
        Some(path) => {
            credentials(options, path).map_err(|source| Error::Credentials(path.clone(), source))?
        }
    };
    match &config.ca {
        None => Ok(options),
        Some(path) => {
            // The client reads it at every connection; whether it can is said once, with its name.
            std::fs::File::open(path).map_err(|source| Error::Ca(path.clone(), source))?;
            Ok(options.add_root_certificates(path.clone()).require_tls(true))
        }
    }
}

fn credentials(options: ConnectOptions, path: &Path) -> Result<ConnectOptions, IoError> {
    let text = std::fs::read_to_string(path)?;
    let seed = text.trim();
    if !seed.starts_with("SU") {
        return options.credentials(&text);
    }
    // The seed is a secret: what is wrong with it is said without it.
    let wrong =
        |_| IoError::new(ErrorKind::InvalidData, "the line that begins with SU is no nkey seed of a user");
    nkeys::KeyPair::from_seed(seed).map_err(wrong)?;
    Ok(options.nkey(seed.to_owned()))
}

/// An inbox that outcomes are sent to.
pub(super) fn inbox(text: &str) -> Result<&str, Error> {
    let plain = |c: char| c.is_ascii_graphic() && c != '*' && c != '>';
    let fits =
        text.starts_with("_INBOX") && text.chars().all(plain) && text.split('.').all(|t| !t.is_empty());
    if fits { Ok(text) } else { Err(Error::Inbox(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_is_one_that_outcomes_are_sent_to() {
        for text in ["_INBOX", "_INBOX_deploy", "_INBOX.project-demo"] {
            assert_eq!(inbox(text).map_err(|e| e.to_string()), Ok(text));
        }
        for text in ["", "inbox", "bcs.evt.deploy", "_INBOX.>", "_INBOX.*", "_INBOX.", "_INBOX.a b"] {
            let error = inbox(text).expect_err(text).to_string();
            assert!(error.contains("bus.inbox") && error.contains("expected _INBOX"), "{error}");
        }
    }

    #[test]
    fn a_seed_that_cannot_be_used_is_not_repeated() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let pair = nkeys::KeyPair::new_user();
        let seed = pair.seed().expect("a seed");
        std::fs::write(file.path(), format!("{seed}\n")).expect("writes");
        assert!(credentials(ConnectOptions::new(), file.path()).is_ok());
        std::fs::write(file.path(), format!("{seed}X\n")).expect("writes");
        let error = credentials(ConnectOptions::new(), file.path()).expect_err("is no seed").to_string();
        assert!(error.contains("no nkey seed") && !error.contains(&seed), "{error}");
    }
}
