//! A golden file for each case: `golden/<case>.yaml` is the pod as the API server shows it, `golden/<case>.json` what becomes of it. With
//! `BCS_TEST_BLESS=1` the latter are written anew; look at the difference before you commit it.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use super::*;

/// Every setting there is.
fn settings(full: bool) -> Sidecar {
    let reach = json!({ "url": "nats://bus.bcs-system:4222" });
    let image = "registry.example/bcs-discovery-sidecar:1";
    let settings = if full {
        json!({
            "image": image, "settings": "bcs-sidecar", "hold_within": "45s", "listen": "::",
            "command": ["bcs-discovery-sidecar"],
            "resources": { "cpu": "20m", "memory": "64Mi" },
            "bus": {
                "url": "tls://bus.bcs-system:4222", "site": "eu1", "secret": "bcs-sidecar", "credentials": "sidecar.nk",
                "ca": "ca.pem",
            },
        })
    } else {
        json!({ "image": image, "bus": reach })
    };
    let sidecar: Sidecar = serde_json::from_value(settings).expect("settings");
    assert_eq!(sidecar.validate(), []);
    sidecar
}

/// A case is named by what is special about the pod; what is special about the cluster is said here.
const CASES: [(&str, bool, bool); 19] = [
    ("native", true, true),
    ("native-bare-settings", true, false),
    ("plain", false, true),
    ("plain-with-default-container", false, false),
    ("label-on-pod", true, false),
    ("no-application", true, true),
    ("no-labels", true, true),
    ("no-replica-set", true, true),
    ("project-of-another-namespace", true, true),
    ("opt-out-by-label", true, true),
    ("opt-out-by-annotation", true, true),
    ("two-containers", true, false),
    ("own-pre-stop", true, false),
    ("own-post-start", true, false),
    ("already-injected-native", true, true),
    ("already-injected-plain", false, true),
    ("host-network", true, true),
    ("port-taken", true, false),
    ("all-ports-taken", true, true),
];
const MORE: [(&str, bool, bool); 5] = [
    ("other-system", true, true),
    ("other-init-containers", true, true),
    ("long-grace", true, false),
    ("volumes-of-its-own", true, true),
    ("volume-of-our-name", true, true),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/domain/inject/golden")
}

#[expect(clippy::disallowed_methods, reason = "whoever changes the goldens on purpose says so")]
fn blessed() -> bool {
    std::env::var("BCS_TEST_BLESS").is_ok()
}

fn pod(case: &str) -> Value {
    let text = fs::read_to_string(folder().join(format!("{case}.yaml"))).expect(case);
    serde_saphyr::from_str(&text).expect(case)
}

fn become_of(document: &Value, native: bool, full: bool) -> Injected {
    let pod: Pod = serde_json::from_value(document.clone()).expect("a pod");
    let cluster = Name::new("sim-a").expect("a name");
    inject(&pod, Ask { cluster: &cluster, namespace: "shop", native }, &settings(full))
}

fn patched(document: &Value, injected: &Injected) -> Value {
    let mut document = document.clone();
    let patch: json_patch::Patch =
        serde_json::from_value(Value::Array(injected.patch.clone())).expect("a patch");
    json_patch::patch(&mut document, &patch).expect("can be applied");
    document
}

#[test]
fn every_pod_becomes_what_its_golden_file_says() {
    for (case, native, full) in CASES.into_iter().chain(MORE) {
        let injected = become_of(&pod(case), native, full);
        let found = json!({ "warnings": injected.warnings, "patch": injected.patch });
        let file = folder().join(format!("{case}.json"));
        if blessed() {
            let text = serde_json::to_string_pretty(&found).expect("JSON");
            fs::write(&file, format!("{text}\n")).expect("is written");
        }
        let golden = fs::read_to_string(&file).expect(case);
        let golden: Value = serde_json::from_str(&golden).expect(case);
        assert_eq!(found, golden, "{case}");
    }
}

#[test]
fn a_pod_that_was_injected_stays_as_it_is_whichever_form_is_asked_for_again() {
    let mut changed = 0;
    for (case, native, full) in CASES.into_iter().chain(MORE) {
        let once = become_of(&pod(case), native, full);
        if once.patch.is_empty() {
            continue;
        }
        changed += 1;
        let after = patched(&pod(case), &once);
        for again in [native, !native] {
            assert_eq!(become_of(&after, again, full), Injected::default(), "{case}");
        }
        let typed: Pod = serde_json::from_value(after).expect("still a pod");
        let spec = typed.spec.expect("a spec");
        let lists = [spec.init_containers.as_deref().unwrap_or_default(), &spec.containers];
        let place = usize::from(!native);
        assert_eq!(lists[place][0].name, "bcs-sidecar", "{case}: it is the first of its kind");
        let hold = |c: &Container| c.lifecycle.as_ref().is_some_and(|l| l.pre_stop.is_some());
        assert!(spec.containers.iter().all(hold), "{case}: every container has a preStop");
    }
    assert!(changed >= 10, "{changed}");
}

/// What people put in by hand is what the webhook puts in.
#[test]
fn the_workload_that_is_there_to_be_copied_is_what_injection_makes_of_the_one_without() {
    let document: Value =
        serde_saphyr::from_str(include_str!("../../../../../k8s/sidecar/beside.yaml")).expect("YAML");
    let by_hand = document["spec"]["template"]["spec"].clone();
    let mut pod = json!({ "metadata": document["spec"]["template"]["metadata"], "spec": by_hand });
    pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u1", "controller": true }]);
    for key in ["initContainers", "volumes", "terminationGracePeriodSeconds"] {
        pod["spec"].as_object_mut().expect("an object").remove(key);
    }
    pod["spec"]["containers"][0].as_object_mut().expect("an object").remove("lifecycle");
    let sidecar: Sidecar = serde_json::from_value(json!({
        "image": by_hand["initContainers"][0]["image"],
        "bus": {
            "url": "tls://bus.example:4222", "secret": "bcs-sidecar", "credentials": "holder.nk", "ca": "ca.pem",
        },
    }))
    .expect("settings");
    let typed: Pod = serde_json::from_value(pod.clone()).expect("a pod");
    let cluster = Name::new("eu-1").expect("a name");
    let injected = inject(&typed, Ask { cluster: &cluster, namespace: "shop", native: true }, &sidecar);
    assert_eq!(patched(&pod, &injected)["spec"], by_hand);
}

#[test]
fn every_golden_file_belongs_to_a_case() {
    let cases: BTreeSet<String> = CASES
        .iter()
        .chain(&MORE)
        .flat_map(|(case, ..)| [format!("{case}.yaml"), format!("{case}.json")])
        .collect();
    let found: BTreeSet<String> = fs::read_dir(folder())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, cases);
}
