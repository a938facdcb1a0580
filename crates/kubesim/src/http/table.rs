//! Tables as `kubectl get` prints them: columns and cells by kind.

mod batch;
mod kept;
mod policy;
mod resource;
mod workload;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{pod_words, represent};
use crate::{
    clock,
    custom::Custom,
    kind::{self, Kind},
    object::{self, int, items, text},
    selector::Labels,
};

/// A column: name, and whether only wide output shows it.
type Column = (&'static str, bool);

const DEFAULT: &[Column] = &[("Name", false), ("Age", false)];

fn columns(kind: &Kind) -> &'static [Column] {
    match kind.id {
        "pods" => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("IP", true),
            ("Node", true),
            ("Nominated Node", true),
            ("Readiness Gates", true),
        ],
        "nodes" => &[
            ("Name", false),
            ("Status", false),
            ("Roles", false),
            ("Age", false),
            ("Version", false),
            ("Internal-IP", true),
            ("External-IP", true),
            ("OS-Image", true),
            ("Kernel-Version", true),
            ("Container-Runtime", true),
        ],
        "services" => &[
            ("Name", false),
            ("Type", false),
            ("Cluster-IP", false),
            ("External-IP", false),
            ("Port(s)", false),
            ("Age", false),
            ("Selector", true),
        ],
        "namespaces" => &[("Name", false), ("Status", false), ("Age", false)],
        "events" => {
            &[("Last Seen", false), ("Type", false), ("Reason", false), ("Object", false), ("Message", false)]
        }
        "endpointslices.discovery.k8s.io" => {
            &[("Name", false), ("AddressType", false), ("Ports", false), ("Endpoints", false), ("Age", false)]
        }
        "endpoints" => &[("Name", false), ("Endpoints", false), ("Age", false)],
        "configmaps" => &[("Name", false), ("Data", false), ("Age", false)],
        _ if *kind == kind::MUTATING_WEBHOOKS || *kind == kind::VALIDATING_WEBHOOKS => {
            &[("Name", false), ("Webhooks", false), ("Age", false)]
        }
        "secrets" => &[("Name", false), ("Type", false), ("Data", false), ("Age", false)],
        _ => workload::columns(kind)
            .or_else(|| batch::columns(kind))
            .or_else(|| resource::columns(kind))
            .or_else(|| policy::columns(kind))
            .or_else(|| kept::columns(kind))
            .unwrap_or(DEFAULT),
    }
}

fn cells(kind: &Kind, object: &Value) -> Vec<Value> {
    let (name, age) = (json!(object::name(object)), json!(age(text(object, "/metadata/creationTimestamp"))));
    match kind.id {
        "pods" => pod(object, name, age),
        "nodes" => node(object, name, age),
        "services" => service(object, name, age),
        "namespaces" => vec![name, json!(text(object, "/status/phase")), age],
        "events" => event(object),
        "endpointslices.discovery.k8s.io" => {
            let ports = list(items(object, "/ports").iter().map(|p| p["port"].to_string()));
            let addresses = items(object, "/endpoints").iter().flat_map(|e| items(e, "/addresses"));
            let addresses = list(addresses.filter_map(Value::as_str).map(str::to_owned));
            vec![name, object["addressType"].clone(), json!(ports), json!(addresses), age]
        }
        "endpoints" => {
            let addresses = items(object, "/subsets").iter().flat_map(|s| {
                let port = s["ports"][0]["port"].to_string();
                items(s, "/addresses").iter().map(move |a| format!("{}:{port}", text(a, "/ip")))
            });
            vec![name, json!(list(addresses)), age]
        }
        _ if *kind == kind::MUTATING_WEBHOOKS || *kind == kind::VALIDATING_WEBHOOKS => {
            vec![name, json!(items(object, "/webhooks").len()), age]
        }
        "configmaps" => vec![name, json!(object["data"].as_object().map_or(0, Map::len)), age],
        "secrets" => {
            vec![name, object["type"].clone(), json!(object["data"].as_object().map_or(0, Map::len)), age]
        }
        _ => workload::cells(kind, object, &name, &age)
            .or_else(|| batch::cells(kind, object, &name, &age))
            .or_else(|| resource::cells(kind, object, &name, &age))
            .or_else(|| policy::cells(kind, object, &name, &age))
            .or_else(|| kept::cells(kind, object, &name, &age))
            .unwrap_or_else(|| vec![name, age]),
    }
}

/// At most three entries, as kubectl users know them.
fn list(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    match all.len() {
        0 => "<unset>".to_owned(),
        n if n > 3 => format!("{} + {} more...", all[..3].join(","), n - 3),
        _ => all.join(","),
    }
}

fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

fn pod(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let (ready, all, restarts) = pod_words::counts(object);
    let gates = items(object, "/spec/readinessGates");
    let open = gates.iter().filter(|g| object::condition_true(object, text(g, "/conditionType"))).count();
    let gates = if gates.is_empty() { "<none>".to_owned() } else { format!("{open}/{}", gates.len()) };
    vec![
        name,
        json!(format!("{ready}/{all}")),
        json!(pod_words::status(object)),
        json!(restarts.to_string()),
        age,
        or_none(text(object, "/status/podIP")),
        or_none(text(object, "/spec/nodeName")),
        json!("<none>"),
        json!(gates),
    ]
}

fn node(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let ready = object::condition(object, "Ready").map_or("Unknown", |c| text(c, "/status"));
    let mut status = if ready == "True" { "Ready" } else { "NotReady" }.to_owned();
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let address = items(object, "/status/addresses").iter().find(|a| a["type"] == "InternalIP");
    let info = |field: &str| json!(text(object, &format!("/status/nodeInfo/{field}")));
    vec![
        name,
        json!(status),
        json!("<none>"),
        age,
        info("kubeletVersion"),
        or_none(address.map_or("", |a| text(a, "/address"))),
        json!("<none>"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn service(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let port = |p: &Value| match int(p, "/nodePort") {
        Some(node) => format!("{}:{node}/{}", p["port"], text(p, "/protocol")),
        None => format!("{}/{}", p["port"], text(p, "/protocol")),
    };
    let ports: Vec<String> = items(object, "/spec/ports").iter().map(port).collect();
    let external = if text(object, "/spec/type") == "LoadBalancer" { "<pending>" } else { "<none>" };
    let selector = Labels::from_map(object["spec"]["selector"].as_object()).to_string();
    vec![
        name,
        object["spec"]["type"].clone(),
        or_none(text(object, "/spec/clusterIP")),
        json!(external),
        or_none(&ports.join(",")),
        age,
        or_none(&selector),
    ]
}

fn event(object: &Value) -> Vec<Value> {
    let regarding = &object["involvedObject"];
    let place = format!("{}/{}", text(regarding, "/kind").to_lowercase(), text(regarding, "/name"));
    let seen = age(text(object, "/lastTimestamp"));
    vec![
        json!(seen),
        object["type"].clone(),
        object["reason"].clone(),
        json!(place),
        object["message"].clone(),
    ]
}

fn age(since: &str) -> String {
    since
        .parse::<Timestamp>()
        .map_or_else(|_| "<unknown>".to_owned(), |at| duration(clock::now().duration_since(at)))
}

fn duration(age: SignedDuration) -> String {
    let seconds = age.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// What a definition says of its tables. Without columns of its own, a custom resource shows its age.
fn custom_cells(custom: &Custom, object: &Value) -> Vec<Value> {
    let mut cells = vec![json!(object::name(object))];
    cells.extend(custom.columns.iter().map(|column| match (column.of_type.as_str(), column.cell(object)) {
        ("date", Value::String(since)) => json!(age(&since)),
        (_, found) => found,
    }));
    if custom.columns.is_empty() {
        cells.push(json!(age(text(object, "/metadata/creationTimestamp"))));
    }
    cells
}

fn custom_definitions(custom: &Custom) -> Vec<Value> {
    let definition = |name: &str, of_type: &str, format: &str, description: &str, priority: i64| json!({"name": name, "type": of_type, "format": format, "description": description, "priority": priority});
    let mut all = vec![definition("Name", "string", "name", "Name", 0)];
    all.extend(
        custom.columns.iter().map(|c| definition(&c.name, &c.of_type, &c.format, &c.description, c.priority)),
    );
    if custom.columns.is_empty() {
        all.push(definition("Age", "date", "", "Age", 0));
    }
    all
}

pub(crate) fn render<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    include: &str,
    metadata: &Map<String, Value>,
    with_columns: bool,
) -> Value {
    let row = |object: &Value| {
        let shown = match include {
            "Object" => represent::typed(kind, object).into_owned(),
            "None" => Value::Null,
            _ => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
            }
        };
        let cells = match kind.custom() {
            Some(custom) => custom_cells(custom, object),
            None => cells(kind, object),
        };
        json!({"cells": cells, "object": shown})
    };
    let definition = |(at, (name, wide)): (usize, &Column)| {
        json!({
            "name": name, "type": "string", "format": if at == 0 && *name == "Name" { "name" } else { "" },
            "description": name, "priority": i32::from(*wide),
        })
    };
    let columns: Vec<Value> = match kind.custom() {
        _ if !with_columns => Vec::new(),
        Some(custom) => custom_definitions(custom),
        None => columns(kind).iter().enumerate().map(definition).collect(),
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns,
        "rows": objects.map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_fills_its_columns() {
        for kind in crate::kind::published() {
            assert_eq!(columns(kind).len(), cells(kind, &json!({})).len(), "{}", kind.id);
        }
    }

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (3600, "60m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (200_000, "2d"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), expected);
        }
    }
}
