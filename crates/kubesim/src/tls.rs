//! TLS: the authority of a cluster, what it signs, and connections that may show a certificate of a client.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::task::Tasks;

/// Whoever does not begin to speak TLS within this time is not waited for.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How the names of authorities begin.
const OURS: &str = "kubesim ";

/// Whether a certificate (as PEM) is of an authority that a simulator made.
pub(crate) fn is_ours(pem: &[u8]) -> bool {
    let read = CertificateDer::from_pem_slice(pem).ok();
    read.and_then(|certificate| subject(&certificate)).is_some_and(|subject| subject.name.starts_with(OURS))
}

/// For a client that trusts whom these authorities (as PEM) vouch for, and nobody else.
pub(crate) fn trusting(pem: &[u8]) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
    #[error("the certificate cannot be read")]
    Read(#[from] tokio_rustls::rustls::pki_types::pem::Error),
    #[error("TLS cannot be set up")]
    Setup(#[from] tokio_rustls::rustls::Error),
    #[error("certificates of clients cannot be checked")]
    Clients(#[from] tokio_rustls::rustls::server::VerifierBuilderError),
}

/// What signs, as text that can be kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Authority {
    pub certificate: String,
    key: String,
}

/// A certificate and the key that proves it, as PEM.
#[derive(Debug, Clone)]
pub struct Certified {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub(crate) fn new(cluster: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{OURS}{cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        Ok(Self { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
    }

    fn sign(&self, params: &CertificateParams) -> Result<Certified, Error> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate()?;
        Ok(Certified { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
    }

    /// For a client: its name, and its group as the organisation, as Kubernetes reads them.
    pub(crate) fn client(&self, name: &str, group: Option<&str>) -> Result<Certified, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// For a server that is reached by the usual names and by `hosts`.
    fn config(&self, hosts: &[String]) -> Result<ServerConfig, Error> {
        let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let names = names.map(str::to_owned).into_iter().chain(hosts.iter().cloned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = self.sign(&params)?;
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients.allow_unauthenticated().build()?)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(server.certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(server.key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Whom a certificate names: the common name, and the organisations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub name: String,
    pub groups: Vec<String>,
}

/// Connections that have agreed on TLS. Those that are slow to do so hold up nobody else.
pub(crate) struct Door {
    open: mpsc::Receiver<(TlsStream<TcpStream>, Option<Subject>)>,
}

impl Door {
    pub(crate) fn new(
        listener: TcpListener,
        authority: &Authority,
        hosts: &[String],
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let acceptor = TlsAcceptor::from(Arc::new(authority.config(hosts)?));
        let (sender, open) = mpsc::channel(64);
        let greeters = tasks.clone();
        tasks.spawn(async move {
            let mut listener = listener;
            loop {
                let (stream, _): (TcpStream, SocketAddr) = Listener::accept(&mut listener).await;
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                greeters.spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        // Nobody takes it when the server stops.
                        Ok(Ok(stream)) => drop(sender.send(shown(stream)).await),
                        Ok(Err(error)) => tracing::debug!(%error, "a client does not agree on TLS"),
                        Err(_) => tracing::debug!("a client does not begin to speak TLS"),
                    }
                });
            }
        });
        Ok(Self { open })
    }
}

fn shown(stream: TlsStream<TcpStream>) -> (TlsStream<TcpStream>, Option<Subject>) {
    let first = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let subject = first.and_then(|certificate| subject(certificate));
    (stream, subject)
}

fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = parsed.subject().iter_organization().filter_map(|one| Some(one.as_str().ok()?.to_owned()));
    Some(Subject { name, groups: groups.collect() })
}

impl Listener for Door {
    type Io = TlsStream<TcpStream>;
    /// Whom the certificate of the client names, if it showed one.
    type Addr = Option<Subject>;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.open.recv().await {
            Some(connection) => connection,
            // The simulator stops.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_names_its_client_and_its_group() {
        let authority = Authority::new("sim-a").expect("made");
        let made = authority.client("ada", Some("developers")).expect("signed");
        let der = CertificateDer::from_pem_slice(made.certificate.as_bytes()).expect("PEM");
        let expected = Subject { name: "ada".to_owned(), groups: vec!["developers".to_owned()] };
        assert_eq!(subject(&der), Some(expected));
    }
}
