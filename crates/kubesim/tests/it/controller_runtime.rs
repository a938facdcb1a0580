//! A controller as people write them with `kube::runtime::Controller`, with a finalizer and owner references, while the
//! API errs: whatever is wanted comes about.
//!
//! For each `Note` it keeps a ConfigMap of its text, and an entry in a ledger outside of the cluster.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bcs_kubesim::Kubesim;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    runtime::{
        Controller,
        controller::Action,
        finalizer::{self, finalizer},
        utils::Backoff,
        watcher,
    },
};
use serde_json::{Value, json};

use crate::harness::{Raw, client, eventually, sim};

const NOTES: &str = "/apis/example.com/v1/namespaces/default/notes";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: &str = "application/merge-patch+json";

/// What has to be tidied up outside, by the names of the notes.
type Ledger = Mutex<BTreeMap<String, String>>;

struct Context {
    client: Client,
    kind: ApiResource,
    ledger: Ledger,
}

/// Tries again soon: a real one would wait for seconds, and the test with it.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(20))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

fn kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("example.com", "v1", "Note"), "notes")
}

async fn define(sim: &Kubesim) {
    let text = || json!({"type": "object", "properties": {"text": {"type": "string"}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "notes.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "notes", "kind": "Note"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": text(), "status": text()}}},
            }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(Raw(sim).post(path, &definition).await.0, 201);
    eventually(|| async {
        let (code, answer) = Raw(sim).get(NOTES).await;
        if code == 200 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

async fn reconcile(
    note: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, finalizer::Error<kube::Error>> {
    let api: Api<DynamicObject> = Api::default_namespaced_with(context.client.clone(), &context.kind);
    finalizer(&api, "example.com/ledger", note, |event| async {
        match event {
            finalizer::Event::Apply(note) => write(&note, &api, &context).await,
            finalizer::Event::Cleanup(note) => {
                context.ledger.lock().expect("is whole").remove(&note.name_any());
                Ok(Action::await_change())
            }
        }
    })
    .await
}

async fn write(
    note: &DynamicObject,
    api: &Api<DynamicObject>,
    context: &Context,
) -> Result<Action, kube::Error> {
    let (name, text) = (note.name_any(), note.data["spec"]["text"].as_str().unwrap_or_default().to_owned());
    context.ledger.lock().expect("is whole").insert(name.clone(), text.clone());
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": name, "ownerReferences": [note.controller_owner_ref(&context.kind)]},
        "data": {"text": text},
    }))
    .expect("a config map");
    let maps: Api<ConfigMap> = Api::default_namespaced(context.client.clone());
    maps.patch(&name, &PatchParams::apply("notes").force(), &Patch::Apply(&map)).await?;
    if note.data["status"]["text"] != json!(text) {
        let status = json!({"status": {"text": text}});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(Action::await_change())
}

async fn control(context: Arc<Context>) {
    let notes = Api::default_namespaced_with(context.client.clone(), &context.kind);
    let maps: Api<ConfigMap> = Api::default_namespaced(context.client.clone());
    Controller::new_with(notes, watcher::Config::default(), context.kind.clone())
        .owns(maps, watcher::Config::default())
        .trigger_backoff(Soon)
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(20)), context)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// A person who does not give up; that it was done already is as good.
async fn insist(sim: &Kubesim, method: &str, path: &str, media: &str, body: &Value) {
    let done: &[u16] = match method {
        "POST" => &[201, 409],
        "DELETE" => &[200, 202, 404],
        _ => &[200],
    };
    let body = body.to_string();
    eventually(|| async {
        let (code, answer) = Raw(sim).send(method, path, media, &body).await;
        if done.contains(&code) { Ok(()) } else { Err(format!("{method} {path}: {code} {answer}")) }
    })
    .await;
}

async fn note(sim: &Kubesim, name: &str, text: &str) {
    let note = json!({"apiVersion": "example.com/v1", "kind": "Note", "metadata": {"name": name}, "spec": {"text": text}});
    insist(sim, "POST", NOTES, "application/json", &note).await;
}

async fn rewrite(sim: &Kubesim, name: &str, text: &str) {
    insist(sim, "PATCH", &format!("{NOTES}/{name}"), MERGE, &json!({"spec": {"text": text}})).await;
}

/// Names and texts of what lies there, and by whom it is kept.
async fn texts(sim: &Kubesim, path: &str, text: &str) -> Result<BTreeMap<String, (String, String)>, String> {
    let (code, list) = Raw(sim).get(path).await;
    let items = list["items"].as_array().filter(|_| code == 200).ok_or_else(|| list.to_string())?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |it: &Value| {
        let meta = &it["metadata"];
        let owner = &meta["ownerReferences"][0]["uid"];
        let uid = if owner.is_null() { &meta["uid"] } else { owner };
        (word(&meta["name"]), (word(uid), word(it.pointer(text).unwrap_or(&Value::Null))))
    };
    Ok(items.iter().map(entry).collect())
}

/// Waits until notes, their status, config maps and ledger are these.
async fn settled(sim: &Kubesim, context: &Context, wanted: &BTreeMap<String, String>) {
    eventually(|| async {
        let notes = texts(sim, NOTES, "/spec/text").await?;
        let statuses = texts(sim, NOTES, "/status/text").await?;
        let maps = texts(sim, MAPS, "/data/text").await?;
        let ledger = context.ledger.lock().expect("is whole").clone();
        let named: BTreeMap<_, _> =
            notes.iter().map(|(name, (_, text))| (name.clone(), text.clone())).collect();
        if named == *wanted && statuses == notes && maps == notes && ledger == *wanted {
            Ok(())
        } else {
            Err(format!(
                "wanted {wanted:?}\nnotes {notes:?}\nstatus {statuses:?}\nmaps {maps:?}\nledger {ledger:?}"
            ))
        }
    })
    .await;
}

async fn story(sim: &Kubesim, context: &Context) {
    let mut wanted = BTreeMap::new();
    sim.faults().set_seed(7);
    for turn in 0..9_usize {
        sim.faults().set_api_errors(0.1);
        sim.faults().set_conflicts(0.3);
        let name = |age: usize| turn.checked_sub(age).map(|turn| format!("n{turn}"));
        let newest = format!("n{turn}");
        note(sim, &newest, "first").await;
        wanted.insert(newest, "first".to_owned());
        if let Some(name) = name(1) {
            rewrite(sim, &name, "second").await;
            wanted.insert(name, "second".to_owned());
        }
        match turn % 4 {
            0 => sim.faults().drop_watches(),
            1 => sim.faults().compact(),
            2 => {
                sim.faults().compact();
                sim.faults().drop_watches();
            }
            _ => sim.faults().partition(Duration::from_millis(200)),
        }
        // While it perhaps does not look: one map is deleted, one is written over, one note goes.
        let delete = async |path: String| insist(sim, "DELETE", &path, "application/json", &json!({})).await;
        eventually(|| async {
            if sim.faults().current().partition_ms == 0 { Ok(()) } else { Err("a partition".to_owned()) }
        })
        .await;
        if let Some(name) = name(2) {
            delete(format!("{MAPS}/{name}")).await;
        }
        if let Some(name) = name(1) {
            insist(sim, "PATCH", &format!("{MAPS}/{name}"), MERGE, &json!({"data": {"text": "scribbled"}}))
                .await;
        }
        if let Some(name) = name(3) {
            delete(format!("{NOTES}/{name}")).await;
            wanted.remove(&name);
        }
        settled(sim, context, &wanted).await;
    }
    sim.faults().reset();
    for name in std::mem::take(&mut wanted).into_keys() {
        insist(sim, "DELETE", &format!("{NOTES}/{name}"), "application/json", &json!({})).await;
    }
    settled(sim, context, &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_the_kube_runtime_keeps_its_promise_through_every_fault() {
    let sim = sim("runtime").await;
    define(&sim).await;
    let ledger = Ledger::default();
    let context = Arc::new(Context { client: client(&sim).await, kind: kind(), ledger });
    tokio::select! {
        () = control(Arc::clone(&context)) => panic!("the controller ended"),
        () = story(&sim, &context) => {}
    }
    sim.shutdown().await;
}
