//! What goes wrong on the way and with single entries. BIND stands for all here, with its rules and limits.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bcs_discovery_sidecar::{
    domain::{Change, Failure, Outcome},
    driver::Listing,
};
use bcs_schemas::observation::Endpoint;

use super::{
    NAME,
    server::{Kind, SECRET, Server},
    stories::{at, ips, otherwise, remove},
};
use crate::{contract::Hand, fixture::*};

/// Says this to everybody and hangs up, or nothing at all.
fn stranger(words: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                match words {
                    Some(words) => {
                        let _ = stream.read(&mut [0; 512]);
                        let _ = stream.write_all(words);
                    }
                    None => drop(stream.read_to_end(&mut Vec::new())),
                }
            });
        }
    });
    address
}

/// Stands before a server and loses the answers to updates when it is told to.
fn lossy(port: u16, lose: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("an address").to_string();
    let lose = lose.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A server that is down closes what comes.
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let lose = lose.clone();
            let (mut there, mut from) =
                (server.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
            std::thread::spawn(move || std::io::copy(&mut from, &mut there));
            std::thread::spawn(move || answers(server, client, &lose));
        }
    });
    address
}

fn answers(mut server: TcpStream, mut client: TcpStream, lose: &AtomicBool) {
    const UPDATE: u8 = 5 << 3;
    let mut length = [0; 2];
    while server.read_exact(&mut length).is_ok() {
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        let lost = server.read_exact(&mut message).is_err()
            || message[2] & 0b0111_1000 == UPDATE && lose.load(Ordering::SeqCst);
        if lost || client.write_all(&[&length, &*message].concat()).is_err() {
            break;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

async fn bind() -> Server {
    Server::start(Kind::Bind, "bcs.local", "hmac-sha256").await
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_update_was_made_is_found_out_about() {
    let server = bind().await;
    let lose = Arc::new(AtomicBool::new(false));
    let address = lossy(server.port, &lose);
    let hand = otherwise(&server, |dns| dns["servers"] = serde_json::json!([address]));
    hand.fence(1).await;
    let put = hand.put(endpoint(1), None);
    lose.store(true, Ordering::SeqCst);
    let lost = hand.driver.apply(std::slice::from_ref(&put)).await.expect_err("nobody knows");
    assert!(
        matches!(&lost, Failure::Unavailable(words) if words.contains("closed the connection without an answer")),
        "{lost:?}"
    );
    assert_eq!(server.addresses(NAME), ips(&["10.0.0.1"]), "it was made");
    lose.store(false, Ordering::SeqCst);
    hand.fence(1).await;
    let items = hand.items().await;
    assert_eq!(items.len(), 1);
    let again = hand.driver.apply(&[put]).await.expect("is answered");
    assert_eq!(again, [Outcome::Differs(Some(items[0].clone()))]);
    hand.done(&[remove(&items[0])]).await;
    assert_eq!(server.addresses(NAME), ips(&[]));
}

/// Answers are lost, the server is killed, others write to the same name: in the end the zone holds what is wanted.
#[tokio::test]
async fn whatever_is_lost_on_the_way_the_zone_comes_right_and_others_are_not_touched() {
    let mut server = bind().await;
    let lose = Arc::new(AtomicBool::new(false));
    let address = lossy(server.port, &lose);
    let hand = otherwise(&server, |dns| dns["servers"] = serde_json::json!([address]));
    hand.fence(1).await;
    server.nsupdate(&format!("update add {NAME} 60 A 192.0.2.1"));
    let mut wanted: BTreeMap<u32, Endpoint> = BTreeMap::new();
    for round in 0_u32..30 {
        // Some come, some go, some move; some have the address of another one.
        for number in [round % 7, round * 3 % 11] {
            match wanted.remove(&number) {
                Some(_) if round % 2 == 0 => (),
                Some(_) => drop(wanted.insert(number, at(number, &format!("10.7.{round}.1")))),
                None => drop(wanted.insert(number, at(number, &format!("10.8.0.{}", number / 2)))),
            }
        }
        lose.store(round % 3 == 1, Ordering::SeqCst);
        if round % 10 == 5 {
            server.down();
        }
        let first = match hand.driver.list().await {
            Ok(found) => hand.driver.apply(&plan(&hand, &wanted, &found)).await,
            Err(failure) => Err(failure),
        };
        lose.store(false, Ordering::SeqCst);
        if round % 10 == 5 {
            server.up().await;
        }
        if round % 4 == 3 {
            server.nsupdate(&format!("update add {NAME} 60 A 192.0.2.{round}"));
        }
        if first.is_err() {
            hand.fence(1).await;
        }
        wait_until(LONG, async || {
            let found = hand.driver.list().await.map_err(|e| e.to_string())?;
            let changes = plan(&hand, &wanted, &found);
            match hand.driver.apply(&changes).await {
                Ok(_) if changes.is_empty() => Ok(()),
                other => Err(format!("{other:?} to {changes:?}")),
            }
        })
        .await;
        let theirs = server.addresses(NAME).into_iter().filter(|a| a.to_string().starts_with("192."));
        let ours = wanted.values().map(|endpoint| endpoint.addresses[0]);
        assert_eq!(server.addresses(NAME), theirs.chain(ours).collect());
    }
    assert_eq!(server.addresses(NAME).iter().filter(|a| a.to_string().starts_with("192.")).count(), 8);
}

/// What is to be done, as the engine would find out.
fn plan(hand: &Hand, wanted: &BTreeMap<u32, Endpoint>, found: &Listing) -> Vec<Change> {
    let mut found: BTreeMap<_, _> = found.items.iter().map(|item| (item.place.clone(), item)).collect();
    let mut changes = Vec::new();
    for endpoint in wanted.values() {
        let Change::Put { place, entry, digest, .. } = hand.put(endpoint.clone(), None) else { continue };
        let there = found.remove(&place);
        if there.is_none_or(|item| item.digest != digest) {
            changes.push(Change::Put { place, entry, digest, over: there.map(|item| item.version) });
        }
    }
    changes.extend(found.into_values().map(remove));
    changes
}

#[tokio::test]
async fn what_is_no_server_of_dns_is_told_and_the_next_address_is_tried_when_one_does_not_answer() {
    let server = bind().await;
    let closed = format!("127.0.0.1:{}", free_port());
    for (servers, words) in [
        (vec![stranger(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"))], "begins with \"HTTP/1.1"),
        (vec![stranger(Some(b"\0\x05hello"))], "is no message of DNS"),
        (vec![stranger(Some(b""))], "closed the connection without an answer"),
        (vec![stranger(None)], "no answer in time"),
        (vec![closed.clone()], "connecting failed"),
    ] {
        let hand = otherwise(&server, |dns| dns["servers"] = serde_json::json!(servers));
        let failure = hand.driver.fence(1).await.expect_err(words);
        assert!(matches!(&failure, Failure::Unavailable(said) if said.contains(words)), "{failure:?}");
    }
    let both = [closed, format!("localhost:{}", server.port)];
    let hand = otherwise(&server, |dns| dns["servers"] = serde_json::json!(both));
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(server.addresses(NAME), ips(&["10.0.0.1"]));
}

#[tokio::test]
async fn an_entry_that_the_servers_rules_refuse_is_its_own_fault() {
    let rules =
        "update-policy { grant bcs subdomain _bcs.bcs.local ANY; grant bcs name web.shop.bcs.local A; };";
    let server = Server::bind_with(rules, "").await;
    let hand = otherwise(&server, |_| ());
    hand.fence(1).await;
    let (good, bad) =
        (hand.put(endpoint(1), None), hand.put(Endpoint { app: name("api"), ..endpoint(2) }, None));
    let answer = hand.driver.apply(&[good.clone(), bad]).await;
    assert!(matches!(&answer, Err(Failure::Rejected(words)) if words.contains("REFUSED")), "{answer:?}");
    hand.done(&[good]).await;
    assert_eq!(server.addresses(NAME), ips(&["10.0.0.1"]));
}

#[tokio::test]
async fn one_address_more_than_the_server_takes_for_a_name_is_its_own_fault() {
    let server = Server::bind_with("allow-update { key bcs; };", "max-records-per-type 5;").await;
    let hand = otherwise(&server, |_| ());
    hand.fence(1).await;
    let five: Vec<_> = (1..=5).map(|number| hand.put(endpoint(number), None)).collect();
    hand.done(&five).await;
    let answer = hand.driver.apply(&[hand.put(endpoint(6), None)]).await;
    assert!(
        matches!(&answer, Err(Failure::Rejected(words)) if words.contains("max-records-per-type")),
        "{answer:?}"
    );
    // It does not count where others have the same address.
    hand.done(&[hand.put(at(7, "10.0.0.1"), None)]).await;
    hand.done(&[remove(&hand.items().await[1])]).await;
    hand.done(&[hand.put(endpoint(6), None)]).await;
}

/// The program itself, with everything that it can log.
#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_never_told_and_the_status_says_what_is_wrong() {
    let (server, nats) = (bind().await, Nats::start().await);
    let file = |name: &str| server.directory.path().join(name);
    std::fs::write(file("wrong"), "d3Jvbmctc2VjcmV0\n").expect("writes");
    let mut settings = format!("cluster = \"sim-a\"\nowner = \"eu1\"\nbus.url = \"{}\"\n", nats.url);
    settings.push_str("telemetry.log = \"trace\"\n");
    for (called, secret) in [("right", "secret"), ("bad", "wrong")] {
        settings.push_str(&format!(
            "[[registries]]\napiVersion = \"bcs/v1\"\nkind = \"Registry\"\nmetadata.name = \"{called}\"\n\
             [registries.spec.driver.dns]\nservers = [\"127.0.0.1:{}\"]\nzone = \"bcs.local\"\n\
             key = {{ name = \"bcs\", secret.file = {:?} }}\n",
            server.port,
            file(secret)
        ));
    }
    std::fs::write(file("sidecar.toml"), settings).expect("writes");
    let arguments = ["--config".to_owned(), file("sidecar.toml").display().to_string()];
    let log = std::fs::File::create(file("sidecar.log")).expect("a file").into();
    nats.put(&endpoint(1)).await;
    let sidecar = start_logged(env!("CARGO_BIN_EXE_bcs-discovery-sidecar"), "the sidecar", &arguments, log);
    nats.status("right", |status| status.reachable && status.entries == 1).await;
    let bad = nats.status("bad", |status| status.reason.is_some()).await;
    assert!(bad.reason.is_some_and(|reason| reason.contains("(BADSIG)")));
    assert_eq!(server.addresses(NAME), ips(&["10.0.0.1"]));
    // Somebody else's hand is noticed within seconds.
    server.nsupdate(&format!("update delete {NAME} A"));
    nats.status("right", |status| status.drift_repaired == 1).await;
    assert_eq!(server.addresses(NAME), ips(&["10.0.0.1"]));
    nats.put(&draining(1)).await;
    nats.status("right", |status| status.entries == 0).await;
    assert_eq!(server.addresses(NAME), ips(&[]));
    drop(sidecar);
    let told = std::fs::read_to_string(file("sidecar.log")).expect("a log");
    assert!(told.contains("BADSIG"), "the log says why");
    for secret in [SECRET, "d3Jvbmctc2VjcmV0", "wrong-secret", "secret-of-the-zone"] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}
