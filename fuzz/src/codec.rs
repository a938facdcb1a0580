//! Payloads of every type of the catalogue. An input is a line `<type> json` or `<type> msgpack`, and behind it the payload.

use std::{fmt::Debug, sync::LazyLock};

use bcs_schemas::{
    FieldError, MessageSet, TypeName,
    adoption::{RegistryAsk, RegistryTold},
    cluster::{ClusterCommand, ClusterEvent},
    codec::{self, ContentType},
    deploy::{DeployCommand, DeployEvent},
    observation::{ClusterHealth, Endpoint, Node, Registration, RegistryStatus, Workload},
    outcome::Outcome,
    quarantine::Quarantined,
    query::{
        AddressView, AppPast, AppView, ClusterPast, ClusterView, EventView, HistoryQuery, OutcomeQuery,
        PastQuery, Query, ServiceStatus,
    },
    resource::{App, Cluster, Registry},
    step::{MarkRequest, StepRequest, StepResult},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::legible;

/// Says whether it was read.
type Check = fn(&str, ContentType, &[u8]) -> bool;

/// What reads each type. The names that are no message types are those of the files in `schemas/json`.
static READERS: LazyLock<Vec<(String, Check)>> = LazyLock::new(|| {
    let alone: [(&str, Check); 27] = [
        ("agent.mark-request.v1", any::<MarkRequest>),
        ("agent.step-request.v1", any::<StepRequest>),
        ("agent.step-result.v1", any::<StepResult>),
        ("json", any::<Value>),
        ("observation.cluster-health.v1", any::<ClusterHealth>),
        ("observation.endpoint.v1", any::<Endpoint>),
        ("observation.node.v1", any::<Node>),
        ("observation.registration.v1", any::<Registration>),
        ("observation.registry-status.v1", any::<RegistryStatus>),
        ("observation.workload.v1", any::<Workload>),
        ("outcome.v1", any::<Outcome>),
        ("quarantined.v1", any::<Quarantined>),
        ("query.history.v1", any::<HistoryQuery>),
        ("query.outcome.v1", any::<OutcomeQuery>),
        ("query.past.v1", any::<PastQuery>),
        ("query.v1", any::<Query>),
        ("registry.ask.v1", any::<RegistryAsk>),
        ("registry.told.v1", any::<RegistryTold>),
        ("resource.app.v1", any::<App>),
        ("resource.cluster.v1", any::<Cluster>),
        ("resource.registry.v1", any::<Registry>),
        ("view.address.v1", any::<AddressView>),
        ("view.app-past.v1", any::<AppPast>),
        ("view.app.v1", any::<AppView>),
        ("view.cluster-past.v1", any::<ClusterPast>),
        ("view.cluster.v1", any::<ClusterView>),
        ("view.event.v1", any::<EventView>),
    ];
    let mut readers: Vec<(String, Check)> = Vec::new();
    readers.extend(members::<DeployCommand>());
    readers.extend(members::<DeployEvent>());
    readers.extend(members::<ClusterCommand>());
    readers.extend(members::<ClusterEvent>());
    readers.extend(alone.map(|(name, check)| (name.to_owned(), check)));
    readers.push(("view.service.v1".to_owned(), any::<ServiceStatus>));
    readers
});

/// Names of all types that are read here.
pub(crate) fn types() -> impl Iterator<Item = &'static str> {
    READERS.iter().map(|(name, _)| name.as_str())
}

/// The input that [`codec`] reads this payload from.
pub(crate) fn input(type_name: &str, form: ContentType, payload: &[u8]) -> Vec<u8> {
    let form = if form == ContentType::Json { "json" } else { "msgpack" };
    [format!("{type_name} {form}\n").as_bytes(), payload].concat()
}

/// Reads a payload as one type, in one form.
pub fn codec(input: &[u8]) {
    reads(input);
}

/// The same; says whether it was read.
pub(crate) fn reads(input: &[u8]) -> bool {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, payload) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let line = String::from_utf8_lossy(line);
    let (name, form) = line.split_once(' ').unwrap_or((&line, ""));
    let form = match form {
        "json" => ContentType::Json,
        "msgpack" => ContentType::MessagePack,
        _ => ContentType::guess(payload),
    };
    // A name of no type stands for some type: what a fuzzer changed in the line is not lost on it.
    let some = || &READERS[name.bytes().fold(0, |sum, byte| sum + usize::from(byte)) % READERS.len()];
    let (name, check) = READERS.iter().find(|(known, _)| known == name).unwrap_or_else(some);
    check(name, form, payload)
}

fn members<M: MessageSet + PartialEq>() -> impl Iterator<Item = (String, Check)> {
    let name =
        |ty: &bcs_schemas::MessageType| format!("bcs.{}.{}.{}.v{}", M::SERVICE, ty.kind, ty.verb, ty.version);
    M::TYPES.iter().map(move |ty| (name(ty), member::<M> as Check))
}

/// A command at its door, or an event at its reader.
fn member<M: MessageSet + PartialEq>(name: &str, form: ContentType, payload: &[u8]) -> bool {
    let name: TypeName = name.parse().expect("a name of the catalogue");
    let read = |form, payload: &[u8]| M::decode(&name.kind, &name.verb, name.version, form, payload);
    let message = match read(form, payload) {
        Ok(message) => message,
        Err(error) => {
            legible(&error);
            return false;
        }
    };
    assert_eq!(message.type_name(), name);
    let written = message.encode().expect("what was read can be written");
    same(&read(ContentType::MessagePack, &written), &message);
    let json = serde_json::to_vec(&message).expect("what was read can be written as JSON");
    same(&read(ContentType::Json, &json), &message);
    shown(&written);
    true
}

/// What is read tolerantly by some and strictly by others.
fn any<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    _: &str,
    form: ContentType,
    payload: &[u8],
) -> bool {
    let tolerant = codec::decode_as::<T>(form, payload);
    let strict = codec::decode_strict::<T>(form, payload);
    for error in [tolerant.as_ref().err(), strict.as_ref().err()].into_iter().flatten() {
        legible(error);
    }
    if let Ok(value) = &strict {
        same(&tolerant, value);
    }
    let Ok(value) = tolerant else { return false };
    let written = codec::encode(&value).expect("what was read can be written");
    same(&codec::decode(&written), &value);
    let json = serde_json::to_vec(&value).expect("what was read can be written as JSON");
    same(&codec::decode_json(&json), &value);
    shown(&written);
    true
}

/// Whatever we write can be shown to people.
fn shown(written: &[u8]) {
    codec::to_json(ContentType::MessagePack, written).expect("a message can be shown as JSON");
}

fn same<T: PartialEq + Debug>(again: &Result<T, FieldError>, value: &T) {
    match again {
        Ok(again) => assert_eq!(again, value, "reads back as something else"),
        Err(error) => panic!("does not read back: {error}: {value:?}"),
    }
}
