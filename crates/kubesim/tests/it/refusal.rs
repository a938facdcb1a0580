//! What is not streamed: requests that a real server refuses, and what a simulated container cannot run.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, pod, ready, sim},
    kubectl::Kubectl,
    stream::{RESTS, begin, process},
    witness::pod_that,
};

async fn refused(sim: &Kubesim, path: &str) -> (u16, String) {
    let (code, answer) = Raw(sim).post(&format!("{PODS}/{path}"), &Value::Null).await;
    (code, answer["message"].as_str().map_or_else(|| answer.to_string(), str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_streamed_is_refused_in_the_words_of_a_real_server() {
    let sim = sim("refusals").await;
    let mut pair = pod("pair", &json!({}));
    pair["spec"]["containers"] =
        json!([{"name": "main", "image": "web:1"}, {"name": "side", "image": "web:1"}]);
    let mut homeless = pod("homeless", &json!({}));
    homeless["spec"]["nodeSelector"] = json!({"nobody": "has it"});
    for pod in [&pair, &homeless] {
        Raw(&sim).post(PODS, pod).await;
    }
    pod_that(&sim, "pair", ready).await;
    for (path, code, words) in [
        ("nobody/exec?command=true&stdout=1", 404, "pods \"nobody\" not found"),
        ("pair/exec?command=true&stdout=1&container=x", 400, "container x is not valid for pod pair"),
        (
            "pair/exec?command=true&stdout=1",
            400,
            "a container name must be specified for pod pair, choose one of: [main side]",
        ),
        ("homeless/exec?command=true&stdout=1", 400, "pod homeless does not have a host assigned"),
        ("pair/exec?command=true&stdout=1&container=main", 400, "Upgrade request required"),
        ("pair/attach?stdout=1&container=main", 400, "Upgrade request required"),
        ("pair/portforward?ports=80", 400, "Upgrade request required"),
    ] {
        assert_eq!(refused(&sim, path).await, (code, words.to_owned()), "{path}");
    }
    let (code, _) = Raw(&sim).send("DELETE", &format!("{PODS}/pair/exec"), "application/json", "").await;
    assert_eq!(code, 405);
    let (_, list) = Raw(&sim).get("/api/v1").await;
    for (name, kind, verbs) in [
        ("pods/attach", "PodAttachOptions", json!(["create", "get"])),
        ("pods/ephemeralcontainers", "Pod", json!(["get", "patch", "update"])),
        ("pods/exec", "PodExecOptions", json!(["create", "get"])),
        ("pods/portforward", "PodPortForwardOptions", json!(["create", "get"])),
    ] {
        let entry = list["resources"].as_array().and_then(|all| all.iter().find(|r| r["name"] == name));
        let found = entry.map(|entry| (&entry["kind"], &entry["verbs"]));
        assert_eq!(found, Some((&json!(kind), &verbs)), "{name}");
    }
    sim.faults().set_api_errors(1.0);
    assert_eq!(refused(&sim, "pair/exec?command=true&stdout=1").await.0, 500, "faults are of every request");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_told_why_there_is_nobody_to_speak_to() {
    let sim = crate::stream::sim("absent").await;
    let kubectl = Kubectl::new(&sim);
    begin(&sim, &pod("crashed", &json!({"sim.bcs/crash-after": "10ms"})), |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    })
    .await;
    begin(&sim, &pod("held", &json!({"sim.bcs/image-pull-error": "true"})), |pod| {
        pod["status"]["phase"] == "Pending"
    })
    .await;
    let mut done = pod("done", &json!({"sim.bcs/complete-after": "10ms"}));
    done["spec"]["restartPolicy"] = json!("Never");
    begin(&sim, &done, |pod| pod["status"]["phase"] == "Succeeded").await;
    let lost = begin(&sim, &process("lost", RESTS), ready).await;
    sim.faults().node_down(lost["spec"]["nodeName"].as_str().expect("a node"));
    for (args, words) in [
        (&["exec", "held", "--", "true"][..], "container not found (\"main\")"),
        (&["exec", "done", "--", "true"], "cannot exec into a container in a completed pod"),
        (&["attach", "done"], "cannot attach a container in a completed pod"),
        (&["exec", "lost", "--", "true"], "error dialing backend"),
        (&["exec", "crashed", "-c", "x", "--", "true"], "container x is not valid for pod crashed"),
        (&["port-forward", "held", ":8080"], "pod is not running. Current status=Pending"),
        (&["port-forward", "lost", ":8080"], "error dialing backend"),
    ] {
        let (success, text) = kubectl.run(args, "").await;
        assert!(!success && text.contains(words), "{args:?}: {text}");
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_container_has_a_few_programs_and_says_so_of_all_others() {
    let sim = crate::stream::sim("programs").await;
    let kubectl = Kubectl::new(&sim);
    let mut pair = pod("pair", &json!({}));
    pair["spec"]["containers"] =
        json!([{"name": "main", "image": "web:1"}, {"name": "side", "image": "web:1"}]);
    begin(&sim, &pair, ready).await;
    let text = kubectl.ok(&["exec", "pair", "--", "hostname"]).await;
    assert_eq!(text, "pair\nDefaulted container \"main\" out of: main, side\n");
    let mut web = pod("web", &json!({}));
    web["spec"]["containers"][0]["env"] = json!([{"name": "COLOUR", "value": "blue"}]);
    begin(&sim, &web, ready).await;
    assert_eq!(kubectl.ok(&["exec", "web", "--", "echo", "a", "b"]).await, "a b\n");
    assert_eq!(kubectl.ok(&["exec", "web", "--", "cat", "/etc/hostname"]).await, "web\n");
    assert_eq!(kubectl.ok(&["exec", "web", "--", "printenv", "COLOUR"]).await, "blue\n");
    assert_eq!(
        kubectl.run(&["exec", "-i", "web", "--", "cat"], "typed\n").await,
        (true, "typed\n".to_owned())
    );
    let (success, text) = kubectl.run(&["exec", "web", "--", "false"], "").await;
    assert!(!success && text.contains("command terminated with exit code 1"), "{text}");
    let (success, text) = kubectl.run(&["exec", "web", "--", "sh", "-c", "true"], "").await;
    assert!(!success && text.contains("exec: \"sh\": executable file not found in $PATH"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_look_opens_no_stream() {
    let sim = crate::stream::sim("rights").await;
    let kubectl = Kubectl::new(&sim);
    begin(&sim, &pod("web", &json!({})), ready).await;
    for role in ["looks", "acts"] {
        let verb = if role == "looks" { "--verb=get" } else { "--verb=get,create" };
        let all = "--resource=pods,pods/exec,pods/attach,pods/portforward";
        kubectl.ok(&["create", "role", role, verb, all]).await;
        kubectl
            .ok(&["create", "rolebinding", role, &format!("--role={role}"), &format!("--user={role}")])
            .await;
    }
    for args in [&["exec", "web", "--", "true"][..], &["attach", "web"], &["port-forward", "web", ":8080"]] {
        let (success, text) = kubectl.run(&[&["--as=looks"], args].concat(), "").await;
        let words = "cannot create resource \"pods/";
        assert!(
            !success && text.to_lowercase().contains("forbidden") && text.contains(words),
            "{args:?}: {text}"
        );
    }
    kubectl.ok(&["--as=acts", "exec", "web", "--", "true"]).await;
    let may = |verb: &'static str, subresource: &'static str| {
        let args = ["auth", "can-i", verb, "pods", subresource, "--as=someone", "--as-group=editors"];
        let kubectl = &kubectl;
        async move { kubectl.run(&args, "").await.0 }
    };
    kubectl.ok(&["create", "rolebinding", "editors", "--clusterrole=edit", "--group=editors"]).await;
    assert!(may("create", "--subresource=attach").await);
    assert!(!may("patch", "--subresource=ephemeralcontainers").await, "as in a real cluster");
    sim.shutdown().await;
}
