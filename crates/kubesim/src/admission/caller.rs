//! Calls webhooks: always over TLS, and only those whose certificate the given authority signed.

use std::{error::Error as _, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::{self, Body},
    http::{Request, Uri, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

/// An answer may be this large: a patch of a whole object, and a little more.
const LIMIT: usize = 3 << 20;

/// Where to call, and whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub url: String,
    /// What the host of the URL stands for, when only this cluster knows it.
    pub address: Option<SocketAddr>,
    /// Certificates as PEM, in base64.
    pub authority: String,
}

impl Line {
    /// Asks once, on a connection of its own; what goes wrong is told in the words of the real server.
    pub(super) async fn call(&self, question: &Value, patience: Duration) -> Result<Value, String> {
        let url = format!("{}?timeout={}s", self.url, patience.as_secs());
        match tokio::time::timeout(patience, self.ask(&url, question)).await {
            Ok(answer) => answer.map_err(|why| format!("Post {url:?}: {why}")),
            Err(_) => Err(format!("Post {url:?}: context deadline exceeded")),
        }
    }

    async fn ask(&self, url: &str, question: &Value) -> Result<Value, String> {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        let host = uri.host().ok_or("the URL names no host")?.to_owned();
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let name =
            ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|e| e.to_string())?;
        let stream = match self.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(443))).await,
        };
        let stream = stream.map_err(|error| format!("dial tcp {authority}: {error}"))?;
        let stream =
            self.connector()?.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| words(&e))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let request = Request::post(path)
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Body::from(question.to_string()))
            .map_err(|error| error.to_string())?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|error| words(&error))?;
            if !response.status().is_success() {
                return Err(format!("the server answered {}", response.status()));
            }
            let bytes = body::to_bytes(Body::new(response.into_body()), LIMIT).await;
            let bytes = bytes.map_err(|error| format!("the answer cannot be read: {error}"))?;
            serde_json::from_slice(&bytes).map_err(|error| format!("the answer is not JSON: {error}"))
        };
        // The connection moves only while somebody drives it.
        tokio::select! {
            answer = answered => answer,
            Err(error) = connection => Err(words(&error)),
        }
    }

    fn connector(&self) -> Result<TlsConnector, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("caBundle: {error}");
        let pem = STANDARD.decode(&self.authority).map_err(|error| wrong(&error))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// An error with its causes: the first alone says little.
fn words(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}
