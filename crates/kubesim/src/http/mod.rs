//! The HTTP shell: authentication, faults and dispatch; the work is done by the modules below and the store.

mod admin;
mod body;
mod container;
mod discovery;
mod door;
mod duplicate;
mod log;
mod openapi;
mod pod_words;
mod read;
mod represent;
mod stream;
mod subresource;
mod table;
mod target;
mod watch;
mod write;

pub(crate) use self::target::Target;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
};

use self::{represent::Form, stream::Upgrade};
use crate::{
    access::{
        self, Attributes, Identity, Tokens,
        review::{self, Review},
    },
    admission::Gate,
    connection::Peer,
    faults::Faults,
    kubelet::process::log::Logs,
    status::Status,
    store::Store,
    task::Tasks,
};

pub(crate) struct Api {
    pub store: Arc<Store>,
    pub gate: Arc<Gate>,
    pub faults: Arc<Faults>,
    pub tokens: Tokens,
    pub logs: Arc<Logs>,
    pub tasks: Tasks,
    pub requests: AtomicU64,
    pub watches: AtomicU64,
}

pub(crate) type Reply = Result<Response<Body>, Status>;

/// One request with everything that handlers ask about it.
pub(crate) struct Call {
    pub method: Method,
    pub query: HashMap<String, String>,
    /// All parameters, since some may be given more than once.
    pub parameters: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub who: Identity,
    pub form: Form,
}

/// What of a request is read only once.
pub(crate) struct Wire {
    pub body: Body,
    pub upgrade: Upgrade,
}

impl Call {
    pub(crate) fn param(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// Every value of a parameter, in order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), "true" | "1")
    }

    /// The field manager: named, or the program that calls.
    pub(crate) fn manager(&self) -> String {
        let named = self.param("fieldManager");
        if !named.is_empty() {
            return named.to_owned();
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let agent = agent.split('/').next().unwrap_or("");
        if agent.is_empty() { "unknown".to_owned() } else { agent.to_owned() }
    }
}

pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new().fallback(serve).with_state(api)
}

async fn serve(
    State(api): State<Arc<Api>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response<Body> {
    if !api.faults.reachable(&peer.line, request.uri().path()) {
        // Nobody reads it: the connection is cut.
        return Response::default();
    }
    api.requests.fetch_add(1, Ordering::Relaxed);
    match answer(&api, &peer, request).await {
        Ok(response) => response,
        Err(status) => failure(&status),
    }
}

pub(crate) fn failure(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = represent::json(code, &status.body());
    if status.code == 401 {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn answer(api: &Arc<Api>, peer: &Peer, request: Request) -> Reply {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if let Some(public) = discovery::public(&path) {
        return Ok(public);
    }
    let who = access::authenticate(&api.store, &api.tokens, peer, &parts.headers)?;
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
        .map_err(|e| Status::bad_request(e.to_string()))?;
    let form = Form::negotiate(&parts.headers);
    let wire = Wire { body, upgrade: Upgrade::of(&mut parts).await };
    let call = Call {
        method: parts.method,
        query: parameters.iter().cloned().collect(),
        parameters,
        headers: parts.headers,
        who,
        form: Form::Full,
    };
    if let Some(action) = path.strip_prefix("/sim/") {
        let verb = call.method.as_str().to_lowercase();
        access::authorize(
            &api.store,
            &call.who,
            &Attributes { verb, path: path.clone(), ..Attributes::default() },
        )?;
        return admin::handle(api, action, call, wire.body).await;
    }
    tokio::time::sleep(api.faults.latency()).await;
    api.faults.roll_error()?;
    if path == "/openapi/v2" || path.starts_with("/openapi/v3") {
        return openapi::handle(api.store.kinds(), &path, &call.headers);
    }
    if let Some(document) = discovery::document(api.store.kinds(), &path, &call.headers) {
        return Ok(document);
    }
    if let Some((review, namespace)) = review::find(&path) {
        // An answer is no object, and so there is no table of it.
        if form? != Form::Full {
            return Err(represent::not_acceptable());
        }
        return answer_review(api, review, namespace, call, wire.body).await;
    }
    let target = Target::parse(api.store.kinds(), &path).ok_or_else(Status::no_such_path)?;
    access::authorize(&api.store, &call.who, &access::of_request(&target, &call))?;
    dispatch(api, target, Call { form: form?, ..call }, wire).await
}

async fn answer_review(api: &Api, review: &Review, namespace: &str, call: Call, body: Body) -> Reply {
    if call.method != Method::POST {
        return Err(Status::method_not_allowed());
    }
    access::authorize(&api.store, &call.who, &review.attributes(namespace))?;
    let question = body::object(&call.headers, body).await?;
    let answer = review.answer(&api.store, &api.tokens, &call.who, &question)?;
    Ok(represent::json(StatusCode::CREATED, &answer))
}

async fn dispatch(api: &Arc<Api>, target: Target, call: Call, wire: Wire) -> Reply {
    let watching = call.flag("watch");
    write::check_options(&call)?;
    if matches!(call.method, Method::PUT | Method::PATCH) && api.faults.roll_conflict() {
        return Err(Status::stale(target.kind, &target.name));
    }
    if !target.subresource.is_empty() {
        return subresource::handle(api, target, call, wire).await;
    }
    let body = wire.body;
    match (call.method.clone(), target.name.is_empty()) {
        (Method::GET, _) if watching => watch::start(api, &target, &call),
        (Method::GET, true) => read::list(api, &target, &call),
        (Method::GET, false) => read::get(api, &target, &call),
        (Method::POST, true) => write::create(api, target, call, body).await,
        (Method::PUT, false) => write::replace(api, target, call, body).await,
        (Method::PATCH, false) => write::patch(api, target, call, body).await,
        (Method::DELETE, false) => write::delete(api, target, call, body).await,
        (Method::DELETE, true) => write::delete_collection(api, target, call, body).await,
        _ => Err(Status::method_not_allowed()),
    }
}
