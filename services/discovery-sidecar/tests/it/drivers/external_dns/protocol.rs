//! What is not the protocol, who does not keep the registry, and what stands in the log.

use std::fs::File;

use serde_json::{Value, json};

use super::{Front, MEDIA, ask, registry, set};
use crate::{contract::Site, drivers::dns::Bind, fixture::*, web};

#[tokio::test(flavor = "multi_thread")]
async fn who_negotiates_is_told_which_names_are_kept_and_in_which_version() {
    let front = Front::<Bind>::start().await;
    let answer =
        wait_until(LONG, async || web::answer("GET", &front.url, &[("accept", MEDIA)], "").await).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &MEDIA.parse().expect("a value"))
    );
    let filter: Value = serde_json::from_slice(answer.body()).expect("a filter");
    assert_eq!(
        filter,
        json!({ "include": ["bcs.local"], "exclude": ["_bcs.bcs.local"], "regexInclude": "", "regexExclude": "" })
    );
    assert_eq!(front.ask("GET", "/healthz", &Value::Null).await, (200, "ok\n".to_owned()));
    assert!(front.tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_protocol_is_refused_with_what_was_expected() {
    let front = Front::<Bind>::start().await;
    front.ask("GET", "/", &Value::Null).await;
    let large = format!("[{}]", " ".repeat(32 << 20));
    let (json, good) = (("content-type", "application/json"), ("content-type", MEDIA));
    let (accept, any) = (("accept", MEDIA), ("accept", "*/*"));
    let record = |more: Value| {
        let mut record = set("web.bcs.local", "A", &["192.0.2.1"]);
        record.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "create": [record] }).to_string()
    };
    for (method, path, headers, body, status, words) in [
        ("GET", "/", vec![], "", 406, "Accept: expected application/external.dns.webhook+json;version=1"),
        ("GET", "/records", vec![any], "", 406, "Accept: expected"),
        ("POST", "/adjustendpoints", vec![good], "[]", 406, "Accept: expected"),
        ("POST", "/adjustendpoints", vec![accept], "[]", 415, "Content-Type: expected"),
        ("POST", "/records", vec![json], "{}", 415, "Content-Type: expected"),
        ("POST", "/records", vec![good], "{", 400, "the body is not as the protocol has it: EOF"),
        ("POST", "/records", vec![good], "[1]", 400, "the body is not as the protocol has it"),
        ("POST", "/records", vec![good], &record(json!({ "targets": [7] })), 400, "expected a string"),
        (
            "POST",
            "/records",
            vec![good],
            &record(json!({ "targets": ["x"] })),
            400,
            "create[0].targets[0] of web.bcs.local: \"x\" is no A record: expected an IPv4 address",
        ),
        (
            "POST",
            "/records",
            vec![good],
            &record(json!({ "recordType": "PTR" })),
            400,
            "create[0].recordType: \"PTR\"",
        ),
        (
            "POST",
            "/records",
            vec![good],
            &record(json!({ "dnsName": "web.example" })),
            422,
            "web.example: expected a name at or below bcs.local",
        ),
        (
            "POST",
            "/records",
            vec![good],
            &record(json!({ "dnsName": "bcs.local", "recordType": "CNAME", "targets": ["x.test"] })),
            422,
            "at the top of a zone",
        ),
        ("POST", "/records", vec![good], &large, 413, "the body is too large: expected at most 32 MiB"),
        ("POST", "/applychanges", vec![good], "{}", 404, ""),
        ("DELETE", "/records", vec![good], "", 405, ""),
        ("POST", "/records", vec![good], "{}", 204, ""),
        ("POST", "/records", vec![good], r#"{"create":null,"delete":[]}"#, 204, ""),
        ("POST", "/adjustendpoints", vec![good, accept], "null", 200, "[]"),
    ] {
        let url = format!("{}{path}", front.url);
        let (found, said) = web::ask(method, &url, &headers, body.to_owned()).await.expect("answers");
        let shown = &body[..body.len().min(80)];
        assert!(
            found == status && said.contains(words),
            "{method} {path} {shown}: {found} {said}, expected {words}"
        );
    }
    assert!(front.tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_does_not_keep_the_registry_says_who_does() {
    let (nats, zone) = (Nats::start().await, Bind::start().await);
    let start = async |called: &str| {
        let port = free_port();
        let listen = json!({ "listen": format!("127.0.0.1:{port}"), "domains": ["apps.bcs.local"] });
        let config = bcs_discovery_sidecar::Config {
            name: Some(name(called)),
            ..config(vec![registry(&zone, &listen)])
        };
        let tasks = nats.sidecar(config).await;
        let keeps = nats.status("dns", |s| s.reachable && s.sidecar == Some(name(called))).await;
        (format!("http://127.0.0.1:{port}"), tasks, keeps.epoch)
    };
    let (first, tasks, _) = start("first").await;
    assert_eq!(ask(&first, "GET", "/records", &Value::Null).await, (200, "[]".to_owned()));
    let (second, followers, epoch) = start("second").await;
    // The one that was replaced hears of it when it next writes or reads, and then sends on.
    let words = format!("the sidecar second keeps the registry dns for sim-a (epoch {epoch}): ask that one");
    wait_until(LONG, async || {
        let change = json!({ "create": [set("web.apps.bcs.local", "A", &["192.0.2.1"])] });
        match ask(&first, "POST", "/records", &change).await {
            (503, said) if said.contains(&words) => Ok(()),
            (503, said) => Err(said),
            other => panic!("{other:?}"),
        }
    })
    .await;
    let (status, said) = ask(&first, "GET", "/records", &Value::Null).await;
    assert!(status == 503 && said.contains(&words), "{status} {said}");
    // Whoever starts beside it starts all the same.
    assert_eq!(ask(&first, "GET", "/", &Value::Null).await.0, 200);
    for (url, status) in [(&first, 503), (&second, 200)] {
        assert_eq!(ask(url, "GET", "/readyz", &Value::Null).await.0, status);
        assert_eq!(ask(url, "GET", "/healthz", &Value::Null).await.0, 200);
    }
    assert_eq!(ask(&second, "GET", "/records", &Value::Null).await, (200, "[]".to_owned()));
    assert!(zone.addresses().await.is_empty());
    // When the other one is gone, this one serves again.
    assert!(followers.stop(LONG).await);
    wait_until(LONG, async || match ask(&first, "GET", "/records", &Value::Null).await {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_of_every_cluster_serves_by_one_that_keeps_the_registry() {
    let (nats, zone, port) = (Nats::start().await, Bind::start().await, free_port());
    let listen = json!({ "listen": format!("127.0.0.1:{port}"), "exclude": ["shop.bcs.local"] });
    let config = bcs_discovery_sidecar::Config { cluster: None, ..config(vec![registry(&zone, &listen)]) };
    let tasks = nats.sidecar(config).await;
    let url = format!("http://127.0.0.1:{port}");
    let create = |name: &str| json!({ "create": [set(name, "A", &["192.0.2.1"])] });
    wait_until(LONG, async || match ask(&url, "POST", "/records", &create("web.bcs.local")).await {
        (204, _) => Ok(()),
        (503, said) => Err(said),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(zone.0.dig(&["A", "web.bcs.local"]), ["192.0.2.1"]);
    let (status, said) = ask(&url, "POST", "/records", &create("web.shop.bcs.local")).await;
    assert!(status == 422 && said.contains("that is not excluded"), "{status} {said}");
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_an_external_dns_does_not_and_never_a_secret() {
    let (nats, zone, port) = (Nats::start().await, Bind::start().await, free_port());
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let (driver, secret) = (zone.0.driver(), zone.0.driver()["key"]["secret"]["file"].clone());
    let settings = format!(
        r#"
cluster = "sim-a"
owner = "eu1"
bus.url = "{}"
telemetry.log = "debug"

[[registries]]
apiVersion = "bcs/v1"
kind = "Registry"
metadata.name = "dns"

[registries.spec]
externalDns.listen = "127.0.0.1:{port}"

[registries.spec.driver.dns]
servers = {}
zone = "bcs.local"
key = {{ name = "bcs", algorithm = "hmac-sha256", secret.file = {secret} }}
"#,
        nats.url, driver["servers"],
    );
    std::fs::write(file("sidecar.toml"), settings).expect("writes");
    let arguments = ["--config".to_owned(), file("sidecar.toml").display().to_string()];
    let log = File::create(file("log")).expect("a file").into();
    let sidecar = start_logged(env!("CARGO_BIN_EXE_bcs-discovery-sidecar"), "the sidecar", &arguments, log);
    nats.status("dns", |status| status.reachable).await;
    let url = format!("http://127.0.0.1:{port}");
    let outside = json!({ "create": [set("web.example", "A", &["192.0.2.1"])] });
    assert_eq!(ask(&url, "POST", "/records", &outside).await.0, 422);
    let strange = json!([set("b.bcs.local", "PTR", &["x"])]);
    assert_eq!(ask(&url, "POST", "/adjustendpoints", &strange).await, (200, "[]".to_owned()));
    let good = json!({ "create": [set("web.bcs.local", "A", &["192.0.2.1"])] });
    assert_eq!(ask(&url, "POST", "/records", &good).await.0, 204);
    // With a secret that the server does not know any more.
    std::fs::write(secret.as_str().expect("a path"), "aW5jb3JyZWN0LWRvbmtleS1jaGFyZ2Vy\n").expect("writes");
    zone.0.nsupdate("update delete eu1._bcs.bcs.local TXT\nupdate delete dns.sim-a.eu1._bcs.bcs.local TXT");
    let other = json!({ "create": [set("c.bcs.local", "A", &["192.0.2.1"])] });
    let said = wait_until(LONG, async || match ask(&url, "POST", "/records", &other).await {
        (503, said) if said.contains("BADSIG") => Ok(said),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    drop(sidecar);
    let mut told = std::fs::read_to_string(file("log")).expect("a log");
    for words in [
        "web.example: expected a name at or below bcs.local",
        "b.bcs.local PTR: recordType: ",
        "records of an ExternalDNS changed",
        "BADSIG",
    ] {
        assert!(told.contains(words), "{words} is missing: {told}");
    }
    told.push_str(&said);
    for secret in [crate::drivers::dns::server::SECRET, "aW5jb3JyZWN0LWRvbmtleS1jaGFyZ2Vy"] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}
