use std::io::Write;

use serde_json::json;

use super::*;

const SHOP: &str = "\
apiVersion: bcs/v1
kind: App
metadata: { name: shop-web }
spec:
  replicas: 6
  placement: { clusters: [{ name: sim-a }] }
  image: { repository: shop/web, tag: v1 }
  ports: [{ name: http, port: 8080 }]
";

fn read(text: &str, settings: &[&str]) -> Result<Vec<Resource>, String> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("writes");
    let path = file.path().display().to_string();
    let settings: Vec<Setting> = settings.iter().map(|s| s.parse().expect("a setting")).collect();
    read_all(std::slice::from_ref(&path), &settings).map_err(|e| e.message.replace(&path, "shop.yaml"))
}

#[test]
fn several_documents_are_read_and_empty_ones_skipped() {
    let text = format!("# a comment\n---\n{SHOP}---\n---\n{}", SHOP.replace("shop-web", "shop-api"));
    let names = |r: &Resource| r.metadata().name.to_string();
    let read = read(&text, &[]).expect("is right");
    assert_eq!(read.iter().map(names).collect::<Vec<_>>(), ["shop-web", "shop-api"]);
}

#[test]
fn every_mistake_names_file_document_field_and_expectation() {
    let second = |from: &str, to: &str| format!("{SHOP}---\n{}", SHOP.replace(from, to));
    for (text, words) in [
        (
            second("replicas: 6", "replicas: -1"),
            "shop.yaml document 2: spec.replicas: invalid value: integer `-1`, expected u32",
        ),
        (
            second("replicas: 6", "replicas: many"),
            "shop.yaml document 2: spec.replicas: invalid type: string \"many\", expected u32",
        ),
        (
            second("tag: v1", "tag: 1.25"),
            "shop.yaml document 2: spec.image.tag: invalid type: floating point `1.25`, expected a string: write it \
             in quotes",
        ),
        (second("replicas: 6", "replica: 6"), "shop.yaml document 2: spec.replica: unknown field"),
        (
            second("kind: App", "kind: Pod"),
            "shop.yaml document 2: kind: \"Pod\" is unknown: expected one of App, Cluster, Registry",
        ),
        (second("shop-web", "Shop_Web"), "shop.yaml document 2: metadata.name: \"Shop_Web\" is no DNS label"),
        (
            second("port: 8080", "port: 0"),
            "shop.yaml document 2: spec.ports[0].port: 0 is no port: expected 1 to 65535",
        ),
        (
            second("bcs/v1", "bcs/v9"),
            "shop.yaml document 2: apiVersion: unknown variant `bcs/v9`, expected `bcs/v1`",
        ),
        ("just words".to_owned(), "shop.yaml document 1: is no resource: expected apiVersion, kind"),
        (String::new(), "shop.yaml: holds no document"),
        ("a: [1".to_owned(), "shop.yaml line "),
        ("a: 1\na: 2\n".to_owned(), "duplicate"),
    ] {
        let error = read(&text, &[]).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_directory_stands_for_the_documents_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    let read = || read_all(std::slice::from_ref(&path), &[]);
    assert!(read().expect_err("is empty").message.contains("holds no file"));
    for (file, app) in [("b.yml", "second"), ("a.yaml", "first"), ("notes.txt", "No Name")] {
        std::fs::write(dir.path().join(file), SHOP.replace("shop-web", app)).expect("writes");
    }
    let names = read().expect("is right").iter().map(|r| r.metadata().name.to_string()).collect::<Vec<_>>();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = format!("{}---\n{}", SHOP.replace("shop-web", "A"), SHOP.replace("8080", "0"));
    assert_eq!(read(&text, &[]).expect_err("two mistakes").lines().count(), 2);
}

#[test]
fn a_bomb_is_refused_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let inner = format!("*a{}, ", n - 1).repeat(9);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", inner.trim_end_matches(", ")));
    }
    let error = read(&bomb, &[]).expect_err("a bomb");
    assert!(error.starts_with("shop.yaml"), "{error}");
    let deep = "[".repeat(100_000);
    assert!(read(&deep, &[]).is_err());
}

#[test]
fn a_setting_reaches_every_app_and_an_unknown_path_is_refused() {
    let text = format!("{SHOP}---\n{}", SHOP.replace("shop-web", "shop-api"));
    for resource in read(&text, &["image.tag=v2", "replicas=9", "ports[0].port=81"]).expect("is right") {
        let Resource::App(app) = resource else { panic!("an app") };
        assert_eq!((app.spec.image.tag.as_str(), app.spec.replicas, app.spec.ports[0].port), ("v2", 9, 81));
    }
    let with_new = read(SHOP, &["env.MODE=fast", "drain.deadline=5s"]).expect("missing objects are made");
    assert!(matches!(&with_new[0], Resource::App(app) if app.spec.env["MODE"] == "fast"));
    for (setting, words) in [
        ("image.tga=v2", "shop.yaml document 1: spec.image.tga: unknown field"),
        ("replicas=many", "spec.replicas: invalid type"),
        ("ports[3].port=1", "spec.ports: has 1 items"),
        ("replicas.x=1", "spec.replicas: has no fields"),
        ("image[0]=1", "spec.image: is no list"),
    ] {
        let error = read(SHOP, &[setting]).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
    assert!("image.tag".parse::<Setting>().is_err());
    assert!(".x=1".parse::<Setting>().is_err());
}

#[test]
fn a_setting_becomes_what_the_schema_wants() {
    let set = |setting: &str| {
        let read = read(SHOP, &[setting]).expect(setting).remove(0);
        let Resource::App(app) = read else { panic!("an app") };
        serde_json::to_value(app.spec).expect("is JSON")
    };
    for (setting, place, value) in [
        ("image.tag=1.25", "/image/tag", json!("1.25")),
        ("image.tag=1.10", "/image/tag", json!("1.10")),
        ("image.tag=true", "/image/tag", json!("true")),
        ("image.tag=null", "/image/tag", json!("null")),
        ("image.tag='1'", "/image/tag", json!("1")),
        ("image.tag=0x10", "/image/tag", json!("0x10")),
        ("env.LEVEL=3", "/env/LEVEL", json!("3")),
        ("env.EMPTY=", "/env/EMPTY", json!("")),
        ("env.FORMAT=%d # {a: b", "/env/FORMAT", json!("%d # {a: b")),
        ("env.LIST=a=b,c", "/env/LIST", json!("a=b,c")),
        ("annotations.kubesim\\.io/slow=5", "/annotations/kubesim.io~1slow", json!("5")),
        ("args=[a, b]", "/args", json!(["a", "b"])),
        ("resources.cpu=2", "/resources/cpu", json!("2")),
        ("replicas=0", "/replicas", json!(0)),
        ("drain.deadline=1500", "/drain/deadline", json!(1500)),
        ("drain.deadline=2s", "/drain/deadline", json!(2000)),
        ("placement.clusters[0].weight=3", "/placement/clusters/0/weight", json!(3)),
    ] {
        assert_eq!(set(setting).pointer(place), Some(&value), "{setting}");
    }
    assert_eq!(set("resources.cpu=").pointer("/resources/cpu"), None, "what may be absent is taken away");
}

#[test]
fn the_examples_are_right() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop.yaml").to_owned();
    assert_eq!(read_all(&[examples], &[]).expect("is right").len(), 3);
}
