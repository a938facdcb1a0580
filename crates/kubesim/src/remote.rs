//! A simulator in another process, found by its kubeconfig: for programs that let things go wrong there.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, Uri, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{exchange, tls};

/// Nothing there takes long.
const PATIENCE: Duration = Duration::from_secs(10);
const HOST: &str = "127.0.0.1";

/// A simulated cluster. It speaks TLS; one that does not cannot be told from what is none.
#[derive(Debug)]
pub struct Remote {
    name: String,
    url: String,
    port: u16,
    /// As PEM.
    authority: Vec<u8>,
    token: String,
}

/// Why nobody there is asked, or answers.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("is no kubeconfig with a current context")]
    NoKubeconfig,
    /// It may be a real one, so nothing was sent.
    #[error("points at {0}, which is no simulated cluster")]
    NotSimulated(String),
    /// With what went wrong.
    #[error("there is no answer: {0}")]
    Silent(String),
}

impl Remote {
    /// The cluster of the current context. A simulated one is on this machine, and has an authority of its own, by whose name it is
    /// known: whatever else is named there is never asked.
    ///
    /// # Errors
    /// When the text is no kubeconfig, or the cluster is not a simulated one; credentials are not told.
    pub fn of_kubeconfig(text: &str) -> Result<Self, RemoteError> {
        let none = || RemoteError::NoKubeconfig;
        let config: Value = serde_saphyr::from_str(text).map_err(|_| none())?;
        let entry = |list: &str, kind: &str, name: &str| {
            let found = config[list].as_array()?.iter().find(|entry| entry["name"] == *name)?;
            Some(found[kind].clone())
        };
        let current = config["current-context"].as_str().ok_or_else(none)?;
        let context = entry("contexts", "context", current).ok_or_else(none)?;
        let name = context["cluster"].as_str().ok_or_else(none)?;
        let cluster = entry("clusters", "cluster", name).ok_or_else(none)?;
        let user = context["user"].as_str().and_then(|user| entry("users", "user", user)).unwrap_or_default();
        let url: Uri = cluster["server"].as_str().and_then(|url| url.parse().ok()).ok_or_else(none)?;
        let authority = cluster["certificate-authority-data"].as_str().unwrap_or("");
        let authority = STANDARD.decode(authority).unwrap_or_default();
        let place = url.authority().map_or("", |authority| authority.as_str());
        // Whoever may ask can stand in it, too.
        let place = place.rsplit('@').next().unwrap_or(place);
        let bare = format!("{}://{place}", url.scheme_str().unwrap_or("http"));
        let ours = url.scheme_str() == Some("https") && url.host() == Some(HOST) && tls::is_ours(&authority);
        let port = url.port_u16().filter(|_| ours);
        let port = port.ok_or_else(|| RemoteError::NotSimulated(bare.clone()))?;
        let token = user["token"].as_str().unwrap_or_default().to_owned();
        Ok(Self { name: name.to_owned(), url: bare, port, authority, token })
    }

    /// As its kubeconfig calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks in JSON; the answer with its code.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, String), RemoteError> {
        match tokio::time::timeout(PATIENCE, self.ask(method, path, body)).await {
            Ok(answer) => answer.map_err(RemoteError::Silent),
            Err(_) => Err(RemoteError::Silent(format!("not within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String), String> {
        let stream = TcpStream::connect((HOST, self.port)).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(HOST).map_err(|error| error.to_string())?;
        let stream =
            tls::trusting(&self.authority)?.connect(name, stream).await.map_err(|e| e.to_string())?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{HOST}:{}", self.port))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map(|body| Body::from(body.to_string())).unwrap_or_default());
        let (code, bytes) = exchange::send(stream, request.map_err(|error| error.to_string())?).await?;
        Ok((code.as_u16(), String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Authority;

    fn kubeconfig(server: &str, authority: &str) -> String {
        let authority = STANDARD.encode(authority);
        format!(
            "current-context: b\nclusters:\n- name: x\n  cluster: {{server: {server:?}, certificate-authority-data: {authority:?}}}\n\
             - name: y\n  cluster: {{}}\nusers:\n- name: u\n  user: {{token: hush}}\ncontexts:\n\
             - name: a\n  context: {{cluster: y}}\n- name: b\n  context: {{cluster: x, user: u}}\n"
        )
    }

    #[test]
    fn a_kubeconfig_says_where_its_simulated_cluster_is() {
        let authority = Authority::new("sim-a").expect("made").certificate;
        let remote =
            Remote::of_kubeconfig(&kubeconfig("https://127.0.0.1:4711", &authority)).expect("is one");
        assert_eq!(
            (remote.name(), remote.url(), remote.token.as_str()),
            ("x", "https://127.0.0.1:4711", "hush")
        );
    }

    #[test]
    fn a_real_cluster_is_none_and_its_credentials_are_not_told() {
        let ours = Authority::new("sim-a").expect("made").certificate;
        let theirs = ours.replace("BEGIN", "BEGIN NO");
        for (server, authority) in [
            ("https://hush:hush@10.0.0.1:6443", &ours),
            ("https://example.org", &ours),
            ("http://127.0.0.1:6443", &ours),
            ("https://127.0.0.1:6443", &theirs),
        ] {
            let error = Remote::of_kubeconfig(&kubeconfig(server, authority)).expect_err(server).to_string();
            assert!(error.contains("no simulated cluster") && !error.contains("hush"), "{error}");
        }
        for text in ["", "a: [", "kind: Config", "current-context: a"] {
            let error = Remote::of_kubeconfig(text).expect_err(text);
            assert!(matches!(error, RemoteError::NoKubeconfig), "{text}: {error}");
        }
    }
}
