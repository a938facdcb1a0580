//! Certificates as text, and what is in them.

use std::{collections::BTreeSet, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, pem::parse_x509_pem, prelude::FromDer,
    time::ASN1Time,
};

/// Clocks of those who connect may be behind.
const BEFORE: SignedDuration = SignedDuration::from_hours(24);

/// What is wrong with a certificate or a key. Nothing of a key is repeated.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("is no certificate in PEM")]
    Certificate,
    #[error("ca-key.pem beside it is no private key in PEM, or not the one of this certificate")]
    Key,
    #[error("ca-key.pem is needed beside it, to sign a certificate for the server")]
    NoKey,
    #[error("no certificate can be made for {0:?}: expected DNS names and addresses")]
    Names(Vec<String>),
    #[error("a certificate cannot be made")]
    Made(#[from] rcgen::Error),
    #[error("{0} is no time for a certificate")]
    Time(Timestamp),
}

/// A certificate, and what has to be known of it.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) pem: String,
    pub(super) until: Timestamp,
    der: Vec<u8>,
    names: BTreeSet<String>,
    /// The public key, as it is signed.
    key: Vec<u8>,
}

impl Certificate {
    pub(super) fn read(pem: &str) -> Result<Self, Error> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| Error::Certificate)?;
        let found = block.parse_x509().map_err(|_| Error::Certificate)?;
        let until =
            Timestamp::from_second(found.validity().not_after.timestamp()).map_err(|_| Error::Certificate)?;
        let names = found.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
        let key = found.public_key().raw.to_vec();
        Ok(Self { pem: pem.to_owned(), until, names, key, der: block.contents.clone() })
    }

    /// Whether it is for exactly these names.
    pub(super) fn is_for(&self, names: &[String]) -> bool {
        // An address has several texts.
        let plain =
            |name: &String| name.parse::<IpAddr>().map_or_else(|_| name.to_lowercase(), |ip| ip.to_string());
        self.names == names.iter().map(plain).collect()
    }

    /// Whether `pem` is its private key.
    pub(super) fn has_key(&self, pem: &str) -> bool {
        KeyPair::from_pem(pem).is_ok_and(|pair| pair.subject_public_key_info() == self.key)
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            ip.ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// Who signs; without its key, what it signed can be told and nothing more be signed.
pub(super) struct Authority {
    pub(super) certificate: Certificate,
    key: Option<KeyPair>,
}

impl Authority {
    /// A new one, and its key as text.
    pub(super) fn make(now: Timestamp, until: Timestamp) -> Result<(Self, String), Error> {
        let mut params = holding(CertificateParams::default(), now, until)?;
        params.distinguished_name.push(DnType::CommonName, "BCS bus authority");
        // It signs servers, and no further authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = Certificate::read(&params.self_signed(&key)?.pem())?;
        let text = key.serialize_pem();
        Ok((Self { certificate, key: Some(key) }, text))
    }

    pub(super) fn read(pem: &str, key: Option<&str>) -> Result<Self, Error> {
        let certificate = Certificate::read(pem)?;
        if key.is_some_and(|key| !certificate.has_key(key)) {
            return Err(Error::Key);
        }
        let key = key.map(KeyPair::from_pem).transpose().map_err(|_| Error::Key)?;
        Ok(Self { certificate, key })
    }

    /// A certificate for a server that is reached by these names, and its key as text.
    pub(super) fn sign(
        &self,
        names: &[String],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(Certificate, String), Error> {
        let wrong = || Error::Names(names.to_vec());
        let known = |c: char| c.is_ascii_alphanumeric() || "-.*:".contains(c);
        if names.is_empty() || names.iter().any(|name| name.is_empty() || !name.chars().all(known)) {
            return Err(wrong());
        }
        let params = CertificateParams::new(names.to_vec()).map_err(|_| wrong())?;
        let mut params = holding(params, now, until)?;
        params.distinguished_name.push(DnType::CommonName, "BCS bus");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate.pem, self.key.as_ref().ok_or(Error::NoKey)?)?;
        let key = KeyPair::generate()?;
        let certificate = Certificate::read(&params.signed_by(&key, &issuer)?.pem())?;
        Ok((certificate, key.serialize_pem()))
    }

    /// Whether it signed this certificate.
    pub(super) fn signed(&self, certificate: &Certificate) -> bool {
        let (Ok((_, own)), Ok((_, theirs))) =
            (X509Certificate::from_der(&self.certificate.der), X509Certificate::from_der(&certificate.der))
        else {
            return false;
        };
        theirs.verify_signature(Some(own.public_key())).is_ok()
    }
}

fn holding(
    mut params: CertificateParams,
    now: Timestamp,
    until: Timestamp,
) -> Result<CertificateParams, Error> {
    let instant = |at: Timestamp| {
        let read = ASN1Time::from_timestamp(at.as_second());
        read.map(|time| time.to_datetime()).map_err(|_| Error::Time(at))
    };
    params.not_before = instant(now - BEFORE)?;
    params.not_after = instant(until)?;
    Ok(params)
}
