//! The settings in the manifests below `k8s/sidecar/` can be used.

use std::process::Command;

use bcs_discovery_sidecar::Config;

use crate::fixture::*;

const BESIDE: &str = include_str!("../../../../k8s/sidecar/beside.yaml");
const PER_CLUSTER: &str = include_str!("../../../../k8s/sidecar/per-cluster.yaml");

/// A block of text in YAML, without its indentation.
fn block(yaml: &str, key: &str) -> String {
    let (_, rest) = yaml.split_once(&format!("  {key}: |\n")).expect(key);
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect()
}

#[test]
fn the_settings_of_a_sidecar_for_a_cluster_can_be_used() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), block(PER_CLUSTER, "discovery-sidecar.toml")).expect("writes");
    let config: Config = bcs_kit::config::load("manifest", Some(file.path())).expect("is understood");
    assert_eq!(config.validate(), []);
    assert_eq!(config.registries.len(), 1);
    let port = config.health_address.port();
    assert!(PER_CLUSTER.contains(&format!("name: health, containerPort: {port}")));
    // The only place for secrets in a container whose file system is read-only.
    for file in [&config.bus.credentials, &config.bus.ca] {
        assert!(file.as_ref().is_some_and(|file| file.starts_with("/var/run/secrets/bcs")), "{file:?}");
    }
}

/// The agent of a cluster puts the same variables into pods: its own tests compare the two.
#[tokio::test(flavor = "multi_thread")]
async fn the_variables_of_a_sidecar_beside_a_workload_are_understood_and_it_answers_when_it_is_out() {
    let document: serde_json::Value = serde_saphyr::from_str(BESIDE).expect("YAML");
    let container = &document["spec"]["template"]["spec"]["initContainers"][0];
    let (nats, port) = (Nats::start().await, free_port());
    nats.put(&draining(1)).await;
    let here = [
        ("BCS__CLUSTER", "sim-a".to_owned()),
        ("BCS__BUS__URL", nats.url.clone()),
        ("BCS__HEALTH_ADDRESS", format!("127.0.0.1:{port}")),
        ("BCS__BESIDE__PROJECT", "shop".to_owned()),
        ("BCS__BESIDE__APP", "web".to_owned()),
        ("BCS__BESIDE__INSTANCE", "web-1".to_owned()),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcs-discovery-sidecar"));
    for variable in container["env"].as_array().expect("variables") {
        // This bus asks nobody for a key.
        match variable["name"].as_str().expect("a name") {
            "BCS__BUS__CREDENTIALS" | "BCS__BUS__CA" => {}
            name => {
                let known = here.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
                command.env(name, known.or_else(|| variable["value"].as_str()).expect("a value"));
            }
        }
    }
    assert!(here.iter().all(|(name, _)| command.get_envs().any(|(set, _)| set == *name)), "{command:?}");
    let _sidecar = start_command(command, "the sidecar");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    wait_until(LONG, async || {
        if tokio::net::TcpStream::connect(address).await.is_err() {
            return Err("it does not listen yet".to_owned());
        }
        match http(address, "/readyz").await {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let (code, answer) = http(address, "/hold").await;
    assert!(code == 200 && answer.contains("out of every registry"), "{code} {answer}");
}
