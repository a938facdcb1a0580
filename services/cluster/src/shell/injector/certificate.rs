//! Certificates of the webhook: an authority, and what it signs. Nothing of a key is ever repeated in an error.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use tokio_rustls::rustls::{
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use x509_parser::{pem::parse_x509_pem, time::ASN1Time};

use crate::domain::authority::{AUTHORITY_HOLDS, Life, SERVER_HOLDS};

/// Clocks of API servers may be behind.
const BEFORE: SignedDuration = SignedDuration::from_hours(24);
const END: &str = "-----END CERTIFICATE-----";

/// What is wrong with a certificate or a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("its certificate is none in PEM")]
    Certificate,
    #[error("its key is none in PEM, or not the one of its certificate")]
    Key,
    #[error("a certificate cannot be made")]
    Made(#[from] rcgen::Error),
    #[error("a certificate cannot be shown")]
    Shown(#[from] tokio_rustls::rustls::Error),
    #[error("{0} is no time for a certificate")]
    Time(Timestamp),
}

/// Who signs.
pub(super) struct Authority {
    /// Its certificate, as PEM.
    pub(super) pem: String,
    pub(super) life: Life,
    key: KeyPair,
}

/// What a replica shows to whoever connects.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) life: Life,
    /// Certificate of who signed it, as PEM.
    pub(super) authority: String,
    pub(super) key: Arc<CertifiedKey>,
}

impl Authority {
    /// A new one.
    pub(super) fn make(now: Timestamp) -> Result<Self, Error> {
        let life = Life { from: now - BEFORE, until: now + AUTHORITY_HOLDS };
        let mut params = living(CertificateParams::default(), life)?;
        params.distinguished_name.push(DnType::CommonName, "BCS injector authority");
        // It signs servers, and no further authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Self::read(&pem, &key.serialize_pem())
    }

    /// The one whose certificate is the first in `bundle`.
    pub(super) fn read(bundle: &str, key: &str) -> Result<Self, Error> {
        let end = bundle.find(END).ok_or(Error::Certificate)? + END.len();
        let pem = format!("{}\n", bundle[..end].trim());
        let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| Error::Certificate)?;
        let found = block.parse_x509().map_err(|_| Error::Certificate)?;
        let instant =
            |time: ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|_| Error::Certificate);
        let validity = found.validity();
        let life = Life { from: instant(validity.not_before)?, until: instant(validity.not_after)? };
        let key = KeyPair::from_pem(key).map_err(|_| Error::Key)?;
        if key.subject_public_key_info() != found.public_key().raw {
            return Err(Error::Key);
        }
        Ok(Self { pem, life, key })
    }

    /// Its private key, as PEM: for the Secret, and for nobody else.
    pub(super) fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// Something to show, for these names.
    pub(super) fn sign(&self, names: &[String], now: Timestamp) -> Result<Shown, Error> {
        let life = Life { from: now - BEFORE, until: (now + SERVER_HOLDS).min(self.life.until) };
        let mut params = living(CertificateParams::new(names.to_vec())?, life)?;
        params.distinguished_name.push(DnType::CommonName, "BCS injector");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.pem, &self.key)?;
        let key = KeyPair::generate()?;
        let chain = vec![params.signed_by(&key, &issuer)?.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Shown { life, authority: self.pem.clone(), key: Arc::new(key) })
    }
}

fn living(mut params: CertificateParams, life: Life) -> Result<CertificateParams, Error> {
    let instant = |at: Timestamp| {
        let read = ASN1Time::from_timestamp(at.as_second());
        read.map(|time| time.to_datetime()).map_err(|_| Error::Time(at))
    };
    params.not_before = instant(life.from)?;
    params.not_after = instant(life.until)?;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a time")
    }

    #[test]
    fn an_authority_is_read_as_it_was_written_whatever_follows_it() {
        let (first, second) = (Authority::make(now()).expect("made"), Authority::make(now()).expect("made"));
        let bundle = format!("{}{}", first.pem, second.pem);
        let read = Authority::read(&bundle, &first.key()).expect("is read");
        assert_eq!((&read.pem, read.life), (&first.pem, first.life));
        assert_eq!(first.life.until, now() + AUTHORITY_HOLDS);
        let wrong = Authority::read(&bundle, &second.key()).err().expect("the key of another");
        assert!(matches!(wrong, Error::Key), "{wrong}");
        for bundle in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Authority::read(bundle, &first.key()), Err(Error::Certificate)));
        }
    }

    #[test]
    fn what_is_shown_ends_with_its_authority_at_the_latest() {
        let authority = Authority::make(now()).expect("made");
        let names = ["bcs-agent.bcs-system.svc".to_owned(), "127.0.0.1".to_owned()];
        let young = authority.sign(&names, now()).expect("signed");
        assert_eq!(young.life.until, now() + SERVER_HOLDS);
        let late = now() + AUTHORITY_HOLDS - SignedDuration::from_hours(1);
        assert_eq!(authority.sign(&names, late).expect("signed").life.until, authority.life.until);
    }
}
