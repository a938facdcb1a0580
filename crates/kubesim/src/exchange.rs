//! One request over a connection that is open: webhooks and extenders of the scheduler are asked in this way, and simulators by those
//! who use them.

use std::error::Error as _;

use axum::{
    body::{self, Body},
    http::{Request, StatusCode, Uri, header},
};
use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer may be this large: a patch of a whole object, and a little more.
const LIMIT: usize = 3 << 20;

/// Why there is no answer, in words.
#[derive(Debug)]
pub(crate) enum Error {
    Status(StatusCode),
    Other(String),
}

/// Sends it, and waits for the whole answer; in words, why there is none.
pub(crate) async fn send<S>(stream: S, request: Request<Body>) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| words(&e))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        let code = response.status();
        let bytes = body::to_bytes(Body::new(response.into_body()), LIMIT).await;
        Ok((code, bytes.map_err(|error| format!("the answer cannot be read: {error}"))?))
    };
    // The connection moves only while somebody drives it.
    tokio::select! {
        answer = answered => answer,
        Err(error) = connection => Err(words(&error)),
    }
}

/// Asks a question in JSON.
pub(crate) async fn ask<S>(stream: S, uri: &Uri, question: &Value) -> Result<Value, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Body::from(question.to_string()))
        .map_err(|error| Error::Other(error.to_string()))?;
    let (code, bytes) = send(stream, request).await.map_err(Error::Other)?;
    if !code.is_success() {
        return Err(Error::Status(code));
    }
    serde_json::from_slice(&bytes).map_err(|error| Error::Other(format!("the answer is not JSON: {error}")))
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
