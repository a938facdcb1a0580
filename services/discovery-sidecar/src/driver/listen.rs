//! Where others come to us: connections, with TLS or without. Files of TLS are read for every connection, so that a renewed
//! certificate is taken up.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bcs_schemas::resource::registry::ServerTls;
use futures::{Stream, StreamExt, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use super::secret;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Handshakes at a time.
const AT_ONCE: usize = 64;

/// TLS of a server.
#[derive(Clone, Debug)]
pub(crate) struct TlsServer {
    pub(crate) tls: ServerTls,
    /// Where its settings lie, for words.
    pub(crate) field: &'static str,
    /// What is spoken behind it (ALPN).
    pub(crate) protocol: &'static [u8],
}

/// Listens; `field` is where the address is set, for words.
pub(crate) async fn bind(field: &str, listen: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(listen).await.map_err(|e| unbound(field, listen, &e))
}

fn unbound(field: &str, listen: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{field}: {listen} is not ours: another program, or another sidecar, listens there")
        }
        _ => format!("{field}: {listen}: {error}"),
    }
}

pub(crate) fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        match &accepted {
            Ok(stream) => drop(stream.set_nodelay(true)),
            // Such as too many open files: it does not go away by asking at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        Some((accepted, listener))
    })
}

pub(crate) fn accept_tls(
    listener: TcpListener,
    server: TlsServer,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let field = server.field;
    let shake = move |accepted: io::Result<TcpStream>| {
        let server = server.clone();
        async move {
            let stream = accepted?;
            let acceptor = server.acceptor().await.map_err(io::Error::other)?;
            timeout(HANDSHAKE, acceptor.accept(stream)).await?
        }
    };
    accept(listener).map(shake).buffer_unordered(AT_ONCE).inspect(move |accepted| {
        if let Err(error) = accepted {
            tracing::warn!(%error, field, "somebody could not connect");
        }
    })
}

impl TlsServer {
    /// Reads the files.
    pub(crate) async fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let Self { tls, field, protocol } = self;
        let at = |name: &str| format!("{field}.{name}");
        let certificate = secret::read(&at("certificate"), &tls.certificate).await?;
        let key = secret::read(&at("key"), &tls.key).await?;
        let chain = certificates(&certificate).map_err(|e| format!("{}: {e}", at("certificate")))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.map_err(|_| format!("{}: holds no private key in PEM", at("key")))?;
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| e.to_string())?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let wrong = |e: String| format!("{}: {e}", at("clientCa"));
                let mut roots = RootCertStore::empty();
                for ca in certificates(&secret::read(&at("clientCa"), ca).await?).map_err(wrong)? {
                    roots.add(ca).map_err(|e| wrong(e.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| wrong(e.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| format!("{field}: {e}"))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("holds no certificate in PEM".to_owned()),
    }
}
