//! The settings in the manifests below `k8s/sidecar/` can be used.

use bcs_discovery_sidecar::Config;

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
