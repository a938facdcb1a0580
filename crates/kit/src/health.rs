//! `/healthz` (the process lives), `/readyz` (it can do its work, or what it lacks), `/metrics` (OpenMetrics), and what a service
//! can be asked beside these.

mod ask;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::IntoResponse,
    routing::get,
};
use futures::future::BoxFuture;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;

pub use ask::{Unready, ready as ask_ready};

use crate::Tasks;

type Answer = BoxFuture<'static, Result<String, String>>;
type Question = Arc<dyn Fn() -> Answer + Send + Sync>;
type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Checks and metrics of a process. Clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    checks: Mutex<Vec<(String, Check)>>,
    metrics: Mutex<Registry>,
    questions: Mutex<HashMap<&'static str, Question>>,
}

/// The address could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: is it in use? choose another with health_address")]
pub struct Error {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

impl Health {
    /// No checks, no metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition of readiness; it says what is missing. It must not block.
    pub fn check(
        &self,
        name: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).push((name.into(), Box::new(check)));
    }

    /// Answers GET of `path`, which begins with a slash: 200 with a text, or 503 with what is in the way. It may take its time.
    pub fn answer(
        &self,
        path: &'static str,
        question: impl Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync + 'static,
    ) {
        let mut questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.insert(path, Arc::new(question));
    }

    fn ask(&self, path: &str) -> Option<Answer> {
        let questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.get(path).map(|question| question())
    }

    /// Lets `register` add metrics.
    pub fn metrics(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.0.metrics.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is missing, by check.
    pub fn missing(&self) -> Vec<String> {
        let checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().filter_map(|(name, check)| check().err().map(|why| format!("{name}: {why}"))).collect()
    }

    /// Serves the paths on `address` until the group stops; the address that it got.
    pub async fn serve(&self, tasks: &Tasks, address: SocketAddr) -> Result<SocketAddr, Error> {
        let failed = |source| Error { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .fallback(get(other))
            .with_state(self.clone());
        let stopping = tasks.stopping();
        tasks.spawn("health", async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "health server ended");
            }
        });
        Ok(bound)
    }
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let missing = health.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("\n")))
}

async fn other(State(health): State<Health>, path: Uri) -> impl IntoResponse {
    match health.ask(path.path()) {
        None => (StatusCode::NOT_FOUND, "nothing is here\n".to_owned()),
        Some(answer) => match answer.await {
            Ok(text) => (StatusCode::OK, format!("{text}\n")),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let mut body = String::new();
    let encoded = text::encode(&mut body, &health.0.metrics.lock().unwrap_or_else(PoisonError::into_inner));
    match encoded {
        Ok(()) => {
            let kind = [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            (StatusCode::OK, kind, body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
