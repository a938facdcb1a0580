//! etcd that wants TLS, a client certificate and a password.

use std::{fs::File, path::Path};

use bcs_schemas::{bucket, observation::RegistrationState};
use etcd_client::{Certificate, ConnectOptions, Identity, Permission, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::fixture::*;

const PASSWORD: &str = "correct-horse-battery";
const WRONG: &str = "incorrect-donkey-charger";

/// Writes an authority `<called>-ca.pem`, and `server` and `client` that it signed.
pub(crate) fn authority(directory: &Path, called: &str) {
    let write = |file: String, text: String| std::fs::write(directory.join(file), text).expect("writes");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, called);
    let key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("an authority");
    write(format!("{called}-ca.pem"), ca.pem());
    let issuer = Issuer::new(params, key);
    for who in ["server", "client"] {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(format!("{called}-{who}.pem"), certificate.pem());
        write(format!("{called}-{who}.key"), key.serialize_pem());
    }
}

/// etcd that trusts the authority `good` and knows a user `bcs` that may write what a sidecar writes.
async fn secured(directory: &Path) -> Etcd {
    let at = |file: &str| directory.join(file).display().to_string();
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).expect("reads");
    let options = [
        ("cert-file", at("good-server.pem")),
        ("key-file", at("good-server.key")),
        ("trusted-ca-file", at("good-ca.pem")),
        ("client-cert-auth", "true".to_owned()),
    ];
    let options = options.into_iter().map(|(option, value)| format!("--{option}={value}")).collect();
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(read("good-ca.pem")))
        .identity(Identity::from_pem(read("good-client.pem"), read("good-client.key")));
    let mut etcd = Etcd::start_at("https", options, ConnectOptions::new().with_tls(tls)).await;
    let mut client = etcd.client().await;
    client.role_add("root").await.expect("a role");
    client.role_add("sidecar").await.expect("a role");
    for prefix in ["/skydns/", "/bcs/"] {
        let grant = Permission::read_write(prefix).with_prefix();
        client.role_grant_permission("sidecar", grant).await.expect("a permission");
    }
    for (user, password, role) in [("root", "of-the-test", "root"), ("bcs", PASSWORD, "sidecar")] {
        client.user_add(user, password, None).await.expect("a user");
        client.user_grant_role(user, role).await.expect("a role");
    }
    client.auth_enable().await.expect("authentication");
    etcd.log_in("root", "of-the-test");
    etcd
}

fn registry(called: &str, etcd: &Etcd, directory: &Path, password: &str, tls: &str) -> String {
    let at = directory.display();
    format!(
        r#"
[[registries]]
apiVersion = "bcs/v1"
kind = "Registry"
metadata.name = "{called}"

[registries.spec.driver.etcd]
endpoints = ["{}"]
auth = {{ user = "bcs", password.file = "{at}/{password}" }}
tls = {{ {} }}
"#,
        etcd.url(),
        tls.replace("DIR", &at.to_string())
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_reached_over_tls_with_a_password_and_what_is_wrong_is_said_without_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    authority(directory.path(), "good");
    authority(directory.path(), "other");
    std::fs::write(file("password"), format!("{PASSWORD}\n")).expect("writes");
    std::fs::write(file("wrong"), WRONG).expect("writes");
    let (nats, etcd) = (Nats::start().await, secured(directory.path()).await);
    let client =
        r#"client.certificate.file = "DIR/good-client.pem", client.key.file = "DIR/good-client.key""#;
    let good = format!(r#"ca.file = "DIR/good-ca.pem", {client}"#);
    let other = format!(r#"ca.file = "DIR/other-ca.pem", {client}"#);
    let nobody = r#"ca.file = "DIR/good-ca.pem""#;
    let unlike = format!(r#"{good}, serverName = "etcd.example""#);
    let mut settings = format!("cluster = \"sim-a\"\nowner = \"eu1\"\nbus.url = \"{}\"\n", nats.url);
    settings.push_str("telemetry.log = \"debug\"\n");
    for (called, password, tls) in [
        ("right", "password", good.as_str()),
        ("wrong-password", "wrong", &good),
        ("no-password", "nowhere", &good),
        ("wrong-ca", "password", &other),
        ("no-certificate", "password", nobody),
        ("other-name", "password", &unlike),
    ] {
        settings.push_str(&registry(called, &etcd, directory.path(), password, tls));
    }
    std::fs::write(file("sidecar.toml"), settings).expect("writes");
    let arguments = ["--config".to_owned(), file("sidecar.toml").display().to_string()];
    let log = File::create(file("log")).expect("a file").into();
    nats.put(&endpoint(1)).await;
    let sidecar = start_logged(env!("CARGO_BIN_EXE_bcs-discovery-sidecar"), "the sidecar", &arguments, log);
    nats.status("right", |status| status.reachable && status.entries == 1).await;
    for (called, words) in [
        ("wrong-password", "authentication failed"),
        ("no-password", "driver.etcd.auth.password: "),
        ("wrong-ca", "UnknownIssuer"),
        // In TLS 1.3 the server says so only after the handshake, and the connection may be gone before it is heard.
        ("no-certificate", "etcd: connecting failed: "),
        ("other-name", "not valid for name"),
    ] {
        let said = nats.status(called, |status| status.reason.is_some()).await;
        let reason = said.reason.unwrap_or_default();
        println!("{called}: {reason}");
        assert!(!said.reachable && reason.contains(words), "{called}: {reason}");
    }
    let confirmed = async |registrations: Vec<bcs_schemas::observation::Registration>| {
        registrations.iter().filter(|r| r.state == RegistrationState::Confirmed).count()
    };
    wait_until(LONG, async || match confirmed(nats.registrations().await).await {
        1 => Ok(()),
        count => Err(format!("{count} registries confirm")),
    })
    .await;
    assert_eq!(etcd.keys("/skydns/").await.len(), 1);
    drop(sidecar);
    let mut told = std::fs::read_to_string(file("log")).expect("a log");
    assert!(told.contains("authentication failed"), "the log says why");
    for registry in
        nats.bus.bucket(bucket::REGISTRIES).await.expect("a bucket").list(">").await.expect("lists")
    {
        told.push_str(&format!("{registry:?}"));
    }
    let key = std::fs::read_to_string(file("good-client.key")).expect("a key");
    let key = key.lines().nth(1).expect("a line of the key");
    for secret in [PASSWORD, WRONG, key] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}
