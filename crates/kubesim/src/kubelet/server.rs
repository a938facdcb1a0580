//! The process that a container pretends to run: it answers HTTP on the pod's own address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{Response, StatusCode, Uri},
    response::IntoResponse as _,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::plan::{Part, tag};
use crate::{
    object::{self, int, items, text},
    task::Tasks,
};

pub(crate) struct App {
    answer: Value,
    latency: Duration,
    error_rate: f64,
}

impl App {
    pub(crate) fn new(cluster: &str, pod: &Value, container: &Value, part: &Part) -> Self {
        let image = text(container, "/image");
        let name = object::label(pod, "app").or_else(|| object::label(pod, "app.kubernetes.io/name"));
        let answer = json!({
            "pod": object::name(pod), "namespace": object::namespace(pod), "app": name.unwrap_or_else(|| object::name(pod)),
            "version": tag(image), "node": text(pod, "/spec/nodeName"), "cluster": cluster,
        });
        Self { answer, latency: part.latency, error_rate: part.error_rate.clamp(0.0, 1.0) }
    }
}

/// The ports that a container declares.
pub(crate) fn ports(container: &Value) -> Vec<u16> {
    let tcp = items(container, "/ports").iter().filter(|p| matches!(text(p, "/protocol"), "" | "TCP"));
    let mut ports: Vec<u16> = tcp.filter_map(|p| u16::try_from(int(p, "/containerPort")?).ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

pub(crate) fn bind(address: Ipv4Addr, ports: &[u16]) -> io::Result<Vec<TcpListener>> {
    ports
        .iter()
        .map(|port| {
            let listener = TcpListener::bind(SocketAddr::from((address, *port)))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect()
}

/// Serves until the returned token is cancelled; requests under way are answered to their end.
pub(crate) fn serve(tasks: &Tasks, listeners: Vec<TcpListener>, app: App) -> CancellationToken {
    let stop = tasks.stop.child_token();
    let router = Router::new().fallback(answer).with_state(Arc::new(app));
    for listener in listeners {
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn_to_end(async move {
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned()).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::warn!(%error, "a pod stopped listening");
            }
        });
    }
    stop
}

async fn answer(State(app): State<Arc<App>>, uri: Uri) -> Response<Body> {
    if uri.path() == "/healthz" {
        return "ok".into_response();
    }
    tokio::time::sleep(app.latency).await;
    if app.error_rate > 0.0 && rand::random_bool(app.error_rate) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "simulated failure\n").into_response();
    }
    let mut body = app.answer.clone();
    body["path"] = json!(uri.path());
    Json(body).into_response()
}
