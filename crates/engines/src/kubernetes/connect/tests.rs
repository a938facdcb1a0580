use std::{os::unix::fs::PermissionsExt, path::Path};

use bcs_schemas::resource::cluster::{AgentPlace, EngineKind, SecretRef};

use super::*;

fn spec(file: &Path, context: Option<&str>) -> ClusterSpec {
    ClusterSpec {
        engine: EngineKind::Kubernetes,
        kubeconfig: SecretRef { file: file.to_owned() },
        context: context.map(str::to_owned),
        agent: AgentPlace::Direct,
    }
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
         clusters: [{{name: a, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: a, user: {{token: hush-hush}}}}]\n\
         contexts: [{{name: a, context: {{cluster: a, user: a}}}}, {{name: b, context: {{cluster: c, user: a}}}}]\n"
    )
}

async fn refusal(text: &str, context: Option<&str>) -> Error {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, text).expect("written");
    match connect(&spec(&file, context), Clock::system()).await {
        Ok(_) => panic!("was accepted: {text}"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn every_bad_kubeconfig_is_refused_with_the_file_and_what_was_expected() {
    let good = kubeconfig("http://127.0.0.1:9");
    let with_password = kubeconfig("http://me:hush-hush@127.0.0.1:9");
    let cases: [(&str, Option<&str>, &str, &str); 9] = [
        (&with_password, None, "spec.kubeconfig", "points at http://127.0.0.1:9/,"),
        ("", None, "spec.context", "names no context"),
        ("users: [{name: a, user: {token: hush-hush", None, "spec.kubeconfig", "is no kubeconfig"),
        ("clusters: hush-hush", None, "spec.kubeconfig", "expected YAML with clusters"),
        ("\u{0}\u{1}hush-hush", None, "spec.kubeconfig", "is no kubeconfig"),
        (&good, Some("x"), "spec.context", "has no context \"x\": expected one of a, b"),
        (&good, Some("b"), "spec.kubeconfig", "cluster \"c\", which it does not have"),
        (&kubeconfig("::::"), None, "spec.kubeconfig", "its server is no URL"),
        (
            &good,
            None,
            "spec.kubeconfig",
            "points at http://127.0.0.1:9/, which does not answer: Connection refused",
        ),
    ];
    for (text, context, field, words) in cases {
        let error = refusal(text, context).await.field();
        assert_eq!(error.field, field, "{error}");
        assert!(error.problem.contains(words), "{words}: {error}");
        assert!(error.problem.contains("/kubeconfig"), "{error}");
        assert!(!error.problem.contains("hush-hush"), "a secret is quoted: {error}");
    }
}

#[tokio::test]
async fn a_dead_connection_is_given_up_after_every_quiet_watch_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, kubeconfig("http://127.0.0.1:9")).expect("written");
    let config = configure(&spec(&file, None)).await.expect("is good");
    let quiet = Duration::from_secs(u64::from(super::super::watch::WATCH_SECONDS) + 5);
    assert!(config.read_timeout.is_some_and(|limit| limit > quiet), "{:?}", config.read_timeout);
    assert!(config.reset_reader_on_write, "an idle connection must not fail its next request");
}

#[tokio::test]
async fn a_missing_and_an_unreadable_file_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = open(&spec(&folder.path().join("none"), None), Clock::system()).await.err().expect("fails");
    assert!(matches!(missing, Error::Missing(_)), "{missing}");
    let unreadable = open(&spec(folder.path(), None), Clock::system()).await.err().expect("fails");
    assert!(matches!(unreadable, Error::Unreadable { .. }), "{unreadable}");
    let file = folder.path().join("closed");
    std::fs::write(&file, kubeconfig("http://127.0.0.1:9")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).expect("closed");
    // The superuser reads everything.
    if std::fs::read(&file).is_err() {
        let closed = open(&spec(&file, None), Clock::system()).await.err().expect("fails").to_string();
        assert!(closed.contains("permission denied"), "{closed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", silent.local_addr().expect("an address"));
    let error = refusal(&kubeconfig(&server), None).await;
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
    assert!(error.transient() && error.to_string().contains("no answer within 10 s"), "{error}");
}

#[tokio::test]
async fn a_change_of_the_kubeconfig_or_of_a_file_that_it_names_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, key) = (folder.path().join("kubeconfig"), folder.path().join("client.key"));
    let with_key = |server: &str| kubeconfig(server).replace("token: hush-hush", "client-key: client.key");
    let spec = spec(&file, None);
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
    write(&file, &with_key("http://127.0.0.1:9"));
    let print = async || fingerprint(&spec).await.expect("can be read");
    let mut seen = vec![print().await];
    assert_eq!(print().await, seen[0], "nothing changed");
    write(&key, "one");
    seen.push(print().await);
    write(&key, "two");
    seen.push(print().await);
    write(&file, &with_key("http://127.0.0.1:10"));
    seen.push(print().await);
    for (index, print) in seen.iter().enumerate() {
        assert!(!seen[..index].contains(print), "change {index} was not noticed");
    }
}
