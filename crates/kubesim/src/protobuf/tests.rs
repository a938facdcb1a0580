use proptest::prelude::*;

use super::*;
use crate::kind;

/// A field of bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        field.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).expect("seven bits"));
    field.extend_from_slice(content);
    field
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let of_type = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &of_type), bytes(2, object)].concat()
}

#[test]
fn an_object_says_the_same_as_in_json() {
    let label = [bytes(1, b"app"), bytes(2, b"web")].concat();
    let metadata = [bytes(1, b"web"), bytes(2, b""), bytes(8, &[]), bytes(11, &label)].concat();
    let cpu = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"100m"))].concat();
    let port = [&bytes(1, b"")[..], &[2 << 3, 0, 3 << 3, 0x90, 0x3f], &bytes(4, b"TCP")].concat();
    let probe =
        bytes(1, &bytes(2, &[bytes(1, b"/healthz"), bytes(2, &[1 << 3, 0, 2 << 3, 0x90, 0x3f])].concat()));
    let container = [
        bytes(1, b"main"),
        bytes(2, b"web:1"),
        bytes(6, &port),
        bytes(8, &bytes(1, &cpu)),
        bytes(11, &probe),
    ]
    .concat();
    let spec = [&bytes(2, &container)[..], &[4 << 3, 0], &bytes(3, b"Always")].concat();
    let pod = [bytes(1, &metadata), bytes(2, &spec), bytes(3, &[])].concat();
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}}, "status": {},
        "spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": "web:1", "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "100m"}}, "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
        }]},
    });
    assert_eq!(decode(&body("v1", "Pod", &pod)).expect("decodes"), expected);
}

#[test]
fn what_is_no_protobuf_or_of_no_known_type_is_refused() {
    assert_eq!(decode(b"{}"), Err(Error::Magic));
    assert_eq!(decode(b"k8s\0\x0a\xff"), Err(Error::Wire));
    assert_eq!(
        decode(&body("example.com/v1", "Tab", &[])),
        Err(Error::Unknown("example.com/v1 Tab".to_owned()))
    );
}

#[test]
fn every_property_of_a_built_in_kind_has_its_number() {
    // Newer than the source of the numbers: what nodes and kubelets report.
    let newer = ["schedulingGroup", "nodeAllocatableResourceClaimStatuses", "volumeStatus", "message"];
    for (name, schema) in schema::components() {
        let Some(message) = MESSAGES.get(name.strip_prefix("io.k8s.").unwrap_or(name)) else { continue };
        let mut known: Vec<&str> = Vec::new();
        numbered(message, &mut known);
        for property in schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str())
        {
            let of_type = matches!(property, "apiVersion" | "kind");
            assert!(of_type || known.contains(&property) || newer.contains(&property), "{name} {property}");
        }
    }
    // Metrics are read only, so nobody sends them in protobuf.
    let unsent = ["apiextensions.k8s.io", "metrics.k8s.io"];
    for kind in kind::published().iter().filter(|kind| !unsent.contains(&kind.group)) {
        assert!(MESSAGES.contains_key(component(&kind.api_version(), kind.kind).as_str()), "{}", kind.id);
    }
}

fn numbered(message: &Message, known: &mut Vec<&str>) {
    for number in message.values() {
        match number {
            Number::Property(name) => known.push(name),
            Number::Inlined(name) => numbered(&MESSAGES[name], known),
        }
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_decoded_or_refused(object in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&object);
        let _ = decode(&body("v1", "Pod", &object));
        let _ = decode(&body("apps/v1", "Deployment", &object));
    }
}
