//! What the README says of the drivers is what they say of themselves.

use bcs_schemas::resource::{RegistrySpec, registry};

use super::*;

const README: &str = include_str!("../../README.md");

/// The least that can be said of each kind.
fn specs() -> Vec<serde_json::Value> {
    let secret = serde_json::json!({ "file": "/secret" });
    vec![
        serde_json::json!({ "file": { "directory": "/x" } }),
        serde_json::json!({ "etcd": { "endpoints": ["http://127.0.0.1:2379"] } }),
        serde_json::json!({ "dns": { "servers": ["127.0.0.1"], "zone": "bcs.local", "key": {
            "name": "bcs", "algorithm": "hmac-sha256", "secret": secret,
        } } }),
        serde_json::json!({ "powerdns": { "url": "http://127.0.0.1:8081", "key": secret } }),
        serde_json::json!({ "webhook": { "url": "http://127.0.0.1:8888" } }),
        serde_json::json!({ "nacos": { "url": "http://127.0.0.1:8848/nacos" } }),
        serde_json::json!({ "consul": { "url": "http://127.0.0.1:8500" } }),
        serde_json::json!({ "consul": { "url": "http://127.0.0.1:8500", "via": "agent" } }),
        serde_json::json!({ "haproxy": { "socket": "/run/haproxy.sock" } }),
        serde_json::json!({ "envoy": {} }),
        serde_json::json!({ "redis": { "url": "redis://127.0.0.1" } }),
        serde_json::json!({ "postgres": { "url": "postgres://127.0.0.1/x", "user": "bcs" } }),
        serde_json::json!({ "nftables": {} }),
        serde_json::json!({ "zookeeper": { "hosts": ["127.0.0.1:2181"] } }),
    ]
}

fn capabilities(driver: &serde_json::Value) -> Capabilities {
    opened(driver).capabilities()
}

fn opened(driver: &serde_json::Value) -> Arc<dyn Driver> {
    let spec: RegistrySpec = serde_json::from_value(serde_json::json!({ "driver": driver })).expect("a spec");
    assert_eq!(spec.validate(), [], "{driver}");
    let name = |text| Name::new(text).expect("a name");
    let owner = Owner {
        platform: name("eu1"),
        cluster: name("sim-a"),
        registry: name("dns"),
        installation: "one".to_owned(),
    };
    open(&spec, &owner)
}

fn row(able: Capabilities) -> String {
    let yes = |able| if able { "yes" } else { "–" };
    let owner = match able.owner {
        OwnerSlot::Entry => "each entry",
        OwnerSlot::Container => "the whole",
        OwnerSlot::Name => "each name",
        OwnerSlot::Nowhere => "–",
    };
    let fence = match able.fence {
        Fence::InWrite => "in every write",
        Fence::ReadBefore => "read before",
        Fence::Lease => "the lease alone",
    };
    let cells = [
        &format!("`{}`", able.kind),
        &if able.batch == WHOLE { "all".to_owned() } else { able.batch.to_string() },
        &able.at_once.to_string(),
        yes(able.atomic),
        yes(able.compare_and_set),
        owner,
        fence,
        yes(able.expires),
        yes(able.drain_state),
        yes(able.weight),
        yes(able.metadata),
        yes(able.watch),
        yes(able.shows == Able::Yes),
        yes(able.adopts == Able::Yes),
        yes(able.purges == Able::Yes),
    ]
    .map(str::to_owned);
    format!("| {} |", cells.join(" | "))
}

#[test]
fn the_table_of_the_readme_says_what_each_driver_can() {
    let rows: Vec<String> = specs().iter().map(|driver| row(capabilities(driver))).collect();
    let table = README.split("| kind | batch |").nth(1).expect("the table of the drivers");
    let found: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(found, rows, "the table should be:\n{}", rows.join("\n"));
}

#[tokio::test]
async fn what_a_kind_cannot_do_is_refused_in_one_sentence_that_names_it() {
    for driver in specs() {
        let driver = opened(&driver);
        let able = driver.capabilities();
        let kind = able.kind;
        if let Able::No(why) = able.adopts {
            let refused = Failure::Rejected(format!("a registry of kind {kind} {why}"));
            assert_eq!(driver.adopt(&[]).await, Err(refused), "{kind}");
        }
        if let Able::No(why) = able.purges {
            let refused = Failure::Rejected(format!("a registry of kind {kind} {why}"));
            assert_eq!(driver.evict(&[]).await, Err(refused), "{kind}");
        }
        // Who cannot see what others wrote cannot take it over.
        assert!(able.adopts != Able::Yes || able.shows == Able::Yes, "{kind}");
    }
}

#[test]
fn labels_are_asked_only_of_kinds_that_carry_them() {
    for driver in specs() {
        let read: registry::Driver = serde_json::from_value(driver.clone()).expect("a driver");
        assert_eq!(read.carries_metadata(), capabilities(&driver).metadata, "{driver}");
    }
}

#[test]
fn every_kind_that_a_document_can_name_is_in_the_table() {
    let schema = serde_json::to_value(schemars::schema_for!(registry::Driver)).expect("a schema");
    let kinds = schema["oneOf"].as_array().expect("kinds").iter();
    let named =
        kinds.filter_map(|kind| kind["required"][0].as_str()).collect::<std::collections::BTreeSet<_>>();
    let specs = specs();
    let told = specs.iter().filter_map(|spec| spec.as_object()?.keys().next().map(String::as_str)).collect();
    assert_eq!(named, told);
}
