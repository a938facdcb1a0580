//! Certificates with which a bus speaks TLS: an authority of its own, which signs one certificate for the server. Both are
//! made once and kept; the server's is made anew before it ends, and nobody notices, for everybody trusts the authority.

mod certificate;

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use self::certificate::{Authority, Certificate};
use crate::{Failure, file};

/// Whom everybody trusts.
pub const CA_FILE: &str = "ca.pem";
/// Whoever has it can be the bus.
const CA_KEY_FILE: &str = "ca-key.pem";
/// What the server shows.
const SERVER_FILE: &str = "server.pem";
/// With what it proves that.
const SERVER_KEY_FILE: &str = "server-key.pem";

/// Names of a server that only this machine reaches.
pub const LOCAL: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// Ten years: giving everybody another authority is work.
const CA_HOLDS: SignedDuration = SignedDuration::from_hours(3_652 * 24);
/// A little more than a year, which is what clients take.
const SERVER_HOLDS: SignedDuration = SignedDuration::from_hours(397 * 24);
/// With less than this left, the server gets a new certificate.
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Where the certificates of a bus lie.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate of the authority, for everybody who connects (`bus.ca`).
    pub ca: PathBuf,
    /// Until when the authority holds.
    pub ca_until: Timestamp,
    /// Until when the server's certificate holds.
    pub until: Timestamp,
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// The part of a nats-server configuration that says it.
    pub fn server_config(&self) -> String {
        let (certificate, key) = (self.certificate.display().to_string(), self.key.display().to_string());
        // A handshake may take a while on a busy machine; the server gives it 2 s unless told otherwise.
        format!(
            "tls {{\n  cert_file: {certificate:?}\n  key_file: {key:?}\n  min_version: \"1.3\"\n  timeout: 10\n}}\n"
        )
    }
}

/// Makes what is missing in `directory`, or about to end, for a server that is reached by `names`: DNS names and addresses.
pub fn prepare(directory: &Path, names: &[String], now: Timestamp) -> Result<Tls, Failure> {
    let place = Place(directory);
    let authority = place.authority(now)?;
    let certificate = match place.server(&authority, names, now)? {
        Some(kept) => kept,
        None => place.sign(&authority, names, now)?,
    };
    Ok(Tls {
        ca: place.path(CA_FILE),
        ca_until: authority.certificate.until,
        until: certificate.until,
        certificate: place.path(SERVER_FILE),
        key: place.path(SERVER_KEY_FILE),
    })
}

/// The directory.
struct Place<'a>(&'a Path);

impl Place<'_> {
    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn read(&self, file: &str) -> Result<Option<String>, Failure> {
        match fs::read_to_string(self.path(file)) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.wrong(file, &e)),
        }
    }

    /// Readable by its owner alone from the first moment.
    fn write(&self, file: &str, text: &str) -> Result<(), Failure> {
        file::replace(&self.path(file), text.as_bytes()).map_err(|e| self.wrong(file, &e))
    }

    /// What is in the file is a secret, or long: neither is repeated.
    fn wrong(&self, file: &str, why: &dyn std::fmt::Display) -> Failure {
        Failure::failed(format!("{}: {why}", self.path(file).display()))
    }

    /// The authority that is there; a new one where there never was one.
    fn authority(&self, now: Timestamp) -> Result<Authority, Failure> {
        let another = "for another authority remove ca.pem and ca-key.pem, do this again, and give everybody the new ca.pem";
        let (text, key) = match (self.read(CA_FILE)?, self.read(CA_KEY_FILE)?) {
            (None, None) => {
                let (authority, key) =
                    Authority::make(now, now + CA_HOLDS).map_err(|e| self.wrong(CA_FILE, &e))?;
                self.write(CA_KEY_FILE, &key)?;
                self.write(CA_FILE, &authority.certificate.pem)?;
                return Ok(authority);
            }
            (None, Some(_)) => {
                return Err(
                    self.wrong(CA_FILE, &format!("is missing beside ca-key.pem: put it back; {another}"))
                );
            }
            (Some(text), key) => (text, key),
        };
        let authority = Authority::read(&text, key.as_deref())
            .map_err(|e| self.wrong(CA_FILE, &format!("{e}: {another}")))?;
        if authority.certificate.until <= now {
            let until = authority.certificate.until;
            return Err(
                self.wrong(CA_FILE, &format!("the authority of the bus has expired at {until}: {another}"))
            );
        }
        Ok(authority)
    }

    /// The server's certificate, if it is good for a while yet.
    fn server(
        &self,
        authority: &Authority,
        names: &[String],
        now: Timestamp,
    ) -> Result<Option<Certificate>, Failure> {
        let (Some(text), Some(key)) = (self.read(SERVER_FILE)?, self.read(SERVER_KEY_FILE)?) else {
            return Ok(None);
        };
        let Ok(certificate) = Certificate::read(&text) else { return Ok(None) };
        let good = certificate.until.duration_since(now) >= RENEWED_BEFORE
            && certificate.is_for(names)
            && certificate.has_key(&key)
            && authority.signed(&certificate);
        Ok(good.then_some(certificate))
    }

    fn sign(&self, authority: &Authority, names: &[String], now: Timestamp) -> Result<Certificate, Failure> {
        let until = (now + SERVER_HOLDS).min(authority.certificate.until);
        let (certificate, key) =
            authority.sign(names, now, until).map_err(|e| self.wrong(SERVER_FILE, &e))?;
        // Should we end in between, key and certificate do not fit, and both are made anew.
        self.write(SERVER_KEY_FILE, &key)?;
        self.write(SERVER_FILE, &certificate.pem)?;
        Ok(certificate)
    }
}

#[cfg(test)]
mod tests;
