//! The agent of the FAKE: services that are registered with it, of which it tells the catalog at once, on its node. What a
//! catalog forgets it does not.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use serde_json::{Map, Value, json};

use super::{Shared, Store, check_meta};

/// The node that the agent runs on, unless a test gives it another name.
pub(crate) const NODE: &str = "agent-one";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/agent/self", get(itself))
        .route("/v1/agent/services", get(services))
        .route("/v1/agent/service/register", put(register))
        .route("/v1/agent/service/deregister/{id}", put(deregister))
}

async fn itself(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    let node = store.agent_node();
    Json(json!({
        "Config": { "Datacenter": "dc1", "NodeName": node, "NodeID": "", "Server": false, "Version": "1.21.0" },
        "Member": { "Name": node, "Addr": "192.0.2.2", "Status": 1 },
    }))
    .into_response()
}

/// Of what a token may not read nothing is told, and that is no error.
async fn services(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match shared.enter(&headers) {
        Ok(store) => Json(json!(store.local)).into_response(),
        Err(_) if !headers.contains_key("x-consul-token") => Json(json!({})).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn register(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let definition: Map<String, Value> = match serde_json::from_slice(&body) {
        Ok(definition) => definition,
        Err(e) => return (StatusCode::BAD_REQUEST, format!("Request decode failed: {e}")).into_response(),
    };
    let mut store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    match local(&definition) {
        Ok(service) => store.register_locally(service).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

async fn deregister(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let mut store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    if store.local.remove(&id).is_none() {
        let words =
            format!("Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name.");
        return (StatusCode::NOT_FOUND, words).into_response();
    }
    let node = store.agent_node();
    store.next();
    store.services.remove(&(node, id));
    StatusCode::OK.into_response()
}

/// What the agent makes of a definition, or why it does not take it.
fn local(definition: &Map<String, Value>) -> Result<Value, String> {
    let given = |field: &str| definition.get(field).filter(|value| !value.is_null()).cloned();
    let text = |field: &str| given(field).and_then(|value| value.as_str().map(ToOwned::to_owned));
    let name = text("Name").filter(|name| !name.is_empty()).ok_or("Missing service name")?;
    let address = text("Address").unwrap_or_default();
    if ["0.0.0.0", "::", "[::]"].contains(&address.as_str()) {
        return Err("Invalid service address".to_owned());
    }
    let weights = given("Weights").unwrap_or_else(|| json!({ "Passing": 1, "Warning": 1 }));
    for (field, least) in [("Passing", 1), ("Warning", 0)] {
        let weight = weights[field].as_i64().unwrap_or(0);
        if weight < least {
            return Err(format!("Invalid Weights: {field} must be greater than {}", least - 1));
        }
        if weight > 65535 {
            return Err(format!("Invalid Weights: {field} must be lower or equal than 65535"));
        }
    }
    let meta = given("Meta").unwrap_or_else(|| json!({}));
    if meta.as_object().is_some_and(|meta| meta.len() > 64) {
        return Err(
            "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs".to_owned()
        );
    }
    check_meta(&meta).map_err(|why| format!("Invalid Service Meta: {why}"))?;
    let port = given("Port").unwrap_or_else(|| json!(0));
    let tagged = |scope: &str, version: u8| {
        (format!("{scope}_ipv{version}"), json!({ "Address": address, "Port": port }))
    };
    let tagged: Map<String, Value> = match address.parse::<std::net::IpAddr>() {
        Ok(ip) => {
            ["lan", "wan"].map(|scope| tagged(scope, if ip.is_ipv4() { 4 } else { 6 })).into_iter().collect()
        }
        Err(_) => Map::new(),
    };
    Ok(json!({
        "ID": text("ID").filter(|id| !id.is_empty()).unwrap_or_else(|| name.clone()), "Service": name,
        "Tags": given("Tags").unwrap_or_else(|| json!([])), "Meta": meta, "Port": port, "Address": address,
        "TaggedAddresses": tagged, "Weights": weights, "EnableTagOverride": false, "Datacenter": "dc1",
    }))
}

impl Store {
    fn agent_node(&self) -> String {
        self.agent.clone().unwrap_or_else(|| NODE.to_owned())
    }

    fn register_locally(&mut self, service: Value) -> StatusCode {
        let (index, node) = (self.next(), self.agent_node());
        self.nodes.entry(node.clone()).or_insert_with(|| json!({ "Node": node, "Address": "192.0.2.2" }));
        self.set_service(index, &node, &service);
        self.local.insert(service["ID"].as_str().unwrap_or_default().to_owned(), service);
        StatusCode::OK
    }
}
