//! The container that is put in.

use std::net::SocketAddr;

use bcs_engines::kubernetes::label;
use bcs_schemas::{Millis, resource::app::Resources};
use serde_json::{Map, Value, json};

use super::{Ask, Sidecar};

/// A user without any rights, as images without a shell have it.
const NOBODY: u32 = 65532;
/// Seconds that it may take to start before it is started again.
const STARTS_WITHIN: u32 = 120;

/// What a container waits for before it is told to stop.
pub(super) fn hold(port: u16) -> Value {
    json!({ "httpGet": { "path": "/hold", "port": port } })
}

/// The sidecar.
pub(super) fn of(ask: Ask<'_>, sidecar: &Sidecar, port: u16) -> Value {
    let mut container = json!({
        "name": label::SIDECAR,
        "image": sidecar.image,
        "env": environment(ask, sidecar, port),
        "ports": [{ "name": "bcs-sidecar", "containerPort": port, "protocol": "TCP" }],
        "volumeMounts": sidecar.mounts(),
        // Whoever comes after it begins when it is up. Nothing else hangs on its health: an instance serves without it.
        "startupProbe": {
            "httpGet": { "path": "/healthz", "port": port },
            "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": STARTS_WITHIN,
        },
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": NOBODY, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if !sidecar.command.is_empty() {
        container["command"] = json!(sidecar.command);
    }
    if let Some(resources) = resources(&sidecar.resources) {
        container["resources"] = resources;
    }
    if ask.native {
        container["restartPolicy"] = json!("Always");
    } else {
        // All containers are told to stop at once: it must not end before it has answered.
        container["lifecycle"] = json!({ "preStop": hold(port) });
    }
    container
}

fn environment(ask: Ask<'_>, sidecar: &Sidecar, port: u16) -> Vec<Value> {
    let value = |name: &str, value: String| json!({ "name": name, "value": value });
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut all = vec![value("BCS__CLUSTER", ask.cluster.to_string())];
    all.extend(
        sidecar
            .bus
            .environment(ask, sidecar.settings.is_some())
            .into_iter()
            .map(|(name, text)| value(name, text)),
    );
    all.extend([
        value("BCS__HEALTH_ADDRESS", SocketAddr::from((sidecar.listen, port)).to_string()),
        field("BCS__BESIDE__PROJECT", "metadata.namespace"),
        field("BCS__BESIDE__APP", &format!("metadata.labels['{}']", label::APP)),
        field("BCS__BESIDE__INSTANCE", "metadata.name"),
        value("BCS__BESIDE__HOLD_WITHIN", duration(sidecar.hold_within)),
    ]);
    all
}

/// As people write it.
fn duration(time: Millis) -> String {
    if time.0.is_multiple_of(1000) { format!("{}s", time.0 / 1000) } else { format!("{}ms", time.0) }
}

/// Asked for and given alike, but for processor time, which may be borrowed.
fn resources(wanted: &Resources) -> Option<Value> {
    let cpu = wanted.cpu.as_ref().map(|cpu| ("cpu".to_owned(), json!(cpu)));
    let memory = wanted.memory.as_ref().map(|memory| ("memory".to_owned(), json!(memory)));
    let limits: Map<String, Value> = memory.clone().into_iter().collect();
    let requests: Map<String, Value> = cpu.into_iter().chain(memory).collect();
    (!requests.is_empty()).then(|| {
        if limits.is_empty() {
            json!({ "requests": requests })
        } else {
            json!({ "requests": requests, "limits": limits })
        }
    })
}
