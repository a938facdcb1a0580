//! The server of the webhook protocol, version 1. It listens whether this sidecar keeps the registry or not: who does not is
//! told who does, and an ExternalDNS that is told so tries again in its next loop.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::Listener,
};
use bcs_kit::Tasks;
use bcs_schemas::resource::registry::ExternalDns;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};

use super::{
    desk::{Ask, Desk, Told, Why},
    translate,
    wire::{Changes, DomainFilter, Endpoint, MEDIA},
};
use crate::{
    domain::guest::{Domains, Refusal},
    driver::listen::{TlsServer, accept, accept_tls, bind},
};

/// Some 60 000 records.
const LARGEST: usize = 32 << 20;
/// How long a request may take to come.
const COMES: Duration = Duration::from_secs(30);
/// When an address that is not ours is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What an ExternalDNS is served.
struct Served {
    desk: Desk,
    domains: Arc<Domains>,
    /// What was told last, for what is asked next.
    told: Mutex<translate::Told>,
    /// What was left out the last time, so that each is logged once.
    left_out: Mutex<BTreeSet<String>>,
}

/// A refusal and its words.
type Refused = (StatusCode, String);

/// Serves until the group stops. An address that is another's, such as that of a sidecar that is being replaced, is tried
/// again. `zone` is the server's.
pub(crate) async fn serve(tasks: Tasks, settings: ExternalDns, zone: String, desk: Desk) {
    let include = if settings.domains.is_empty() { vec![zone.clone()] } else { settings.domains.clone() };
    let exclude = settings.exclude.iter().cloned().chain([format!("_bcs.{zone}")]).collect();
    let served = Arc::new(Served {
        desk,
        domains: Arc::new(Domains { include, exclude }),
        told: Mutex::default(),
        left_out: Mutex::default(),
    });
    let stopping = tasks.stopping();
    let mut said = String::new();
    loop {
        let Err(why) = serve_once(&tasks, &settings, &served).await else { return };
        if why != said {
            tracing::warn!(why, "no ExternalDNS can come yet, trying again");
            said = why;
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = sleep(AGAIN) => (),
        }
    }
}

async fn serve_once(tasks: &Tasks, settings: &ExternalDns, served: &Arc<Served>) -> Result<(), String> {
    let tls = settings.tls.clone();
    let tls = tls.map(|tls| TlsServer { tls, field: "externalDns.tls", protocol: b"http/1.1" });
    if let Some(tls) = &tls {
        tls.acceptor().await?;
    }
    let listener = bind("externalDns.listen", settings.listen).await?;
    tracing::info!(listen = %settings.listen, "an ExternalDNS can come");
    let (router, end) = (router(served.clone()), tasks.stopping().cancelled_owned());
    let at = settings.listen;
    let ended = match tls {
        None => {
            let incoming = Incoming { from: Box::pin(accept(listener)), at };
            axum::serve(incoming, router).with_graceful_shutdown(end).await
        }
        Some(tls) => {
            let incoming = Incoming { from: Box::pin(accept_tls(listener, tls)), at };
            axum::serve(incoming, router).with_graceful_shutdown(end).await
        }
    };
    ended.map_err(|e| e.to_string())
}

/// Connections as they come.
struct Incoming<C> {
    from: Pin<Box<dyn Stream<Item = io::Result<C>> + Send>>,
    at: SocketAddr,
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> Listener for Incoming<C> {
    type Io = C;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (C, SocketAddr) {
        loop {
            match self.from.next().await {
                Some(Ok(connection)) => return (connection, self.at),
                // It was said where it happened.
                Some(Err(_)) => (),
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

fn router(served: Arc<Served>) -> Router {
    Router::new()
        .route("/", get(negotiate))
        .route("/records", get(records).post(change))
        .route("/adjustendpoints", post(adjust))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(served)
}

/// For who wants to reach only the sidecar that can serve.
async fn ready(State(served): State<Arc<Served>>) -> (StatusCode, &'static str) {
    match served.desk.is_kept() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the registry is not kept here now\n"),
    }
}

async fn negotiate(State(served): State<Arc<Served>>, headers: HeaderMap) -> Result<Response, Refused> {
    accepts(&headers)?;
    let Domains { include, exclude } = &*served.domains;
    told(&DomainFilter::of(include, exclude))
}

async fn records(State(served): State<Arc<Served>>, headers: HeaderMap) -> Result<Response, Refused> {
    accepts(&headers)?;
    let Told::Records(shown, owned) = served.ask(Ask::Records(served.domains.clone())).await? else {
        return Err((StatusCode::INTERNAL_SERVER_ERROR, "another question was answered".to_owned()));
    };
    *lock(&served.told) = translate::Told::of(owned, &shown);
    told(&shown.into_iter().map(translate::endpoint).collect::<Vec<_>>())
}

async fn adjust(
    State(served): State<Arc<Served>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    accepts(&headers)?;
    let endpoints: Option<Vec<Endpoint>> = read(&headers, request).await?;
    let (kept, left_out) = translate::adjusted(endpoints.unwrap_or_default(), &lock(&served.told));
    served.note(left_out);
    told(&kept)
}

async fn change(
    State(served): State<Arc<Served>>,
    headers: HeaderMap,
    request: Request,
) -> Result<StatusCode, Refused> {
    let changes: Changes = read(&headers, request).await?;
    let wishes = translate::wishes(&changes).map_err(|why| refused(StatusCode::BAD_REQUEST, why))?;
    if wishes.is_empty() {
        return Ok(StatusCode::NO_CONTENT);
    }
    if let Told::Done(sets) = served.ask(Ask::Change(served.domains.clone(), wishes)).await? {
        tracing::info!(sets, "records of an ExternalDNS changed");
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Served {
    async fn ask(&self, ask: Ask) -> Result<Told, Refused> {
        self.desk.ask(ask).await.map_err(|why| match why {
            // An ExternalDNS takes these for passing.
            Why::Nobody(words) | Why::Refused(Refusal::Changed(words)) => {
                refused(StatusCode::SERVICE_UNAVAILABLE, words)
            }
            // And ends at these, without telling the words: the log has them.
            Why::Refused(Refusal::Never(words)) => refused(StatusCode::UNPROCESSABLE_ENTITY, words),
        })
    }

    /// Logs what an ExternalDNS is not told: each once, until it changes.
    fn note(&self, left_out: Vec<String>) {
        let now: BTreeSet<String> = left_out.into_iter().collect();
        let mut before = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        for why in now.difference(&before) {
            tracing::warn!(why, "a record of an ExternalDNS is not kept");
        }
        *before = now;
    }
}

fn lock(told: &Mutex<translate::Told>) -> std::sync::MutexGuard<'_, translate::Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(status: StatusCode, why: String) -> Refused {
    tracing::warn!(status = status.as_u16(), why, "an ExternalDNS was refused");
    (status, format!("{why}\n"))
}

/// Whether who asks understands the answer.
fn accepts(headers: &HeaderMap) -> Result<(), Refused> {
    match headers.get(header::ACCEPT).is_some_and(|accept| accept == MEDIA) {
        true => Ok(()),
        false => Err(refused(StatusCode::NOT_ACCEPTABLE, format!("Accept: expected {MEDIA}"))),
    }
}

async fn read<T: DeserializeOwned>(headers: &HeaderMap, request: Request) -> Result<T, Refused> {
    if headers.get(header::CONTENT_TYPE).is_none_or(|media| media != MEDIA) {
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("Content-Type: expected {MEDIA}")));
    }
    let body = whole(request.into_body()).await?;
    serde_json::from_slice(&body)
        .map_err(|e| refused(StatusCode::BAD_REQUEST, format!("the body is not as the protocol has it: {e}")))
}

async fn whole(body: Body) -> Result<Bytes, Refused> {
    match timeout(COMES, Limited::new(body, LARGEST).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let why = format!("the body is too large: expected at most {} MiB", LARGEST >> 20);
            Err(refused(StatusCode::PAYLOAD_TOO_LARGE, why))
        }
        Ok(Err(error)) => Err(refused(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"))),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned())),
    }
}

fn told(body: &impl Serialize) -> Result<Response, Refused> {
    let text = serde_json::to_vec(body).map_err(|e| {
        refused(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {e}"))
    })?;
    // Early versions of the protocol want to see what the answer depends on.
    Ok(([(header::CONTENT_TYPE, MEDIA), (header::VARY, "Content-Type")], text).into_response())
}
