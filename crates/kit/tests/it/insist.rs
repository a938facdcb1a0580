//! Questions whose answers get lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bcs_kit::{Bus, Tasks, bus};
use bcs_schemas::{codec, envelope::header};
use bcs_testbus::Servers;
use futures::StreamExt;

use crate::server::Server;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// So long that it is asked again meanwhile.
const SLOW: Duration = Duration::from_millis(2_500);

/// Returns when the server knows what was sent before: it answers in order.
async fn known(bus: &Bus) {
    bus.jetstream().query_account().await.expect("an answer");
}

#[tokio::test]
async fn a_question_that_got_no_answer_is_asked_again_with_its_id() {
    let server = Server::of(Servers::asked()).await;
    let (asking, hearing) = (server.bus("asking").await, server.bus("hearing").await);
    let mut questions = hearing.client().subscribe("test.lost").await.expect("subscribes");
    known(&hearing).await;
    let answering = async {
        let lost = questions.next().await.expect("is asked");
        let again = questions.next().await.expect("is asked again");
        let reply = again.reply.clone().expect("wants an answer");
        let payload = codec::encode(&"here").expect("encodes");
        hearing.client().publish(reply, payload).await.expect("answers");
        (lost, again)
    };
    let asked = asking.insist::<_, String>("test.lost".to_owned(), &"where?", LONG);
    let (answer, (lost, again)) = tokio::join!(asked, answering);
    assert_eq!(answer.expect("an answer"), "here");
    let id = |message: &async_nats::Message| {
        let headers = message.headers.as_ref().expect("headers");
        headers.get(header::REQUEST_ID).expect("an id").to_string()
    };
    assert_eq!(id(&lost), id(&again));
    assert_eq!(lost.payload, again.payload);
}

#[tokio::test]
async fn while_nobody_is_there_who_may_have_begun_somebody_is_waited_for() {
    let server = Server::of(Servers::asked()).await;
    let (asking, hearing) = (server.bus("asking").await, server.bus("hearing").await);
    let never = asking.insist::<_, String>("test.nobody".to_owned(), &"where?", LONG).await;
    assert!(matches!(never, Err(bus::Error::NoResponder(_))), "nobody can have begun: {never:?}");

    let mut first = hearing.client().subscribe("test.gone").await.expect("subscribes");
    known(&hearing).await;
    let answering = async {
        first.next().await.expect("is asked");
        // It is asked in vain meanwhile.
        first.unsubscribe().await.expect("leaves");
        tokio::time::sleep(SLOW).await;
        let mut second = hearing.client().subscribe("test.gone").await.expect("subscribes");
        let reply = second.next().await.expect("is asked").reply.expect("wants an answer");
        let payload = codec::encode(&"here").expect("encodes");
        hearing.client().publish(reply, payload).await.expect("answers");
    };
    let asked = asking.insist::<_, String>("test.gone".to_owned(), &"where?", LONG);
    assert_eq!(tokio::join!(asked, answering).0.expect("an answer"), "here");
}

#[tokio::test]
async fn a_question_that_is_asked_again_is_worked_on_once() {
    let server = Server::of(Servers::asked()).await;
    let (asking, serving) = (server.bus("asking").await, server.bus("serving").await);
    let (tasks, begun) = (Tasks::new(), Arc::new(AtomicUsize::default()));
    let counting = begun.clone();
    let handler = move |_: Result<String, _>| {
        let times = counting.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            tokio::time::sleep(SLOW).await;
            times
        }
    };
    serving.serve(&tasks, "test", "test.slow".to_owned(), handler).await.expect("serves");
    for times in 1..=2 {
        let answer: usize = loop {
            match asking.insist("test.slow".to_owned(), &"how often?", LONG).await {
                // The server does not know yet who answers.
                Err(bus::Error::NoResponder(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                answered => break answered.expect("an answer"),
            }
        };
        assert_eq!(answer, times, "each question once");
    }
    assert_eq!(begun.load(Ordering::Relaxed), 2);
    assert!(tasks.stop(LONG).await, "everything has ended");
}
