//! What is put into a pod so that a sidecar runs beside its containers and holds their stop until every registry has let go
//! of the pod. Whatever is in the way leaves the pod as it is, with a warning: no pod is kept from running for our sake.

mod container;
mod port;
pub mod sidecar;

use bcs_engines::kubernetes::{label, recognize};
use bcs_schemas::Name;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::{Value, json};

pub use self::sidecar::Sidecar;

/// Seconds that a container has after the hold, as Kubernetes has it.
const USUAL_GRACE: i64 = 30;
/// What `kubectl` takes for the container that is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Where a pod is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The cluster, by its name on the platform.
    pub cluster: &'a Name,
    /// The namespace.
    pub namespace: &'a str,
    /// Whether the cluster knows init containers that go on running: sidecars of its own kind.
    pub native: bool,
}

/// What becomes of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// A JSON patch (RFC 6902); empty when the pod stays as it is.
    pub patch: Vec<Value>,
    /// What whoever made the pod should know.
    pub warnings: Vec<String>,
}

/// Puts the sidecar into a pod. One that has it stays as it is, so asking again changes nothing.
pub fn inject(pod: &Pod, ask: Ask<'_>, sidecar: &Sidecar) -> Injected {
    let spec = pod.spec.clone().unwrap_or_default();
    if opted_out(pod) || has_it(&spec) {
        return Injected::default();
    }
    match obstacle(pod, &spec, ask, sidecar) {
        Ok(port) => put_in(pod, &spec, ask, sidecar, port),
        Err(why) => {
            let warning = format!("{} is not put in: {why}", label::SIDECAR);
            Injected { patch: Vec::new(), warnings: vec![warning] }
        }
    }
}

/// Selectors of the webhook look at labels only, so an annotation is looked at here.
fn opted_out(pod: &Pod) -> bool {
    let said = [&pod.metadata.labels, &pod.metadata.annotations];
    let mut said = said.into_iter().flatten().filter_map(|all| all.get(label::INJECT));
    said.any(|word| matches!(word.as_str(), "false" | "disabled"))
}

fn has_it(spec: &PodSpec) -> bool {
    containers(spec).any(|container| container.name == label::SIDECAR)
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The port that the sidecar gets, or why it cannot be put in.
fn obstacle(pod: &Pod, spec: &PodSpec, ask: Ask<'_>, sidecar: &Sidecar) -> Result<u16, String> {
    let lacks = recognize::lacks(pod, ask.namespace);
    if !lacks.is_empty() {
        return Err(format!("the pod is no instance of an application, it lacks {}", lacks.join(", ")));
    }
    if spec.host_network == Some(true) {
        return Err("the pod uses the network of its node (hostNetwork), where its port would be in the way of others"
            .to_owned());
    }
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        return Err("the pod does not run on Linux".to_owned());
    }
    let ours = sidecar.volumes();
    let mut theirs = spec.volumes.iter().flatten();
    if let Some(volume) = theirs.find(|volume| ours.iter().any(|our| our["name"] == volume.name.as_str())) {
        return Err(format!("the pod has a volume {} of its own", volume.name));
    }
    port::free(containers(spec)).ok_or_else(|| format!("none of the ports {} is free", port::CHOICE))
}

fn put_in(pod: &Pod, spec: &PodSpec, ask: Ask<'_>, sidecar: &Sidecar, port: u16) -> Injected {
    let mut patch = Patch(Vec::new());
    let own = hold_stops(&mut patch, spec, port);
    let container = container::of(ask, sidecar, port);
    if ask.native {
        // Before all others, so that it is there for them, and ends after them.
        patch.add_first("/spec/initContainers", has_any(spec.init_containers.as_deref()), container);
    } else {
        patch.add_first("/spec/containers", true, container);
    }
    for volume in sidecar.volumes() {
        // After the first one there is a list.
        let there = has_any(spec.volumes.as_deref()) || patch.touched("/spec/volumes");
        patch.add_first("/spec/volumes", there, volume);
    }
    // Whole seconds, and rather one more than a process cut off.
    let hold = i64::try_from(sidecar.hold_within.std().as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
    // What the containers need for themselves begins only when the hold is over.
    let own_grace = spec.termination_grace_period_seconds.unwrap_or(USUAL_GRACE).max(USUAL_GRACE);
    patch.add("/spec/terminationGracePeriodSeconds", json!(hold.saturating_add(own_grace)));
    let warning = (!own.is_empty()).then(|| {
        format!("the stop of {} is not held: it has a preStop of its own, which is kept", own.join(", "))
    });
    annotate(&mut patch, pod, spec, ask.native, warning.as_deref());
    Injected { patch: patch.0, warnings: warning.into_iter().collect() }
}

/// Each container waits for the registries before it is told to stop. The names of those that cannot be made to.
fn hold_stops(patch: &mut Patch, spec: &PodSpec, port: u16) -> Vec<String> {
    let mut own = Vec::new();
    for (i, container) in spec.containers.iter().enumerate() {
        let hold = container::hold(port);
        match &container.lifecycle {
            None => patch.add(&format!("/spec/containers/{i}/lifecycle"), json!({ "preStop": hold })),
            Some(lifecycle) if lifecycle.pre_stop.is_none() => {
                patch.add(&format!("/spec/containers/{i}/lifecycle/preStop"), hold);
            }
            Some(_) => own.push(container.name.clone()),
        }
    }
    own
}

fn annotate(patch: &mut Patch, pod: &Pod, spec: &PodSpec, native: bool, warning: Option<&str>) {
    let form = if native { "native" } else { "plain" };
    let mut more = vec![(label::INJECTED, form)];
    more.extend(warning.map(|warning| (label::INJECT_WARNING, warning)));
    let there = pod.metadata.annotations.as_ref();
    // It would be the first container, which is the one that is meant when none is named.
    let main = spec.containers.first().map(|container| container.name.as_str());
    if !native && !there.is_some_and(|all| all.contains_key(DEFAULT_CONTAINER)) {
        more.extend(main.map(|main| (DEFAULT_CONTAINER, main)));
    }
    if there.is_none() {
        patch.add("/metadata/annotations", json!({}));
    }
    for (key, value) in more {
        let key = key.replace('~', "~0").replace('/', "~1");
        patch.add(&format!("/metadata/annotations/{key}"), json!(value));
    }
}

fn has_any<T>(list: Option<&[T]>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// A JSON patch in the making.
struct Patch(Vec<Value>);

impl Patch {
    fn add(&mut self, path: &str, value: Value) {
        self.0.push(json!({ "op": "add", "path": path, "value": value }));
    }

    /// At the head of a list; `there` says whether there is one.
    fn add_first(&mut self, list: &str, there: bool, value: Value) {
        if there { self.add(&format!("{list}/0"), value) } else { self.add(list, json!([value])) }
    }

    fn touched(&self, list: &str) -> bool {
        self.0.iter().any(|step| step["path"] == list)
    }
}

#[cfg(test)]
mod tests;
