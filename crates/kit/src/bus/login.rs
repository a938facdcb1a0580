//! As whom a connection speaks, and how it knows that the bus is the right one.

use std::{
    io::{Error as IoError, ErrorKind},
    path::Path,
    sync::Arc,
};

use async_nats::{
    ConnectError, ConnectOptions,
    rustls::{self, CertificateError},
};

use super::{BusConfig, Error};
use crate::actor::{Identity, Signers};

/// With the credentials and the certificates of `config`, and the key among them.
pub(super) fn apply(
    options: ConnectOptions,
    config: &BusConfig,
) -> Result<(ConnectOptions, Option<Identity>), Error> {
    let (options, identity) = match &config.credentials {
        None => (options, None),
        Some(path) => {
            credentials(options, path).map_err(|source| Error::Credentials(path.clone(), source))?
        }
    };
    let options = match &config.ca {
        None => options,
        Some(path) => {
            // The client reads it at every connection; whether it can is said once, with its name.
            authority(path).map_err(|source| Error::Ca(path.clone(), source))?;
            options.add_root_certificates(path.clone()).require_tls(true)
        }
    };
    Ok((options, identity))
}

fn authority(path: &Path) -> Result<(), IoError> {
    let text = std::fs::read_to_string(path)?;
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(());
    }
    Err(IoError::new(ErrorKind::InvalidData, "holds no certificate: expected PEM, such as ca.pem of the bus"))
}

/// In words that say what to do: why a server is not taken for the bus. None when something else is the matter.
pub(super) fn untrusted(error: &ConnectError, ca: Option<&Path>) -> Option<String> {
    // The TLS library's error is wrapped in one of input and output.
    let inner = std::error::Error::source(error)?.downcast_ref::<IoError>()?.get_ref()?;
    let why = match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: a start of `bcs up --secure` or `bcs bus credentials --tls` makes a new one"
                    .to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate does not hold yet: look at the clocks of both machines".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for other names: use one of those, or name this one with `bcs bus credentials --tls --host`"
                    .to_owned()
            }
            _ => match ca {
                None => "its certificate is signed by nobody who is known here: name the file of its authority, ca.pem, in bus.ca (`bcs context add --ca FILE`)".to_owned(),
                Some(ca) => format!("its certificate is not signed by the authority in {}: use ca.pem of this bus", ca.display()),
            },
        },
        rustls::Error::InvalidMessage(_) => "it speaks no TLS, which is wanted by bus.ca or a tls:// address".to_owned(),
        other => other.to_string(),
    };
    Some(why)
}

/// Those who may sign for actors.
pub(super) fn signers(path: &Path) -> Result<Arc<Signers>, Error> {
    Signers::open(path).map(Arc::new).map_err(|source| Error::Actors(path.to_owned(), source))
}

fn credentials(options: ConnectOptions, path: &Path) -> Result<(ConnectOptions, Option<Identity>), IoError> {
    let text = std::fs::read_to_string(path)?;
    // The seed is a secret: what is wrong with it is said without it.
    let wrong =
        |_| IoError::new(ErrorKind::InvalidData, "the line that begins with SU is no nkey seed of a user");
    // A credentials file holds one as well, below the JWT.
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    let identity = seed.map(Identity::from_seed).transpose().map_err(wrong)?;
    let options = match seed.filter(|seed| *seed == text.trim()) {
        Some(seed) => options.nkey(seed.to_owned()),
        None => options.credentials(&text)?,
    };
    Ok((options, identity))
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
