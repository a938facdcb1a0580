//! Who keeps a part of a bucket hears when somebody else writes there, and never mistakes its own words for another's.

use std::time::Duration;

use bcs_kit::{
    Clock,
    kv::{Contradictions, Kept, Store},
};
use bcs_schemas::{
    Name,
    bucket::{ENDPOINTS, Keyed},
    observation::{Endpoint, EndpointPhase},
};
use bcs_testbus::Servers;
use futures::{FutureExt, StreamExt, future::join_all};

use crate::server::Server;

bcs_testbus::on_one_and_three!(
    its_own_words_are_nobody_elses_however_many_there_are,
    what_somebody_else_writes_or_removes_is_told_once,
    after_the_bus_was_away_the_part_is_to_be_read_again,
    what_was_read_once_is_not_waited_for_when_it_is_gone,
);

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn endpoint(instance: &str, phase: EndpointPhase) -> Endpoint {
    let now = Clock::system().now();
    Endpoint {
        cluster: name("sim-a"),
        project: name("shop"),
        app: name("web"),
        revision: name("web-r1"),
        instance: instance.to_owned(),
        uid: "uid".to_owned(),
        node: None,
        zone: None,
        addresses: Vec::new(),
        ports: Vec::new(),
        weight: 100,
        labels: Default::default(),
        register: None,
        registered: None,
        phase,
        stopping: false,
        reason: None,
        since: now,
        generation: 1,
        observed_at: now,
    }
}

async fn keep(server: &Server) -> (Store<Endpoint>, Kept<Endpoint>, Contradictions) {
    let others = server.bus("others").await.bucket(ENDPOINTS).await.expect("a bucket");
    let kept = server.bus("keeper").await.bucket(ENDPOINTS).await.expect("a bucket").kept("sim-a.>", "");
    let contradictions = kept.listen().await.expect("listens");
    (others, kept, contradictions)
}

async fn told(contradictions: &mut Contradictions) {
    tokio::time::timeout(LONG, contradictions.next()).await.expect("is told").expect("goes on");
}

/// What was written before this, through another connection, was heard: the bucket numbers and delivers in order.
async fn nothing_but_the_last_word_is_told(others: &Store<Endpoint>, contradictions: &mut Contradictions) {
    others.put(&endpoint("last", EndpointPhase::Gone)).await.expect("writes");
    told(contradictions).await;
    assert!(contradictions.next().now_or_never().is_none(), "one of our own words was told too");
}

async fn its_own_words_are_nobody_elses_however_many_there_are(servers: Servers) {
    let server = Server::of(servers).await;
    let (others, kept, mut contradictions) = keep(&server).await;
    let writes = (0..50).map(|number| {
        let kept = &kept;
        async move {
            let instance = format!("web-{number}");
            for phase in [EndpointPhase::Starting, EndpointPhase::Ready, EndpointPhase::Draining] {
                let endpoint = endpoint(&instance, phase);
                kept.put(&endpoint).await.expect("writes");
                if number % 2 == 0 {
                    kept.delete(&endpoint.key()).await.expect("deletes");
                }
            }
        }
    });
    tokio::select! {
        biased;
        _ = contradictions.next() => panic!("one of our own words was told"),
        _ = join_all(writes) => (),
    }
    assert_eq!(kept.list().await.expect("lists").len(), 25);
    // Other parts of the bucket are none of its business.
    let elsewhere = Endpoint { cluster: name("sim-b"), ..endpoint("web-1", EndpointPhase::Ready) };
    others.put(&elsewhere).await.expect("writes");
    nothing_but_the_last_word_is_told(&others, &mut contradictions).await;
}

async fn what_somebody_else_writes_or_removes_is_told_once(servers: Servers) {
    let server = Server::of(servers).await;
    let (others, kept, mut contradictions) = keep(&server).await;
    let ours = endpoint("web-1", EndpointPhase::Ready);
    kept.put(&ours).await.expect("writes");
    others.put(&endpoint("web-1", EndpointPhase::Unknown)).await.expect("writes");
    told(&mut contradictions).await;
    // Said again, it stands.
    kept.put(&ours).await.expect("writes");
    assert_eq!(kept.list().await.expect("lists")[&ours.key()].phase, EndpointPhase::Ready);
    assert!(contradictions.next().now_or_never().is_none());
    others.delete(&ours.key()).await.expect("deletes");
    told(&mut contradictions).await;
    nothing_but_the_last_word_is_told(&others, &mut contradictions).await;
}

async fn after_the_bus_was_away_the_part_is_to_be_read_again(servers: Servers) {
    let mut server = Server::of(servers).await;
    let (others, kept, mut contradictions) = keep(&server).await;
    kept.put(&endpoint("web-1", EndpointPhase::Ready)).await.expect("writes");
    assert!(contradictions.next().now_or_never().is_none());
    server.begin_anew().await;
    told(&mut contradictions).await;
    // And it listens again.
    let wrote = async {
        while others.put(&endpoint("web-1", EndpointPhase::Unknown)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, wrote).await.expect("the bus is there again");
    told(&mut contradictions).await;
}

async fn what_was_read_once_is_not_waited_for_when_it_is_gone(servers: Servers) {
    let server = Server::of(servers).await;
    let (others, kept, mut contradictions) = keep(&server).await;
    others.put(&endpoint("web-1", EndpointPhase::Unknown)).await.expect("writes");
    told(&mut contradictions).await;
    assert_eq!(kept.list().await.expect("lists").len(), 1);
    // As when the mark of its deletion has ended as well.
    let bus = server.bus("purger").await;
    let stream = bus.jetstream().get_stream("KV_endpoints").await.expect("is there");
    stream.purge().await.expect("purges");
    let listed = tokio::time::timeout(LONG, async {
        while !kept.list().await.expect("lists").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    listed.await.expect("nothing is waited for");
}
