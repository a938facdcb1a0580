//! A bus that speaks TLS: who is not taken for it, and what is said then.

use std::path::Path;

use bcs_client::{Client, Error};
use bcs_kit::bus::{self, BusConfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::harness::Server;

/// What a certificate is for, and from which to which year it holds.
type Terms = (&'static str, i32, i32);

const GOOD: Terms = ("127.0.0.1", 2020, 2090);

/// Writes the authority `<called>.pem`, and a certificate that it signed.
fn authority(directory: &Path, called: &str, (name, from, until): Terms) {
    let write = |file: &str, text: String| {
        std::fs::write(directory.join(format!("{called}{file}")), text).expect("writes");
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // All of one name, as those of two installations are.
    params.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate().expect("a key");
    write(".pem", params.self_signed(&key).expect("an authority").pem());
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("a key");
    write("-server.pem", params.signed_by(&key, &issuer).expect("a certificate").pem());
    write("-server.key", key.serialize_pem());
}

/// A server with such a certificate.
fn server(directory: &Path, terms: Terms) -> Server {
    authority(directory, "own", terms);
    let at = |file: &str| directory.join(file).display().to_string();
    Server::start_with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, min_version: \"1.3\", timeout: 30 }}\n",
        at("own-server.pem"),
        at("own-server.key")
    ))
}

/// Why there is no connection, once the server listens.
async fn refusal(server: &Server, config: &BusConfig) -> bus::Error {
    server.listens().await;
    match Client::connect(config, "test").await.err().expect("is no connection") {
        Error::Bus(error) | Error::Connect(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn whoever_trusts_the_authority_is_connected() {
    let dir = TempDir::new().expect("a directory");
    let server = server(dir.path(), GOOD);
    server.listens().await;
    let config = BusConfig { ca: Some(dir.path().join("own.pem")), ..server.config() };
    let tls = BusConfig { url: config.url.replace("nats://", "tls://"), ..config.clone() };
    for config in [config, tls] {
        let bus = bus::Bus::connect(&config, "test").await.expect("connects");
        assert!(bus.client().server_info().tls_required);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_said_with_what_to_do() {
    for (terms, authority_file, words) in [
        (GOOD, None, "bcs context add --ca FILE"),
        (GOOD, Some("other.pem"), "is not signed by the authority in"),
        (("127.0.0.1", 2020, 2021), Some("own.pem"), "its certificate has expired"),
        (("127.0.0.1", 2089, 2090), Some("own.pem"), "does not hold yet"),
        (("bus.example", 2020, 2090), Some("own.pem"), "is for other names"),
    ] {
        let dir = TempDir::new().expect("a directory");
        authority(dir.path(), "other", GOOD);
        let server = server(dir.path(), terms);
        let config = BusConfig { ca: authority_file.map(|file| dir.path().join(file)), ..server.config() };
        let error = refusal(&server, &config).await;
        assert!(matches!(error, bus::Error::Untrusted { .. }), "{words}: {error:?}");
        assert!(error.to_string().contains(words), "expected {words:?}: {error}");
    }
}

#[tokio::test]
async fn nobody_is_talked_into_speaking_without_tls() {
    let dir = TempDir::new().expect("a directory");
    authority(dir.path(), "own", GOOD);
    let server = Server::start();
    let config = BusConfig { ca: Some(dir.path().join("own.pem")), ..server.config() };
    let error = refusal(&server, &config).await;
    assert!(error.to_string().contains("speaks no TLS"), "{error:?}");
    std::fs::write(dir.path().join("own.pem"), "nonsense").expect("writes");
    let error = refusal(&server, &config).await;
    assert!(matches!(error, bus::Error::Ca(..)), "{error:?}");
}
