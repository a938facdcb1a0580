//! The catalogue as an AsyncAPI 3.0 document and as JSON Schemas: generated from the types, so that it is never stale.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    MessageSet, MessageType, adoption, bucket, cluster, deploy, observation, outcome, quarantine, query,
    resource, step, stream,
};

/// Every generated file, by its path below `schemas/`.
pub fn files() -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> =
        schemas().into_iter().map(|(name, schema)| (format!("json/{name}.json"), pretty(&schema))).collect();
    files.insert("asyncapi.yaml".to_owned(), pretty(&document()));
    files
}

/// JSON is YAML; a stable order and an indentation of two make it readable.
fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

macro_rules! schema_of {
    ($name:literal, $ty:ty) => {
        ($name.to_owned(), schemars::schema_for!($ty).to_value())
    };
}

/// Every JSON Schema, by the name of its type.
fn schemas() -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = [
        schema_of!("resource.app.v1", resource::App),
        schema_of!("resource.cluster.v1", resource::Cluster),
        schema_of!("resource.registry.v1", resource::Registry),
        schema_of!("observation.endpoint.v1", observation::Endpoint),
        schema_of!("observation.workload.v1", observation::Workload),
        schema_of!("observation.node.v1", observation::Node),
        schema_of!("observation.cluster-health.v1", observation::ClusterHealth),
        schema_of!("observation.registration.v1", observation::Registration),
        schema_of!("observation.registry-status.v1", observation::RegistryStatus),
        schema_of!("query.v1", query::Query),
        schema_of!("query.outcome.v1", query::OutcomeQuery),
        schema_of!("query.history.v1", query::HistoryQuery),
        schema_of!("query.past.v1", query::PastQuery),
        schema_of!("view.event.v1", query::EventView),
        schema_of!("view.app-past.v1", query::AppPast),
        schema_of!("view.cluster-past.v1", query::ClusterPast),
        schema_of!("view.app.v1", query::AppView),
        schema_of!("view.cluster.v1", query::ClusterView),
        schema_of!("view.address.v1", query::AddressView),
        schema_of!("view.service.v1", query::ServiceStatus),
        schema_of!("outcome.v1", outcome::Outcome),
        schema_of!("quarantined.v1", quarantine::Quarantined),
        schema_of!("agent.mark-request.v1", step::MarkRequest),
        schema_of!("agent.step-request.v1", step::StepRequest),
        schema_of!("agent.step-result.v1", step::StepResult),
        schema_of!("registry.ask.v1", adoption::RegistryAsk),
        schema_of!("registry.told.v1", adoption::RegistryTold),
    ]
    .into();
    all.extend(message_schemas::<deploy::DeployCommand>());
    all.extend(message_schemas::<deploy::DeployEvent>());
    all.extend(message_schemas::<cluster::ClusterCommand>());
    all.extend(message_schemas::<cluster::ClusterEvent>());
    all
}

fn message_schemas<M: MessageSet>() -> impl Iterator<Item = (String, Value)> {
    let all = M::TYPES.iter().chain(M::FORMER);
    all.map(|t| (name_of::<M>(t), (t.schema)().to_value()))
}

fn name_of<M: MessageSet>(ty: &MessageType) -> String {
    format!("bcs.{}.{}.{}.v{}", M::SERVICE, ty.kind, ty.verb, ty.version)
}

fn document() -> Value {
    let mut channels = serde_json::Map::new();
    let mut operations = serde_json::Map::new();
    let mut messages = serde_json::Map::new();
    describe::<deploy::DeployCommand>("cmd", &mut channels, &mut operations, &mut messages);
    describe::<deploy::DeployEvent>("evt", &mut channels, &mut operations, &mut messages);
    describe::<cluster::ClusterCommand>("cmd", &mut channels, &mut operations, &mut messages);
    describe::<cluster::ClusterEvent>("evt", &mut channels, &mut operations, &mut messages);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "BCS bus",
            "version": "1.0.0",
            "description": "Commands and events of the platform on NATS JetStream. Generated from the types in schemas/.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/msgpack",
        "servers": { "local": { "host": "127.0.0.1:4222", "protocol": "nats" } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
        "x-jetstream": { "streams": streams(), "buckets": buckets() },
    })
}

/// One channel and one operation for each member of `M`, and one message for each version of it.
fn describe<M: MessageSet>(
    flow: &str,
    channels: &mut serde_json::Map<String, Value>,
    operations: &mut serde_json::Map<String, Value>,
    messages: &mut serde_json::Map<String, Value>,
) {
    for ty in M::TYPES {
        let (service, kind, verb) = (M::SERVICE, ty.kind, ty.verb);
        let id = format!("{flow}.{service}.{kind}.{verb}");
        let reference = |name: &str| json!({ "$ref": format!("#/components/messages/{name}") });
        let mut taken = json!({ "message": reference(&name_of::<M>(ty)) });
        for former in M::FORMER.iter().filter(|former| former.kind == kind && former.verb == verb) {
            taken[format!("v{}", former.version)] = reference(&name_of::<M>(former));
        }
        let parameter = |what: &str| json!({ "description": what });
        channels.insert(
            id.clone(),
            json!({
                "address": format!("bcs.{flow}.{service}.{{site}}.{{project}}.{kind}.{{name}}.{verb}"),
                "parameters": {
                    "site": parameter("site of the bus; local when there is one only"),
                    "project": parameter("project that owns the object"),
                    "name": parameter("name of the object"),
                },
                "messages": taken,
            }),
        );
        let action = if flow == "cmd" { "receive" } else { "send" };
        operations.insert(
            id.clone(),
            json!({ "action": action, "channel": { "$ref": format!("#/channels/{id}") } }),
        );
    }
    for ty in M::TYPES.iter().chain(M::FORMER) {
        let name = name_of::<M>(ty);
        messages.insert(
            name.clone(),
            json!({
                "name": name,
                "contentType": "application/msgpack",
                "payload": {
                    "schemaFormat": "application/schema+json;version=draft-2020-12",
                    "schema": { "$ref": format!("json/{name}.json") },
                },
            }),
        );
    }
}

fn streams() -> Vec<Value> {
    let describe = |s: stream::StreamSpec| {
        json!({
            "name": s.name, "subjects": s.subjects, "purpose": s.purpose,
            "max_age_s": s.max_age.as_secs(), "max_bytes": s.max_bytes,
            "max_msg_size": s.max_message_size, "duplicate_window_s": s.duplicate_window.as_secs(),
            "discard": match s.when_full {
                stream::WhenFull::RefuseNew => "new",
                stream::WhenFull::DropOldest => "old",
            },
        })
    };
    stream::all().into_iter().map(describe).collect()
}

fn buckets() -> Vec<Value> {
    bucket::ALL
        .iter()
        .map(|(name, purpose)| json!({ "name": name, "purpose": purpose, "history": 1 }))
        .collect()
}
