//! The door at which API servers ask: HTTPS, one path. Who is slow holds up nobody else.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring},
};
use tokio_util::sync::CancellationToken;

use super::desk::Desk;

/// Where pods are asked about.
const PATH: &str = "/inject";
/// A question may be this large: etcd takes objects of half the size.
const LIMIT: usize = 3 << 20;
/// Whoever does not begin to speak TLS within this time is not waited for.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A question must be whole within this time; API servers wait no longer than `timeoutSeconds` (3 s).
const WHOLE: Duration = Duration::from_millis(2500);
/// An API server closes a connection that it does not use after 90 s. It must be the first to do so: a question that meets a
/// closing connection is not asked again.
const IDLE: Duration = Duration::from_secs(120);
/// So many connections at once; further ones wait.
const PLACES: usize = 256;
/// How long answers under way may take when the server ends.
const WIND_DOWN: Duration = Duration::from_secs(2);
/// Pause when no connection can be taken, for example for lack of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until told to stop.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>, stopping: CancellationToken) {
    let acceptor = match acceptor(desk.clone()) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!(%error, "TLS cannot be set up, so the webhook does not answer"),
    };
    let places = Arc::new(Semaphore::new(PLACES));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            // Those that ended are forgotten.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (acceptor, desk, stopping) = (acceptor.clone(), desk.clone(), stopping.clone());
        connections.spawn(async move {
            connection(stream, acceptor, desk, stopping).await;
            drop(place);
        });
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(WIND_DOWN, ended).await.is_err() {
        tracing::debug!("connections of the webhook were cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "webhook cannot take a connection");
            tokio::time::sleep(BREATH).await;
            None
        }
    }
}

fn acceptor(desk: Arc<Desk>) -> Result<TlsAcceptor, tokio_rustls::rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(desk);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, desk: Arc<Desk>, stopping: CancellationToken) {
    let peer = stream.peer_addr().ok();
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        // An API server that does not believe us says so here: somebody should know.
        Ok(Err(error)) => return complain(peer, &error.to_string()),
        Err(_) => return complain(peer, "TLS was not spoken in time"),
    };
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(respond(request, &desk).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, %error, "a connection of the webhook broke");
    }
}

fn complain(peer: Option<SocketAddr>, error: &str) {
    tracing::warn!(?peer, error, "a connection to the webhook came to nothing");
}

async fn respond(request: Request<Incoming>, desk: &Desk) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return words(StatusCode::NOT_FOUND, format!("there is only {PATH} here"));
    }
    if request.method() != Method::POST {
        let mut response = words(StatusCode::METHOD_NOT_ALLOWED, "expected POST".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let body = match tokio::time::timeout(WHOLE, Limited::new(request.into_body(), LIMIT).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let problem = format!("the body is larger than {} MiB", LIMIT >> 20);
            return words(StatusCode::PAYLOAD_TOO_LARGE, problem);
        }
        Ok(Err(error)) => return words(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")),
        Err(_) => {
            let problem = format!("the body was not whole within {} ms", WHOLE.as_millis());
            return words(StatusCode::REQUEST_TIMEOUT, problem);
        }
    };
    match desk.answer(&body) {
        Ok(answer) => said(StatusCode::OK, "application/json", answer.review.to_string()),
        Err(why) => words(StatusCode::BAD_REQUEST, why),
    }
}

fn words(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    said(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn said(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
