//! Calls webhooks: always over TLS, and only those whose certificate the given authority signed.

use std::{net::SocketAddr, time::Duration};

use axum::http::Uri;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{exchange, tls};

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
        let pem = STANDARD.decode(&self.authority).map_err(|error| format!("caBundle: {error}"))?;
        let tls = tls::trusting(&pem).map_err(|error| format!("caBundle: {error}"))?;
        let stream = tls.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
        exchange::ask(stream, &uri, question).await.map_err(|error| match error {
            exchange::Error::Status(code) => format!("the server answered {code}"),
            exchange::Error::Other(words) => words,
        })
    }
}
