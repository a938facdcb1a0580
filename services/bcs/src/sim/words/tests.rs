use super::*;

fn read(line: &str) -> Result<Asked, String> {
    asked(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

#[test]
fn every_fault_is_said_in_a_word_or_two() {
    for (line, expected) in [
        ("api-errors=5% latency=200ms", json!({"api_errors": 0.05, "latency_ms": 200})),
        ("api-errors 0.5 conflicts=10%", json!({"api_errors": 0.5, "conflicts": 0.1})),
        ("drop-watches compact", json!({"drop_watches": true, "compact": true})),
        ("node-down a node-down=b node-up c", json!({"node_down": ["a", "b"], "node_up": ["c"]})),
        ("partition 60s", json!({"partition_ms": 60_000})),
        ("partition=off slow-start=0", json!({"partition_ms": 0, "slow_start_ms": 0})),
        ("slow-start image-pull-error", json!({"slow_start_ms": 5000, "image_pull_errors": 1.0})),
        ("image-pull-error=30%", json!({"image_pull_errors": 0.3})),
        ("image-pull-error=web:2,*/db:*", json!({"broken_images": ["web:2", "*/db:*"]})),
        ("image-pull-error=off", json!({"image_pull_errors": 0.0, "broken_images": []})),
        ("crash shop-web", json!({"crash": {"app": "shop-web"}})),
        ("crash demo/shop-web", json!({"crash": {"namespace": "demo", "app": "shop-web"}})),
        ("crash bcs.io/app=shop-web", json!({"crash": {"selector": "bcs.io/app=shop-web"}})),
        ("crash=tier=front", json!({"crash": {"selector": "tier=front"}})),
        ("reset seed=7", json!({"reset": true, "seed": 7})),
    ] {
        assert_eq!(read(line).map(Value::Object), Ok(expected), "{line}");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_was_expected() {
    for (line, words) in [
        ("api-error=5%", "there is no fault \"api-error\": there are api-errors, conflicts"),
        ("api-errors=5", "api-errors: \"5\" is no share: expected such as 5%"),
        ("api-errors latency=200ms", "api-errors: \"latency=200ms\" is no share"),
        ("conflicts=-1%", "is no share"),
        ("latency=200", "latency: \"200\" is no duration"),
        ("partition", "partition needs a value, such as partition=60s"),
        ("crash", "crash needs a value, such as crash=APP"),
        ("node-down=", "node-down: expected a name"),
        ("compact=yes", "compact takes no value"),
        ("seed=-1", "seed: \"-1\" is no seed"),
        ("latency=1s latency=2s", "latency: is said twice"),
        ("image-pull-error=200%", "is no share"),
    ] {
        let error = read(line).expect_err(line);
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn what_is_set_is_told_in_the_words_that_would_set_it() {
    let set = CurrentFaults {
        api_errors: 0.07,
        conflicts: 0.0,
        latency_ms: 1500,
        partition_ms: 0,
        slow_start_ms: 5000,
        image_pull_errors: 1.0,
        broken_images: vec!["web:2".to_owned(), "db".to_owned()],
        nodes_down: ["a".to_owned()].into(),
        seed: 7,
    };
    let said = of(&set);
    let line = "api-errors=7% image-pull-error=100% latency=1s500ms slow-start=5s image-pull-error=web:2,db node-down=a";
    assert_eq!(said.join(" "), line);
    let again = json!({
        "api_errors": 0.07, "image_pull_errors": 1.0, "latency_ms": 1500, "slow_start_ms": 5000,
        "broken_images": ["web:2", "db"], "node_down": ["a"],
    });
    assert_eq!(asked(&said).map(Value::Object), Ok(again));
}
