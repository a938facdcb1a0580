//! Messages that harm whoever reads them, and what a reader that ended had in hand.

use std::io::{Read, Write};

use async_nats::jetstream::consumer::PullConsumer;
use bcs_client::Raw;
use bcs_kit::{journal::Journal, quarantine};
use bcs_schemas::{CommandId, Service, deploy::ScaleApp, envelope::header, query::ServiceStatus, stream};
use futures::StreamExt;

use crate::harness::{LONG, Running, Server, accepted, shop, until};

const SCALE: &str = "bcs.cmd.deploy.local.demo.app.shop.scale";
const STATUS: &str = "bcs.qry.deploy.service.status";

/// Publishes as a client does that checks nothing: `head` goes over the wire as it is.
fn publish_raw(server: &Server, subject: &str, head: &str, payload: &str) {
    let mut socket = std::net::TcpStream::connect(server.address()).expect("connects");
    let block = format!("NATS/1.0\r\n{head}\r\n\r\n");
    let (head_size, size) = (block.len(), block.len() + payload.len());
    let connect = "CONNECT {\"verbose\":false,\"headers\":true}\r\n";
    let text = format!("{connect}HPUB {subject} {head_size} {size}\r\n{block}{payload}\r\nPING\r\n");
    socket.write_all(text.as_bytes()).expect("writes");
    let mut answer = String::new();
    while !answer.contains("PONG") {
        let mut some = [0; 4096];
        let read = socket.read(&mut some).expect("reads");
        assert!(read > 0, "the server hung up: {answer}");
        answer.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    assert!(!answer.contains("-ERR"), "{answer}");
}

async fn letters(service: &Running, count: usize) -> Vec<bcs_schemas::quarantine::Quarantined> {
    until(|| async {
        let letters = quarantine::list(&service.bus).await.map_err(|e| e.to_string())?;
        if letters.len() == count { Ok(()) } else { Err(format!("{letters:?}")) }
    })
    .await;
    let letters = quarantine::list(&service.bus).await.expect("a list");
    letters.into_iter().map(|(_, letter)| letter).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_lines_that_the_client_cannot_read_harm_no_other_command() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let bad = ["two words: x", "no colon", "bcs-actor: a\rb"];
    for (number, line) in (1..).zip(bad) {
        publish_raw(&server, SCALE, line, r#"{"replicas": 666}"#);
        let command = client.command(shop(), ScaleApp { replicas: number, ..ScaleApp::default() });
        accepted(command.send(LONG).await.expect("an outcome"));
    }
    assert_eq!(service.effects(), [1, 2, 3], "none of the bad ones had an effect");
    for (letter, line) in letters(&service, bad.len()).await.iter().zip(bad) {
        assert_eq!((letter.code.as_str(), letter.subject.as_str()), ("unreadable", SCALE));
        assert!(letter.reason.contains(&format!("{line:?}")), "{letter:?}");
    }
    // Nor do they come again when the service does.
    service.stop().await;
    let service = Running::start(&server).await;
    let command = client.command(shop(), ScaleApp { replicas: 4, ..ScaleApp::default() });
    accepted(command.send(LONG).await.expect("an outcome"));
    assert_eq!(letters(&service, bad.len()).await.len(), bad.len());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_lines_that_the_client_cannot_read_harm_no_other_question() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    for line in ["two words: x", "a: b\rc"] {
        publish_raw(&server, STATUS, line, "{}");
        until(|| async {
            let status = client.service_status(Service::Deploy).await;
            let ServiceStatus { service, .. } = status.map_err(|e| e.to_string())?.data;
            if service == "deploy" { Ok(()) } else { Err(service) }
        })
        .await;
    }
    service.stop().await;
}

/// A service was here, and made its consumer.
async fn has_led(server: &Server) {
    let service = Running::start(server).await;
    service.machine.leading().await;
    service.stop().await;
}

/// What a reader that was killed leaves behind: delivered, never settled.
async fn in_hand(server: &Server, count: usize) {
    let bus = server.bus("killed").await;
    let stream = bus.jetstream().get_stream(Service::Deploy.command_stream()).await.expect("a stream");
    let name = stream::command_consumer(Service::Deploy);
    let consumer: PullConsumer = stream.get_consumer(&name).await.expect("a consumer");
    let messages = consumer.fetch().max_messages(count).messages().await.expect("fetches");
    assert_eq!(messages.count().await, count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_service_had_in_hand_comes_before_what_is_newer() {
    let server = Server::start();
    has_led(&server).await;
    let client = server.client().await;
    for replicas in 1..=6 {
        let payload = format!(r#"{{"replicas": {replicas}}}"#).into_bytes().into();
        let raw = Raw { subject: SCALE.to_owned(), payload, ..Raw::default() };
        client.publish_raw(raw, None).await.expect("is kept");
    }
    in_hand(&server, 3).await;
    let service = Running::start(&server).await;
    until(|| async {
        let effects = service.effects();
        if effects.len() == 6 { Ok(()) } else { Err(format!("{effects:?}")) }
    })
    .await;
    assert_eq!(service.effects(), [1, 2, 3, 4, 5, 6]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_in_hand_whenever_the_service_ended_is_put_away() {
    let server = Server::start();
    has_led(&server).await;
    let client = server.client().await;
    let id = CommandId::derived("a test", "poison");
    let head = format!("{}: {id}", header::MESSAGE_ID);
    publish_raw(&server, SCALE, &head, r#"{"replicas": 666}"#);
    in_hand(&server, 1).await;
    let journal = Journal::open(&server.journal(), Service::Deploy).await.expect("opens");
    // The five starts before this one.
    for _ in 0..5 {
        journal.attempt(id).await.expect("counts");
    }
    journal.close().await;
    let service = Running::start(&server).await;
    let command = client.command(shop(), ScaleApp { replicas: 1, ..ScaleApp::default() });
    accepted(command.send(LONG).await.expect("an outcome"));
    assert_eq!(service.effects(), [1]);
    assert_eq!(letters(&service, 1).await[0].code, "exhausted");
    service.stop().await;
}
