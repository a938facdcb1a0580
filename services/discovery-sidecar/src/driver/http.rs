//! HTTP towards registries that speak it: deadlines, bounded answers, TLS, secrets in headers, and failures in words that
//! never show one. Nothing is redirected, and no proxy of the environment is asked.

mod tls;

use std::time::Duration;

use bcs_schemas::resource::registry::Tls;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::{Body, Incoming},
    header::{HeaderName, HeaderValue},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::domain::Failure;

/// How long one call may take.
pub(super) const WITHIN: Duration = Duration::from_secs(3);
/// How long a long answer may take as long as it goes on.
const WHOLE: Duration = Duration::from_secs(30);
/// More than any registry that we can keep.
const LIMIT: usize = 64 * 1024 * 1024;
/// Of an answer that is shown to people.
const SHOWN: usize = 300;

/// A connection to a registry, by whatever name people know that.
#[derive(Clone)]
pub(super) struct Http {
    kind: &'static str,
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
    /// What must never be told.
    secrets: Vec<String>,
}

/// An answer, whatever its status is.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Http {
    /// Nothing is sent yet. `kind` begins what is said to people.
    pub(super) async fn open(kind: &'static str, url: &str, tls: Option<&Tls>) -> Result<Self, Failure> {
        let connector = tls::connector(&format!("driver.{kind}.tls"), tls).await;
        let connector = connector.map_err(Failure::Unavailable)?;
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(WITHIN * 3).build(connector);
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { kind, base, client, headers: HeaderMap::new(), secrets: Vec::new() })
    }

    /// A header of every call.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// A header of every call whose value nobody is told.
    pub(super) fn with_secret(
        mut self,
        field: &str,
        name: &'static str,
        value: &str,
    ) -> Result<Self, Failure> {
        let mut held = HeaderValue::from_str(value).map_err(|_| {
            Failure::Unavailable(format!("{field}: holds what cannot be sent: expected one line of text"))
        })?;
        held.set_sensitive(true);
        self.headers.insert(HeaderName::from_static(name), held);
        Ok(self.hiding(value))
    }

    /// What is never told, wherever it comes back.
    pub(super) fn hiding(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
        }
        self
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    /// `path` begins with a slash and is encoded already.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<&'static str>,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        let doing = format!("{method} {}", path.split('?').next().unwrap_or_default());
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|e| self.failed(&doing, &format!("cannot be asked for: {e}")))?;
        let mut request = Request::new(Full::new(body.into()));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) =
            (method, uri, self.headers.clone());
        if let Some(content) = content {
            request.headers_mut().insert("content-type", HeaderValue::from_static(content));
        }
        let answer = timeout(WITHIN, self.client.request(request)).await;
        let answer = answer.map_err(|_| self.failed(&doing, "got no answer in time"))?;
        let answer = answer.map_err(|e| self.failed(&doing, &format!("failed: {}", words(&e))))?;
        let (head, body) = answer.into_parts();
        if head.status.is_redirection() {
            return Err(
                self.failed(&doing, &format!("was answered {}: redirects are not followed", head.status))
            );
        }
        let body = read(body).await.map_err(|why| self.failed(&doing, &why))?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// What an answer says that nobody expected; who is at fault is the caller's to know.
    pub(super) fn said(&self, answer: &Answer) -> String {
        let text = answer.text();
        let mut shown: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if shown.len() > SHOWN {
            let cut = (0..=SHOWN).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or_default();
            shown.truncate(cut);
            shown.push('…');
        }
        let status = answer.status;
        self.hide(if shown.is_empty() { status.to_string() } else { format!("{status}: {shown}") })
    }

    /// The same as a failure of which nobody knows what it did.
    pub(super) fn unexpected(&self, doing: &str, answer: &Answer) -> Failure {
        self.failed(doing, &format!("was answered {}", self.said(answer)))
    }

    /// Words for people, with the registry's kind before them.
    pub(super) fn failed(&self, doing: &str, why: &str) -> Failure {
        Failure::Unavailable(self.hide(format!("{}: {doing} {why}", self.kind)))
    }

    fn hide(&self, words: String) -> String {
        self.secrets.iter().fold(words, |words, secret| words.replace(secret, "(secret)"))
    }
}

/// The whole body, if it is not too large and goes on.
async fn read(mut body: Incoming) -> Result<Bytes, String> {
    let end = Instant::now() + WHOLE;
    let mut whole = BytesMut::new();
    while !body.is_end_stream() {
        let frame = timeout_at(end.min(Instant::now() + WITHIN), body.frame()).await;
        let Some(frame) = frame.map_err(|_| "was answered in part only".to_owned())? else { break };
        let frame = frame.map_err(|e| format!("broke off: {}", words(&e)))?;
        if let Ok(data) = frame.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > LIMIT {
            return Err(format!("was answered with more than {} MiB", LIMIT >> 20));
        }
    }
    Ok(whole.freeze())
}

/// With its causes, each once: the reason lies at the bottom.
fn words(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
