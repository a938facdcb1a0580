use super::*;

fn store() -> Store {
    let store = Store::new(Kinds::default(), 0, Vec::new());
    store.create(&kind::NAMESPACES, json!({"metadata": {"name": "default"}})).expect("namespace");
    store
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"namespace": "default", "name": name}, "data": {"a": "1"}})
}

#[test]
fn objects_come_back_with_identity_and_version() {
    let store = store();
    let made = store.create(&kind::CONFIG_MAPS, config_map("a")).expect("created");
    assert!(!object::uid(&made).is_empty());
    assert_eq!(object::version(&made), store.version());
    let again = store.create(&kind::CONFIG_MAPS, config_map("a")).expect_err("twice");
    assert_eq!((again.code, again.reason.as_ref()), (409, "AlreadyExists"));
}

#[test]
fn a_missing_namespace_is_named() {
    let mut object = config_map("a");
    object["metadata"]["namespace"] = json!("nowhere");
    let error = store().create(&kind::CONFIG_MAPS, object).expect_err("no namespace");
    assert_eq!((error.code, error.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}

#[test]
fn a_stale_writer_gets_a_conflict() {
    let store = store();
    let first = store.create(&kind::CONFIG_MAPS, config_map("a")).expect("created");
    let mut next = (*first).clone();
    next["data"]["a"] = json!("2");
    store.swap(&kind::CONFIG_MAPS, &first, next.clone()).expect("fresh");
    next["data"]["a"] = json!("3");
    assert_eq!(store.swap(&kind::CONFIG_MAPS, &first, next).expect_err("stale").code, 409);
}

#[test]
fn an_update_without_a_change_makes_no_event() {
    let store = store();
    let made = store.create(&kind::CONFIG_MAPS, config_map("a")).expect("created");
    let same = store.swap(&kind::CONFIG_MAPS, &made, (*made).clone()).expect("same");
    assert_eq!(object::version(&same), object::version(&made));
}

#[test]
fn a_list_of_the_past_shows_the_past() {
    let store = store();
    let first = store.create(&kind::CONFIG_MAPS, config_map("a")).expect("created");
    let then = store.version();
    store.create(&kind::CONFIG_MAPS, config_map("b")).expect("created");
    store.delete(&kind::CONFIG_MAPS, &Key::of(&first), &DeleteOptions::default()).expect("deleted");
    let then_was = || store.part(&kind::CONFIG_MAPS, "", Some(then), None, usize::MAX);
    let names =
        |objects: &[Arc<Value>]| objects.iter().map(|o| object::name(o).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&store.list(&kind::CONFIG_MAPS, "default").objects), ["b"]);
    assert_eq!(names(&then_was().expect("known").objects), ["a"]);
    store.compact();
    assert_eq!(then_was().err().map(|e| e.code), Some(410));
}

#[test]
fn finalizers_hold_a_deletion_until_the_last_one_goes() {
    let store = store();
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["bcs/x"]);
    let made = store.create(&kind::CONFIG_MAPS, object).expect("created");
    let key = Key::of(&made);
    let pending = store.delete(&kind::CONFIG_MAPS, &key, &DeleteOptions::default()).expect("begun");
    assert!(matches!(pending, Deletion::Pending(_)));
    store
        .update(&kind::CONFIG_MAPS, &key, |o| {
            let mut o = o.clone();
            o["metadata"]["finalizers"] = json!([]);
            Ok(Some(o))
        })
        .expect("updated");
    assert!(store.get(&kind::CONFIG_MAPS, &key).is_none());
}

#[test]
fn the_generation_follows_the_spec_only() {
    let store = store();
    let service = json!({"metadata": {"namespace": "default", "name": "s"}, "spec": {"ports": []}});
    let made = store.create(&kind::SERVICES, service).expect("created");
    let change = |path: &'static [&'static str], value: Value| {
        let done = store.update(&kind::SERVICES, &Key::of(&made), |o| {
            let mut o = o.clone();
            object::set(&mut o, path, value.clone());
            Ok(Some(o))
        });
        object::int(&done.expect("updated"), "/metadata/generation")
    };
    assert_eq!(change(&["metadata", "labels", "a"], json!("b")), Some(1));
    assert_eq!(change(&["spec", "type"], json!("ClusterIP")), Some(2));
}
