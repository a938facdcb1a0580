//! One question in JSON over a connection that is open: webhooks and extenders of the scheduler are asked in this way.

use std::error::Error as _;

use axum::{
    body::{self, Body},
    http::{Request, StatusCode, Uri, header},
};
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

/// Asks once.
pub(crate) async fn ask<S>(stream: S, uri: &Uri, question: &Value) -> Result<Value, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| words(&e))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Body::from(question.to_string()))
        .map_err(|error| Error::Other(error.to_string()))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        if !response.status().is_success() {
            return Err(Error::Status(response.status()));
        }
        let bytes = body::to_bytes(Body::new(response.into_body()), LIMIT).await;
        let bytes = bytes.map_err(|error| Error::Other(format!("the answer cannot be read: {error}")))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Other(format!("the answer is not JSON: {error}")))
    };
    // The connection moves only while somebody drives it.
    tokio::select! {
        answer = answered => answer,
        Err(error) = connection => Err(words(&error)),
    }
}

/// An error with its causes: the first alone says little.
fn words(error: &hyper::Error) -> Error {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    Error::Other(words)
}
