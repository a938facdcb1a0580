//! The manifests below `k8s/` that kustomize renders: a cluster takes them, nothing drifts, whatever they name is there, and programs
//! understand the settings in them. `scripts/k8s-test` runs these.

mod bus;
mod place;
mod pod;
mod rules;
mod running;
mod settings;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab};
use serde_json::{Value, json};

use place::{Place, rendered};
use pod::Contents;
use rules::{Secrets, items, problems, text};

const OVERLAYS: [&str; 2] = ["overlays/dev", "overlays/ha"];
const K8S: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/README.md");

/// Those that the script makes, and those that the documentation lets people make.
fn known(made: &Contents) -> Result<Secrets> {
    let page = std::fs::read_to_string(PAGE)?;
    let mut all: Secrets =
        made.iter().map(|(name, data)| (name.clone(), data.keys().cloned().collect())).collect();
    for line in page.lines() {
        let Some((_, rest)) = line.split_once("create secret generic ") else { continue };
        let mut words = rest.split_whitespace();
        let name = words.next().context("a Secret without a name")?;
        let keys = words.filter_map(|word| word.strip_prefix("--from-file=")).map(|file| {
            let key =
                file.split_once('=').map_or_else(|| file.rsplit('/').next().unwrap_or(file), |(key, _)| key);
            key.to_owned()
        });
        all.entry(name.to_owned()).or_default().extend(keys);
    }
    Ok(all)
}

/// Applies it, and once more over what is there.
async fn is_taken(lab: &Lab, folder: &str) -> Result<()> {
    let place = Place::open(lab).await?;
    let platform = folder != "agent";
    if platform {
        place.secrets(lab, &[]).await?;
        let found = problems(&rendered(folder).await?, &known(&place.contents().await?)?);
        ensure!(found.is_empty(), "{folder}: {found:#?}");
    }
    let path = format!("k8s/{folder}");
    let apply = ["apply", "--server-side", "--validate=strict", "-k", &path];
    let said = place.ok(&apply).await?;
    ensure!(
        said.contains("serverside-applied") && !said.to_lowercase().contains("warning"),
        "{folder}: {said}"
    );
    if place.sim.is_some() {
        place.runs(if platform { "bcs" } else { "bcs-system" }).await?;
        are_apart(&place).await?;
    }
    let diff = ["diff", "--server-side", "-k", &path];
    let (same, said) = place.run(&diff).await?;
    ensure!(same && said.is_empty(), "{folder} is not what was applied: {said}");
    place.ok(&apply).await?;
    let (same, said) = place.run(&diff).await?;
    ensure!(same, "{folder} drifts: {said}");
    place.close().await
}

/// No two servers of the bus are on one node.
async fn are_apart(place: &Place) -> Result<()> {
    let list = place.get(&["pods", "-A", "-l", "app.kubernetes.io/name=bcs-nats"]).await?;
    let servers = items(&list, "/items");
    let nodes: BTreeSet<&str> = servers.iter().map(|pod| text(pod, "/spec/nodeName")).collect();
    ensure!(nodes.len() == servers.len(), "servers share nodes: {nodes:?}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_takes_each_overlay_as_it_is_and_nothing_drifts() -> Result<(), Failed> {
    for folder in [OVERLAYS[0], OVERLAYS[1], "agent"] {
        Lab::run(async |lab| is_taken(lab, folder).await).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_agent_of_a_cluster_is_given_what_it_names() -> Result<(), Failed> {
    Lab::run(async |_| {
        let found = problems(&rendered("agent").await?, &known(&Contents::default())?);
        ensure!(found.is_empty(), "{found:#?}");
        Ok(())
    })
    .await
}

/// Documents of files below `k8s/` that are applied as they are.
fn documents(files: &[&str]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(format!("{K8S}/{file}"))?;
        all.extend(serde_saphyr::from_multiple::<Value>(&text)?);
    }
    Ok(all)
}

#[test]
fn what_is_applied_without_kustomize_is_given_what_it_names_and_is_open_to_prometheus() -> Result<()> {
    for files in [
        &["agent/rbac.yaml", "injector/rbac.yaml", "injector/webhook.yaml", "injector/agent.yaml"][..],
        &["sidecar/per-cluster.yaml"],
    ] {
        let mut secrets = known(&Contents::default())?;
        // Its keys depend on the registries.
        secrets.insert("bcs-sidecar".to_owned(), BTreeSet::new());
        let found = problems(&documents(files)?, &secrets);
        ensure!(found.is_empty(), "{files:?}: {found:#?}");
    }
    Ok(())
}

/// Secrets of a name, whatever is in them.
fn any() -> Secrets {
    let names =
        ["nats", "platform-bus", "cluster-bus", "deploy-bus", "network-bus", "metrics-bus", "journals"];
    let keys = ["cluster", "deploy", "network", "metrics"].map(|name| format!("{name}.toml"));
    names.map(|name| (name.to_owned(), keys.clone().into())).into()
}

/// The first document of that kind and name is another one.
fn changed(documents: &[Value], (kind, name): (&str, &str), path: &str, value: &Value) -> Result<Vec<Value>> {
    let mut all = documents.to_vec();
    let wanted = |d: &&mut Value| d["kind"] == kind && d["metadata"]["name"] == name;
    let document = all.iter_mut().find(wanted).with_context(|| format!("there is no {kind} {name}"))?;
    *document.pointer_mut(path).with_context(|| format!("{kind} {name} has no {path}"))? = value.clone();
    Ok(all)
}

/// An object, what is changed in it and how, and what is said then.
type Mistake = ((&'static str, &'static str), &'static str, Value, &'static str);

/// A rule that finds nothing is worth nothing.
async fn are_said(below: &str, mistakes: Vec<Mistake>) -> Result<()> {
    let documents = rendered("overlays/ha").await?;
    let found = problems(&documents, &any());
    ensure!(found.is_empty(), "{found:#?}");
    for (object, path, value, words) in mistakes {
        let path = path.replace('…', below);
        let found = problems(&changed(&documents, object, &path, &value)?, &any());
        let named = found.iter().any(|problem| problem.contains(words));
        ensure!(named, "{path} of {object:?} was changed, and all that is said is {found:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn whatever_is_wrong_with_a_pod_is_said() -> Result<(), Failed> {
    let mistakes = [
        ("…/containers/0/resources/limits", json!({}), "limits/memory is missing"),
        ("…/containers/0/securityContext", json!({}), "readOnlyRootFilesystem is not true"),
        ("…/containers/0/securityContext/capabilities", json!({}), "keeps capabilities"),
        ("…/containers/0/image", json!("registry.example/bcs-deploy:0.0.1"), "not of this version"),
        ("…/containers/0/image", json!("deploy"), "no certain tag"),
        ("…/containers/0/livenessProbe/httpGet/port", json!("web"), "no port of it"),
        ("…/containers/0/volumeMounts/0/name", json!("else"), "there is no volume else"),
        ("…/containers/0/envFrom/0/configMapRef/name", json!("else"), "there is no ConfigMap with"),
        ("…/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
        ("…/securityContext/seccompProfile", json!({}), "seccompProfile"),
        ("…/automountServiceAccountToken", json!(true), "and a token: true"),
        ("…/serviceAccountName", json!("else"), "no ServiceAccount \"else\""),
        ("…/volumes/1/configMap/name", json!("else"), "no ConfigMap else"),
        ("…/volumes/2/secret/secretName", json!("else"), "nobody makes the Secret"),
    ];
    let of_deploy = |(path, value, words)| (("Deployment", "deploy"), path, value, words);
    Lab::run(async |_| are_said("/spec/template/spec", mistakes.into_iter().map(of_deploy).collect()).await)
        .await
}

#[tokio::test]
async fn whatever_leads_nowhere_is_said() -> Result<(), Failed> {
    let (nats, bus) = (("StatefulSet", "nats"), ("Service", "bus"));
    let mistakes = vec![
        (nats, "…/spec/containers/0/ports/0/containerPort", json!(4000), "lets somebody in at 6222"),
        (nats, "…/metadata/labels", json!({}), "NetworkPolicy bus: it is about no pod"),
        (bus, "/spec/selector", json!({ "a": "b" }), "leads to 0 workloads"),
        (bus, "/spec/ports/0/targetPort", json!("web"), "nobody listens at \"web\""),
        (("PodDisruptionBudget", "nats"), "/spec/selector", json!({}), "it is about 6 workloads"),
        (("NetworkPolicy", "metrics"), "/spec/ingress/0/ports/0/port", json!(80), "where nobody listens"),
        (("NetworkPolicy", "metrics"), "/spec/ingress/0/from", json!([]), "Prometheus does not reach"),
        (("NetworkPolicy", "nothing-else"), "/spec/policyTypes", json!(["Ingress"]), "nothing denies"),
        (("Namespace", "bcs"), "/metadata/labels", json!({}), "more than restricted"),
    ];
    Lab::run(async |_| are_said("/spec/template", mistakes).await).await
}
