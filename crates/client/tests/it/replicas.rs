//! Several instances of a service on one journal: one decides, the others follow and answer.

use std::time::Duration;

use bcs_client::{Client, Position};
use bcs_kit::{Bus, bus::BusConfig, machine::Error, task::Tasks};
use bcs_schemas::{CommandId, Service, deploy::ScaleApp};
use bcs_testbus::{Mood, Servers, Wire};

use crate::{
    harness::{LONG, Running, Server, accepted, shop, until},
    outages::{once_each, send_all, take},
};

async fn scale(client: &Client, replicas: u32) -> u64 {
    let command = client.command(shop(), ScaleApp { replicas, ..ScaleApp::default() });
    accepted(command.send(LONG).await.expect("an outcome")).revision
}

async fn follows(service: &Running, revision: u64) {
    until(|| async {
        let seen = service.machine.live().seq;
        if seen == revision { Ok(()) } else { Err(format!("at {seen}, not at {revision}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_decides_and_the_others_follow_its_journal() {
    let server = Server::start();
    let first = Running::start(&server).await;
    first.machine.leading().await;
    let second = Running::start(&server).await;
    let client = server.client().await;
    let revision = scale(&client, 1).await;
    follows(&second, revision).await;
    assert!(first.machine.leads() && !second.machine.leads());
    // The one that led stops: the next takes over, and what was sent in between is decided by it.
    first.stop().await;
    let revision = scale(&client, 2).await;
    assert!(second.machine.leads());
    // One that comes back follows.
    let first = Running::start(&server).await;
    follows(&first, revision).await;
    assert!(!first.machine.leads());
    assert_eq!(second.effects(), [1, 2]);
    let status = client.service_status(Service::Deploy).await.expect("answers").data;
    assert_eq!((status.revision, status.unpublished), (revision, 0));
    first.stop().await;
    second.stop().await;
}

/// The network between the leader and the bus swallows everything; the way to the journal is whole. Nobody can tell the
/// old one that it leads no more, and what it decides meanwhile it decides on an old state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_that_is_cut_off_decides_is_refused_by_the_fence_and_it_steps_down() {
    let server = Server::of(Servers::One);
    // The first one to connect makes the streams.
    let client = server.client().await;
    let wire = Wire::to(server.address()).await.expect("a wire");
    let over_wire = BusConfig { url: format!("nats://{}", wire.address()), ..server.config() };
    let bus = Bus::connect(&over_wire, "deploy").await.expect("connects");
    let old = Running::over(&server, bus).await;
    old.machine.leading().await;
    let new = Running::start(&server).await;
    scale(&client, 1).await;

    wire.set(Mood::Hole);
    new.machine.leading().await;
    assert_eq!(scale(&client, 2).await, 2);
    assert!(old.machine.leads() && old.effects() == [1], "it knows nothing of all that");
    // Its own reconcilers go on, on an old state. The journal is another's by now, and from that it learns what nobody can tell it.
    let late = old.machine.submit(CommandId::derived("late", "test"), shop(), 3).await;
    assert!(matches!(late, Err(Error::Stopping | Error::Follows)), "{late:?}");
    until(|| async { if old.machine.leads() { Err("it still leads".to_owned()) } else { Ok(()) } }).await;
    follows(&old, 2).await;
    assert_eq!(old.effects(), [1, 2]);
    assert_eq!(scale(&client, 4).await, 3);

    wire.set(Mood::Open);
    follows(&old, 3).await;
    assert!(!old.machine.leads());
    assert_eq!((old.effects(), new.effects()), (vec![1, 2, 4], vec![1, 2, 4]));
    let mut events = client.events(&[Service::Deploy], Position::All).await.expect("opens");
    assert_eq!(take(&mut events, 3).await, [1, 2, 3]);
    old.stop().await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_three_instances_loses_no_command_and_repeats_none() {
    const COUNT: u32 = 600;
    let server = Server::start();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(Running::start(&server).await);
    }
    let client = server.client().await;
    let mut events = client.events(&[Service::Deploy], Position::All).await.expect("opens");
    let senders = Tasks::new();
    let sending = client.clone();
    let (done, finished) = tokio::sync::oneshot::channel();
    senders.spawn("senders", async move {
        send_all(&sending, 0..COUNT).await;
        let _ = done.send(());
    });
    for place in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        instances.swap_remove(place % instances.len()).stop().await;
        instances.push(Running::start(&server).await);
    }
    finished.await.expect("every sender got its outcomes");
    let seen = take(&mut events, COUNT as usize).await;
    assert_eq!(seen, (1..=u64::from(COUNT)).collect::<Vec<_>>(), "events in journal order, once each");
    for service in instances {
        follows(&service, u64::from(COUNT)).await;
        once_each(&service.effects(), COUNT);
        service.stop().await;
    }
}
