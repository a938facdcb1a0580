//! Pods: what they may do, what they are given, and that whatever they name is there.

use serde_json::{Value, json};

use super::{Everything, Workload, items, text};

/// What no pod may have.
const OF_THE_NODE: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];

pub(super) fn problems(all: &Everything<'_>, workload: &Workload<'_>) -> Vec<String> {
    let mut found = account(all, workload);
    let spec = workload.spec;
    for field in OF_THE_NODE {
        if spec.get(field).is_some() {
            found.push(format!("{field} is set"));
        }
    }
    if spec["securityContext"]["runAsNonRoot"] != true {
        found.push("runAsNonRoot is not true".to_owned());
    }
    if text(spec, "/securityContext/seccompProfile/type") != "RuntimeDefault" {
        found.push("seccompProfile is not RuntimeDefault".to_owned());
    }
    for volume in items(spec, "/volumes") {
        found.extend(volume_of(all, volume));
    }
    for container in workload.containers() {
        let told = |problem| format!("container {}: {problem}", text(container, "/name"));
        found.extend(container_of(all, workload, container).into_iter().map(told));
    }
    found
}

/// Who it is, and whether it gets a token. Only an agent has rights, and so a use for one.
fn account(all: &Everything<'_>, workload: &Workload<'_>) -> Vec<String> {
    let name = text(workload.spec, "/serviceAccountName");
    let mut found = Vec::new();
    let Some(account) = all.find("ServiceAccount", name) else {
        return vec![format!("there is no ServiceAccount {name:?}")];
    };
    let bindings = all.of_kind("RoleBinding").chain(all.of_kind("ClusterRoleBinding"));
    let has_rights = bindings.flat_map(|b| items(b, "/subjects")).any(|s| text(s, "/name") == name);
    let mounted = workload.spec["automountServiceAccountToken"] != false;
    if has_rights != mounted {
        found.push(format!("it has rights: {has_rights}, and a token: {mounted}"));
    }
    if !has_rights && account["automountServiceAccountToken"] != false {
        found.push(format!("ServiceAccount {name} gives every pod a token"));
    }
    found
}

/// What a volume shows is there, or may be missing.
fn volume_of(all: &Everything<'_>, volume: &Value) -> Vec<String> {
    let keys = |source: &Value| items(source, "/items").iter().map(|i| text(i, "/key").to_owned()).collect();
    let missing = |what: &str, name: &str, wanted: Vec<String>, there: &dyn Fn(&str) -> bool| {
        let absent = wanted.into_iter().filter(|key| !there(key));
        absent.map(|key| format!("{what} {name} has no {key}")).collect::<Vec<_>>()
    };
    if let Some(source) = volume.get("configMap") {
        let name = text(source, "/name");
        let Some(map) = all.find("ConfigMap", name) else {
            return vec![format!("there is no ConfigMap {name}")];
        };
        return missing("ConfigMap", name, keys(source), &|key| map["data"].get(key).is_some());
    }
    if let Some(source) = volume.get("secret").filter(|secret| secret["optional"] != true) {
        let name = text(source, "/secretName");
        let Some(known) = all.secrets.get(name) else {
            return vec![format!("nobody makes the Secret {name}, and no document names it")];
        };
        return missing("Secret", name, keys(source), &|key| known.contains(key));
    }
    if let Some(source) = volume.get("persistentVolumeClaim") {
        let name = text(source, "/claimName");
        let found = all.find("PersistentVolumeClaim", name);
        return if found.is_some() {
            vec![]
        } else {
            vec![format!("there is no PersistentVolumeClaim {name}")]
        };
    }
    let known = ["secret", "emptyDir"].iter().any(|kind| volume.get(kind).is_some());
    if known { vec![] } else { vec![format!("volume {volume} is of no kind that is expected")] }
}

fn container_of(all: &Everything<'_>, workload: &Workload<'_>, container: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, problem: String| {
        if !holds {
            found.push(problem);
        }
    };
    for path in ["/resources/requests/cpu", "/resources/requests/memory", "/resources/limits/memory"] {
        must(container.pointer(path).is_some(), format!("{path} is missing"));
    }
    let context = &container["securityContext"];
    for (field, expected) in [("readOnlyRootFilesystem", true), ("allowPrivilegeEscalation", false)] {
        must(context[field] == expected, format!("{field} is not {expected}"));
    }
    must(context["capabilities"]["drop"] == json!(["ALL"]), "it keeps capabilities".to_owned());
    must(context["capabilities"].get("add").is_none(), "it adds capabilities".to_owned());
    let image = text(container, "/image");
    if let Some(rest) = image.strip_prefix("registry.example/bcs") {
        let tag = rest.rsplit_once(':').map(|(_, tag)| tag);
        must(tag == Some(env!("CARGO_PKG_VERSION")), format!("image {image} is not of this version"));
    }
    must(image.contains(':') && !image.ends_with(":latest"), format!("image {image} has no certain tag"));
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        match container.get(kind) {
            Some(probe) => {
                let port = &probe["httpGet"]["port"];
                must(workload.listens(port), format!("{kind} asks at {port}, which is no port of it"));
            }
            None => must(workload.kind == "Job", format!("it has no {kind}")),
        }
    }
    for mount in items(container, "/volumeMounts") {
        let name = text(mount, "/name");
        let volume = items(workload.spec, "/volumes").iter().find(|v| text(v, "/name") == name);
        must(volume.is_some() || workload.claims.contains(&name), format!("there is no volume {name}"));
        let given = volume.is_some_and(|v| v.get("secret").is_some() || v.get("configMap").is_some());
        must(!given || mount["readOnly"] == true, format!("{name} is not mounted read-only"));
    }
    let maps = items(container, "/envFrom").iter().map(|source| &source["configMapRef"]);
    let single = items(container, "/env").iter().map(|variable| &variable["valueFrom"]["configMapKeyRef"]);
    for reference in maps.chain(single).filter(|reference| reference.is_object()) {
        let map = all.find("ConfigMap", text(reference, "/name"));
        let key = reference["key"].as_str();
        let there = map.is_some_and(|map| key.is_none_or(|key| map["data"].get(key).is_some()));
        must(there, format!("there is no ConfigMap with {reference}"));
    }
    let shown = container.to_string();
    must(
        !shown.contains("secretKeyRef") && !shown.contains("secretRef"),
        "a secret is in its environment".to_owned(),
    );
    found
}
