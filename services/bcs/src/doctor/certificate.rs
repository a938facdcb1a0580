//! Until when the certificate of a server holds. Our client does not tell, so this takes a look on a way of its own.

use std::{io, sync::Arc};

use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// Says nothing to the server, and believes it nothing else.
pub(super) async fn until(host: &str, port: u16) -> io::Result<Timestamp> {
    let mut plain = BufReader::new(TcpStream::connect((host, port)).await?);
    // The server speaks first, and waits for the handshake then.
    plain.read_line(&mut String::new()).await?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OnlyLooks(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, plain.into_inner()).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    // Whether it hears of the end is its business.
    let _ = stream.shutdown().await;
    read(&shown.ok_or_else(|| io::Error::other("it shows none"))?)
}

fn read(shown: &CertificateDer<'_>) -> io::Result<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(shown).map_err(io::Error::other)?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).map_err(io::Error::other)
}

/// Takes every certificate: whether this is our bus was found out when we connected to it.
#[derive(Debug)]
struct OnlyLooks(Arc<CryptoProvider>);

impl ServerCertVerifier for OnlyLooks {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
