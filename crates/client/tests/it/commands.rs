//! What a sender learns of its commands.

use std::time::Duration;

use bcs_client::Error;
use bcs_kit::{Clock, bus};
use bcs_schemas::{
    Service,
    deploy::{DeleteApp, ScaleApp},
    envelope::Mode,
    outcome::RejectionCode,
    query::Query,
};

use crate::harness::{LONG, Running, Server, accepted, fresh, rejected, shop};

fn to(replicas: u32) -> ScaleApp {
    ScaleApp { replicas, ..ScaleApp::default() }
}

#[tokio::test]
async fn an_accepted_command_names_its_events_and_the_revision_at_which_they_can_be_read() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let first = accepted(client.command(shop(), to(3)).actor("ada").send(LONG).await.expect("an outcome"));
    assert_eq!((first.revision, first.events.len(), first.plan), (1, 1, false));
    assert_eq!(first.events[0].type_name, "bcs.deploy.app.scaled.v1");
    let query = Query { wait_for: Some(first.revision), ..Query::default() };
    let answer = client.query::<_, Vec<u32>>("bcs.qry.deploy.app.effects", &query).await.expect("an answer");
    assert_eq!((answer.revision, answer.data), (1, vec![3]));
    let status = client.service_status(Service::Deploy).await.expect("a status").data;
    assert_eq!((status.revision, status.commands), (1, 1));
    service.stop().await;
}

#[tokio::test]
async fn a_refusal_is_an_outcome_and_changes_nothing() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let command = client.command(shop(), DeleteApp::default()).send(LONG).await;
    let refused = rejected(command.expect("an outcome"));
    assert_eq!(refused.code, RejectionCode::Precondition);
    assert_eq!(refused.message, "demo/app/shop cannot do that");
    let stale = client.command(shop(), to(1)).expected_revision(7).send(LONG).await.expect("an outcome");
    assert_eq!(rejected(stale).code, RejectionCode::RevisionMismatch);
    let past = Clock::system().now() - jiff::SignedDuration::from_secs(60);
    let late = client.command(shop(), to(1)).not_after(past).send(LONG).await.expect("an outcome");
    assert_eq!(rejected(late).code, RejectionCode::Expired);
    assert!(service.effects().is_empty());
    let right = client.command(shop(), to(1)).expected_revision(0).send(LONG).await.expect("an outcome");
    assert_eq!(accepted(right).revision, 1);
}

#[tokio::test]
async fn a_plan_says_what_would_be_written_and_writes_nothing() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    accepted(client.command(shop(), to(1)).send(LONG).await.expect("an outcome"));
    let plan = client.command(shop(), to(9)).mode(Mode::Plan).send(LONG).await.expect("an outcome");
    let plan = accepted(plan);
    assert!(plan.plan);
    assert_eq!(plan.events[0].payload.as_ref().map(|p| p["replicas"].clone()), Some(9.into()));
    assert_eq!(service.effects(), [1]);
    let other = client.command(shop(), to(8)).mode(Mode::Plan).send(LONG).await.expect("an outcome");
    let apply = client.command(shop(), to(9)).expected_revision(plan.revision).send(LONG).await;
    let applied = accepted(apply.expect("an outcome"));
    assert_eq!(applied.revision, 2);
    assert!(
        plan.digest.is_some() && applied.digest == plan.digest,
        "{applied:?} is what was planned: {plan:?}"
    );
    assert_ne!(accepted(other).digest, plan.digest);
}

#[tokio::test]
async fn the_same_id_twice_has_one_effect_and_one_outcome() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let id = client.fresh_id();
    let first = client.command(shop(), to(4)).id(id).send(LONG).await.expect("an outcome");
    let again = client.command(shop(), to(4)).id(id).send(LONG).await.expect("an outcome");
    assert_eq!(first, again);
    assert_eq!(service.effects(), [4]);
    assert_eq!(client.outcome(Service::Deploy, id).await.expect("an answer").data, Some(first));
}

#[tokio::test]
async fn many_commands_at_once_each_get_their_own_outcome() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let send = |n: u32| {
        let command = client.command(fresh(), to(n)).send(LONG);
        async move { (n, accepted(command.await.expect("an outcome"))) }
    };
    let outcomes = futures::future::join_all((0..300).map(send)).await;
    for (n, outcome) in outcomes {
        let seq = usize::try_from(outcome.revision).expect("fits");
        assert_eq!(service.effects()[seq - 1], n, "the event of this command, at its place");
    }
    assert_eq!(service.effects().len(), 300);
}

#[tokio::test]
async fn a_command_without_a_service_is_kept_and_decided_when_the_service_comes() {
    let server = Server::start();
    let client = server.client().await;
    client.bus().provision_within(LONG).await.expect("streams");
    let id = client.fresh_id();
    let error = client.command(shop(), to(5)).id(id).send(Duration::from_secs(3)).await;
    let error = error.expect_err("nobody is there");
    assert!(matches!(error, Error::NoOutcome { .. }) && error.timed_out(), "{error}");
    assert!(error.to_string().contains("deploy is not running"), "{error}");
    assert_eq!(error.command_id(), Some(id));
    let service = Running::start(&server).await;
    let outcome = client.command(shop(), to(5)).id(id).send(LONG).await.expect("an outcome");
    assert_eq!(accepted(outcome).revision, 1);
    assert_eq!(service.effects(), [5]);
}

#[tokio::test]
async fn a_bus_without_streams_or_without_a_server_is_named_as_such() {
    let server = Server::start();
    let client = server.client().await;
    let error = client.command(shop(), to(1)).send(LONG).await.expect_err("no stream");
    assert!(matches!(error, Error::NoStream { .. }), "{error}");
    let error = client.service_status(Service::Network).await.expect_err("no service");
    assert!(matches!(error, Error::NoService { .. }), "{error}");
    let nowhere = bus::BusConfig { url: "nats://127.0.0.1:1".to_owned(), ..server.config() };
    let error = bcs_client::Client::connect(&nowhere, "test").await.err().expect("no server");
    assert!(error.to_string().contains("is `bcs up` running"), "{error}");
}
