//! The scheduler, seen from outside: where pods go, why they wait, who has to go for them, and who else is asked.

use std::sync::{Arc, Mutex};

use bcs_kubesim::{Kubesim, NodeProfile};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{PODS, Raw, change, condition, create, eventually, pod, ready},
    kubectl::Kubectl,
    witness::{event, events, pod_that, sim_with},
};

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

/// Three nodes, each in a zone of its own.
async fn sim(name: &str) -> Kubesim {
    sim_with(name, |config| config.node_cpu = "4".to_owned()).await
}

fn with(name: &str, spec: &Value) -> Value {
    let mut pod = pod(name, &json!({}));
    for (field, value) in spec.as_object().expect("fields") {
        pod["spec"][field] = value.clone();
    }
    pod
}

fn asks(name: &str, cpu: &str) -> Value {
    let mut pod = pod(name, &json!({}));
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    pod
}

async fn placed(sim: &Kubesim, name: &str) -> String {
    let pod = pod_that(sim, name, |pod| pod["spec"]["nodeName"].is_string()).await;
    pod["spec"]["nodeName"].as_str().expect("a node").to_owned()
}

/// Waits until a pod waits for this reason.
async fn refused(sim: &Kubesim, name: &str, why: &str) -> Value {
    pod_that(sim, name, |pod| {
        let scheduled = condition(pod, "PodScheduled");
        scheduled["status"] == "False" && scheduled["message"].as_str().unwrap_or("").contains(why)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_waits_behind_its_gates_and_nobody_complains() {
    let sim = sim("gated").await;
    let gated = with("a", &json!({"schedulingGates": [{"name": "bcs/quota"}, {"name": "bcs/price"}]}));
    let made = create(&sim, PODS, &gated).await;
    assert_eq!(condition(&made, "PodScheduled")["reason"], "SchedulingGated");
    let text = Kubectl::new(&sim).ok(&["get", "pod", "a"]).await;
    assert!(text.contains("SchedulingGated"), "{text}");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "gated-node-1"}});
    let (code, refused) = Raw(&sim).post(&format!("{PODS}/a/binding"), &binding).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "{refused}");
    let path = format!("{PODS}/a");
    let media = "application/merge-patch+json";
    let more = json!({"spec": {"schedulingGates": [{"name": "bcs/quota"}, {"name": "bcs/other"}]}});
    let (code, answer) = Raw(&sim).send("PATCH", &path, media, &more.to_string()).await;
    assert_eq!(code, 422, "{answer}");
    let narrower = json!({"spec": {"schedulingGates": [{"name": "bcs/price"}], "nodeSelector": {"kubernetes.io/hostname": "gated-node-2"}}});
    change(&sim, &path, &narrower).await;
    // Another pod, created later, has its place: the gated one was not forgotten, it waits.
    create(&sim, PODS, &pod("later", &json!({}))).await;
    placed(&sim, "later").await;
    let (_, waiting) = Raw(&sim).get(&path).await;
    assert!(waiting["spec"]["nodeName"].is_null(), "{waiting}");
    assert_eq!(events(&sim, "a").await, []);
    change(&sim, &path, &json!({"spec": {"schedulingGates": null}})).await;
    assert_eq!(placed(&sim, "a").await, "gated-node-2");
    pod_that(&sim, "a", ready).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_shun_each_other_get_nodes_of_their_own_and_the_last_one_waits() {
    let sim = sim("shun").await;
    let term =
        json!({"labelSelector": {"matchLabels": {"team": "x"}}, "topologyKey": "kubernetes.io/hostname"});
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let shy = |name: &str| {
        let mut pod = with(name, &json!({"affinity": affinity}));
        pod["metadata"]["labels"]["team"] = json!("x");
        pod
    };
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        create(&sim, PODS, &shy(name)).await;
        nodes.push(placed(&sim, name).await);
    }
    nodes.sort();
    assert_eq!(nodes, ["shun-node-1", "shun-node-2", "shun-node-3"]);
    create(&sim, PODS, &shy("d")).await;
    let why = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are \
               available: 3 No preemption victims found for incoming pod.";
    let waiting = refused(&sim, "d", why).await;
    assert_eq!(condition(&waiting, "PodScheduled")["reason"], "Unschedulable");
    event(&sim, "d", "FailedScheduling", why).await;
    let left = placed(&sim, "b").await;
    Raw(&sim).send("DELETE", &format!("{PODS}/b"), "application/json", "").await;
    assert_eq!(placed(&sim, "d").await, left);
    // Who wants to be near one of them goes to its node.
    let near =
        json!({"labelSelector": {"matchLabels": {"app": "d"}}, "topologyKey": "kubernetes.io/hostname"});
    let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}});
    create(&sim, PODS, &with("friend", &json!({"affinity": affinity}))).await;
    assert_eq!(placed(&sim, "friend").await, left);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_spread_over_zones_even_when_one_zone_is_the_emptiest() {
    let sim = sim_with("spread", |config| {
        config.nodes = 0;
        let profile = |zone: &str, count: usize| NodeProfile {
            count,
            zone: Some(zone.to_owned()),
            ..NodeProfile::default()
        };
        config.node_profiles = vec![profile("north", 1), profile("south", 4)];
    })
    .await;
    let constraint = json!({
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"team": "x"}},
    });
    let mut zones = Vec::new();
    for number in 0..6 {
        let name = format!("p{number}");
        let mut pod = with(&name, &json!({"topologySpreadConstraints": [constraint]}));
        pod["metadata"]["labels"]["team"] = json!("x");
        create(&sim, PODS, &pod).await;
        zones.push(placed(&sim, &name).await == "spread-node-1");
    }
    assert_eq!(zones.iter().filter(|north| **north).count(), 3, "{zones:?}");
    change(&sim, "/api/v1/nodes/spread-node-1", &json!({"spec": {"unschedulable": true}})).await;
    for name in ["p6", "p7"] {
        let mut pod = with(name, &json!({"topologySpreadConstraints": [constraint]}));
        pod["metadata"]["labels"]["team"] = json!("x");
        create(&sim, PODS, &pod).await;
    }
    placed(&sim, "p6").await;
    refused(&sim, "p7", "4 node(s) didn't match pod topology spread constraints").await;
    change(&sim, "/api/v1/nodes/spread-node-1", &json!({"spec": {"unschedulable": false}})).await;
    assert_eq!(placed(&sim, "p7").await, "spread-node-1");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_more_important_drives_out_the_least_of_the_others() {
    let sim = sim("preempt").await;
    for (name, value, policy) in [
        ("high", 1000, "PreemptLowerPriority"),
        ("mid", 500, "PreemptLowerPriority"),
        ("polite", 2000, "Never"),
    ] {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, "preemptionPolicy": policy});
        create(&sim, CLASSES, &class).await;
    }
    let classed = |name: &str, cpu: &str, class: &str, node: Option<&str>| {
        let mut pod = asks(name, cpu);
        if !class.is_empty() {
            pod["spec"]["priorityClassName"] = json!(class);
        }
        if let Some(node) = node {
            pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        }
        pod
    };
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "precious"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "precious"}}}});
    create(&sim, BUDGETS, &budget).await;
    for (name, class, node) in [
        ("precious", "", "preempt-node-1"),
        ("cheap", "", "preempt-node-2"),
        ("middling", "mid", "preempt-node-3"),
    ] {
        create(&sim, PODS, &classed(name, "3", class, Some(node))).await;
        pod_that(&sim, name, ready).await;
    }
    eventually(|| async {
        let (_, budget) = Raw(&sim).get(&format!("{BUDGETS}/precious")).await;
        if budget["status"]["currentHealthy"] == 1 { Ok(()) } else { Err(budget.to_string()) }
    })
    .await;
    create(&sim, PODS, &classed("gentle", "2", "polite", None)).await;
    let why = "0/3 nodes are available: 3 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.";
    refused(&sim, "gentle", why).await;
    Raw(&sim).send("DELETE", &format!("{PODS}/gentle"), "application/json", "").await;
    create(&sim, PODS, &classed("equal", "2", "", None)).await;
    let why = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption \
               victims found for incoming pod.";
    refused(&sim, "equal", why).await;
    let slow = json!({"metadata": {"annotations": {"sim.bcs/shutdown": "500ms"}}});
    change(&sim, &format!("{PODS}/cheap"), &slow).await;
    create(&sim, PODS, &classed("vip", "3", "high", None)).await;
    pod_that(&sim, "vip", |pod| pod["status"]["nominatedNodeName"] == "preempt-node-2").await;
    let leaving = pod_that(&sim, "cheap", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    let reason = condition(&leaving, "DisruptionTarget");
    assert_eq!(reason["reason"], "PreemptionByScheduler", "{leaving}");
    let vip = pod_that(&sim, "vip", |pod| pod["spec"]["nodeName"] == "preempt-node-2").await;
    assert!(vip["status"]["nominatedNodeName"].is_null(), "{vip}");
    let uid = vip["metadata"]["uid"].as_str().expect("a uid");
    event(&sim, "cheap", "Preempted", &format!("Preempted by pod {uid} on node preempt-node-2")).await;
    for name in ["precious", "middling"] {
        let (_, pod) = Raw(&sim).get(&format!("{PODS}/{name}")).await;
        assert!(pod["metadata"]["deletionTimestamp"].is_null(), "{pod}");
    }
    refused(&sim, "equal", "3 Insufficient cpu").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_wait_for_room_and_each_is_told_why_and_placed_when_some_goes() {
    let sim = sim("many").await;
    for number in 0..40 {
        create(&sim, PODS, &asks(&format!("p{number}"), "1")).await;
    }
    let state = |pods: &[Value]| {
        let told = |pod: &&Value| condition(pod, "PodScheduled")["reason"] == "Unschedulable";
        let placed = pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count();
        (placed, pods.iter().filter(told).count())
    };
    let pods_until = |wanted: (usize, usize)| {
        let sim = &sim;
        eventually(move || async move {
            let (_, list) = Raw(sim).get(PODS).await;
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            if state(&pods) == wanted { Ok(pods) } else { Err(format!("{:?}", state(&pods))) }
        })
    };
    let pods = pods_until((12, 28)).await;
    for pod in pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).take(5) {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().expect("a name"));
        Raw(&sim).send("DELETE", &path, "application/json", "").await;
    }
    pods_until((12, 23)).await;
    change(&sim, "/api/v1/nodes/many-node-1", &json!({"spec": {"unschedulable": true}})).await;
    refused(&sim, "p39", "1 node(s) were unschedulable, 2 Insufficient cpu").await;
    sim.shutdown().await;
}

/// A server that answers questions of the scheduler: it takes only the node with this name, as long as it is asked nicely.
async fn extender(node: &'static str) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/scheduler", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer(stream, node, &log).await;
        }
    });
    (url, asked)
}

async fn answer(mut stream: TcpStream, node: &str, log: &Mutex<Vec<Value>>) {
    let mut bytes = Vec::new();
    let (verb, question) = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.expect("a request");
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(question) = serde_json::from_str::<Value>(body) {
            let path = head.split(' ').nth(1).expect("a path");
            break (path.rsplit('/').next().unwrap_or("").to_owned(), question);
        }
    };
    let names = question["NodeNames"].as_array().expect("names").clone();
    let refused = question["Pod"]["metadata"]["labels"]["app"] == "refused";
    let answer = match verb.as_str() {
        "filter" if refused => {
            let all =
                names.iter().map(|name| (name.as_str().expect("text").to_owned(), json!("no licence left")));
            json!({"nodenames": [], "failedNodes": all.collect::<serde_json::Map<_, _>>()})
        }
        "filter" => json!({"nodenames": names, "failedNodes": {}, "error": ""}),
        _ => json!([{"host": node, "score": 10}]),
    };
    log.lock().expect("the log").push(question);
    let body = answer.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_says_which_nodes_are_good_and_which_it_likes() {
    let (url, asked) = extender("extended-node-3").await;
    let sim = sim_with("extended", |config| config.scheduler_extenders = vec![url]).await;
    for name in ["a", "b"] {
        create(&sim, PODS, &pod(name, &json!({}))).await;
        assert_eq!(placed(&sim, name).await, "extended-node-3");
    }
    let first = asked.lock().expect("the log")[0].clone();
    assert_eq!(first["Pod"]["metadata"]["name"], "a");
    assert_eq!(first["NodeNames"].as_array().map(Vec::len), Some(3), "{first}");
    create(&sim, PODS, &pod("refused", &json!({}))).await;
    let waiting = refused(&sim, "refused", "0/3 nodes are available: 3 no licence left.").await;
    assert_eq!(condition(&waiting, "PodScheduled")["reason"], "Unschedulable");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_wait_for_an_extender_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let sim =
        sim_with("away", |config| config.scheduler_extenders = vec![format!("http://{address}/")]).await;
    create(&sim, PODS, &pod("a", &json!({}))).await;
    let waiting = refused(&sim, "a", &format!("Post \"http://{address}/filter\": dial tcp {address}")).await;
    assert_eq!(condition(&waiting, "PodScheduled")["reason"], "SchedulerError");
    event(&sim, "a", "FailedScheduling", "dial tcp").await;
    sim.shutdown().await;
}
