//! The bus or the service dies in the middle: every command has exactly one effect, and every event is seen once.

use std::{collections::BTreeSet, time::Duration};

use bcs_client::{Client, Events, Position};
use bcs_kit::task::Tasks;
use bcs_schemas::{
    Service,
    bucket::LEASES,
    codec,
    deploy::ScaleApp,
    outcome::{Rejection, RejectionCode},
};
use futures::StreamExt;
use tokio::time::Instant;

use crate::harness::{LONG, Running, Server, accepted, fresh, rejected, until};

/// Eight senders, each with its share of the numbers; every one of them gets its outcome in the end.
pub(crate) async fn send_all(client: &Client, numbers: std::ops::Range<u32>) {
    let lanes = (0..8).map(|lane| {
        let numbers: Vec<u32> = numbers.clone().filter(|n| n % 8 == lane).collect();
        async move {
            for replicas in numbers {
                let command = client.command(fresh(), ScaleApp { replicas, ..ScaleApp::default() });
                accepted(command.send(LONG).await.expect("an outcome"));
            }
        }
    });
    futures::future::join_all(lanes).await;
}

pub(crate) async fn take(events: &mut Events, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let event = tokio::time::timeout(LONG, events.next()).await;
        let event = event.unwrap_or_else(|_| panic!("only {} of {count} events came", seen.len()));
        seen.push(event.expect("an event").headers.seq);
    }
    seen
}

pub(crate) fn once_each(effects: &[u32], count: u32) {
    let distinct: BTreeSet<u32> = effects.iter().copied().collect();
    assert_eq!(effects.len(), distinct.len(), "an effect came twice");
    assert_eq!(distinct, (0..count).collect(), "an effect is missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_bus_loses_no_command_and_repeats_none() {
    const COUNT: u32 = 2_000;
    let mut server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let mut events = client.events(&[Service::Deploy], Position::All).await.expect("opens");
    let senders = Tasks::new();
    let sending = client.clone();
    let (done, finished) = tokio::sync::oneshot::channel();
    senders.spawn("senders", async move {
        send_all(&sending, 0..COUNT).await;
        let _ = done.send(());
    });
    for pause in [150, 400, 300] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.start_again();
    }
    finished.await.expect("every sender got its outcomes");
    once_each(&service.effects(), COUNT);
    let seen = take(&mut events, COUNT as usize).await;
    assert_eq!(seen, (1..=u64::from(COUNT)).collect::<Vec<_>>(), "events in journal order, once each");
    until(|| async {
        let status = client.service_status(Service::Deploy).await.map_err(|e| e.to_string())?.data;
        if status.unpublished == 0 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stops_and_starts_again_goes_on_where_it_was() {
    const COUNT: u32 = 600;
    let server = Server::start();
    let mut service = Running::start(&server).await;
    let client = server.client().await;
    let senders = Tasks::new();
    let sending = client.clone();
    let (done, mut finished) = tokio::sync::oneshot::channel();
    senders.spawn("senders", async move {
        send_all(&sending, 0..COUNT).await;
        let _ = done.send(());
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        service.stop().await;
        service = Running::start(&server).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(120), &mut finished).await;
    ended.expect("in time").expect("every sender got its outcomes");
    once_each(&service.effects(), COUNT);
    let live = service.machine.live();
    let replayed = service.machine.replay(live.seq).await.expect("replays");
    assert_eq!(replayed.state.effects, live.state.effects, "the fold of the journal is the state");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_commands_events_and_observations_flow_again_within_seconds() {
    const SOON: Duration = Duration::from_secs(8);
    /// Servers that come back together find each other and elect leaders first.
    const ELECTED: Duration = Duration::from_secs(15);
    let mut server = Server::start();
    let soon = if server.config().replicas == 1 { SOON } else { SOON + ELECTED };
    let service = Running::start(&server).await;
    let client = server.client().await;
    let mut events = client.events(&[Service::Deploy], Position::All).await.expect("opens");
    let view = client.watch(LEASES, ">").await.expect("opens");
    let leases = client.bus().bucket(LEASES).await.expect("opens");
    for round in 1..=3 {
        server.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.start_again();
        let start = Instant::now();
        let command = client.command(fresh(), ScaleApp { replicas: round, ..ScaleApp::default() });
        accepted(command.send(LONG).await.expect("an outcome"));
        assert_eq!(take(&mut events, 1).await, [u64::from(round)]);
        leases.put_at("a", &round.to_string()).await.expect("writes");
        until(|| async {
            match view.snapshot().get("a") {
                Some(seen) if **seen == round.to_string() => Ok(()),
                other => Err(format!("round {round}: {other:?}")),
            }
        })
        .await;
        assert!(start.elapsed() < soon, "round {round} took {:?}", start.elapsed());
    }
    assert_eq!(service.effects(), [1, 2, 3]);
}

/// One that is paused or cut off still takes its share of the questions, and answers none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_comes_while_a_silent_instance_is_asked_for_it_is_heard_at_once() {
    let server = Server::start();
    let client = server.client().await;
    client.bus().provision_within(LONG).await.expect("streams");
    let bus = server.bus("silent").await;
    let mut silent = bus.client().subscribe("bcs.qry.deploy.outcome.get").await.expect("hears");
    bus.client().flush().await.expect("is heard of");

    let answering = async {
        silent.next().await.expect("is asked");
        let asked = Instant::now();
        let stream = bus.jetstream().get_stream("CMD_DEPLOY").await.expect("is there");
        let command = stream.get_raw_message(1).await.expect("is kept");
        let inbox = command.headers.get("bcs-reply-to").expect("somebody waits").to_string();
        let outcome = Rejection::new(RejectionCode::Precondition, "not now").outcome(None);
        let payload = codec::encode(&outcome).expect("encodes");
        bus.client().publish(inbox, payload).await.expect("answers");
        asked
    };
    let command = client.command(fresh(), ScaleApp::default());
    let (outcome, asked) = tokio::join!(command.send(LONG), answering);
    rejected(outcome.expect("an outcome"));
    // Who waits for the silent one waits for 2 s.
    assert!(asked.elapsed() < Duration::from_millis(1_500), "it came {:?} later", asked.elapsed());
}
