use super::*;
use crate::kind;

fn who(name: &str) -> Manager {
    Manager { name: name.to_owned(), subresource: String::new() }
}

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    object
}

fn applied(live: &Value, config: &Value, name: &str) -> Value {
    apply(&kind::DEPLOYMENTS, live, config, &who(name), false, "now").expect("no conflict")
}

#[test]
fn a_field_that_its_only_manager_stops_applying_goes_away() {
    let live = applied(&Value::Null, &deployment(Some(3), "i:1"), "one");
    assert_eq!(live["spec"]["replicas"], 3);
    let live = applied(&live, &deployment(None, "i:2"), "one");
    assert_eq!(live["spec"].get("replicas"), None);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "i:2");
}

#[test]
fn a_field_with_another_manager_stays() {
    let live = applied(&Value::Null, &deployment(Some(3), "i:1"), "one");
    let live = applied(&live, &deployment(Some(3), "i:1"), "two");
    let live = applied(&live, &deployment(None, "i:1"), "one");
    assert_eq!(live["spec"]["replicas"], 3);
}

#[test]
fn changing_a_field_of_another_manager_is_a_conflict_unless_forced() {
    let live = applied(&Value::Null, &deployment(Some(3), "i:1"), "one");
    let change = deployment(Some(4), "i:1");
    let error = apply(&kind::DEPLOYMENTS, &live, &change, &who("two"), false, "now").expect_err("conflict");
    assert_eq!(error.code, 409);
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let live = apply(&kind::DEPLOYMENTS, &live, &change, &who("two"), true, "now").expect("forced");
    assert_eq!(live["spec"]["replicas"], 4);
    // The first manager lost the field, so it no longer conflicts for the second one.
    applied(&live, &deployment(Some(5), "i:1"), "two");
}

#[test]
fn an_ordinary_write_takes_the_field_over() {
    let live = applied(&Value::Null, &deployment(Some(3), "i:1"), "one");
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(9);
    record_update(&kind::DEPLOYMENTS, &live, &mut scaled, &who("kubectl-scale"), "now");
    let error = apply(&kind::DEPLOYMENTS, &scaled, &deployment(Some(3), "i:1"), &who("one"), false, "now")
        .expect_err("conflict");
    assert!(error.message.contains("kubectl-scale"), "{}", error.message);
    // A configuration that no longer names the field leaves it alone.
    let live = applied(&scaled, &deployment(None, "i:1"), "one");
    assert_eq!(live["spec"]["replicas"], 9);
}

#[test]
fn list_items_belong_to_who_applied_them() {
    let live = applied(&Value::Null, &deployment(None, "i:1"), "one");
    let mut sidecar = deployment(None, "i:1");
    sidecar["spec"]["template"]["spec"]["containers"] = json!([{"name": "s", "image": "s:1"}]);
    let live = applied(&live, &sidecar, "two");
    let names = |v: &Value| {
        let list = object::items(v, "/spec/template/spec/containers");
        list.iter().map(|c| object::text(c, "/name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&live), ["c", "s"]);
    sidecar["spec"]["template"]["spec"]["containers"] = json!([]);
    let live = applied(&live, &sidecar, "two");
    assert_eq!(names(&live), ["c"]);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let live = applied(&Value::Null, &deployment(Some(3), "i:1"), "one");
    let again = apply(&kind::DEPLOYMENTS, &live, &deployment(Some(3), "i:1"), &who("one"), false, "later")
        .expect("no conflict");
    assert_eq!(again, live);
}
