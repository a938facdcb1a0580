//! What is read of a bucket, whichever replica answers.

use std::time::Duration;

use bcs_kit::Tasks;
use bcs_schemas::bucket::LEASES;
use bcs_testbus::Servers;
use futures::{StreamExt, future::join_all};

use crate::server::Server;

const LONG: Duration = Duration::from_secs(60);

bcs_testbus::on_one_and_three!(
    whoever_asks_the_leader_reads_what_was_just_written,
    of_many_who_make_a_key_at_once_one_does,
    a_view_whose_watch_is_silent_knows_everything_when_it_has_read_again,
);

/// Any replica may answer a glance: on three servers some of these are old, and one that is says an older revision, never a
/// wrong one.
async fn whoever_asks_the_leader_reads_what_was_just_written(servers: Servers) {
    const WRITES: u32 = 300;
    let server = Server::of(servers).await;
    let leases = server.bus("test").await.bucket(LEASES).await.expect("a bucket");
    let mut late = 0;
    for number in 0..WRITES {
        let revision = leases.put_at("key", &number.to_string()).await.expect("writes");
        let near = leases.glance("key").await.expect("reads");
        let read = leases.get("key").await.expect("reads").expect("is there");
        assert_eq!(read, (number.to_string(), revision));
        match near {
            Some((value, seen)) if seen == revision => assert_eq!(value, number.to_string()),
            Some((value, seen)) => {
                assert!(seen < revision && value != number.to_string(), "{value} at {seen}");
                late += 1;
            }
            None => {
                assert_eq!(number, 0, "it was there before");
                late += 1;
            }
        }
    }
    eprintln!("{late} of {WRITES} glances were late on {servers:?}");
    assert!(servers == Servers::Three || late == 0, "one server has one answer");
    leases.delete("key").await.expect("deletes");
    assert_eq!(leases.get("key").await.expect("reads"), None);
}

async fn of_many_who_make_a_key_at_once_one_does(servers: Servers) {
    let server = Server::of(servers).await;
    let bus = server.bus("test").await;
    let leases = bus.bucket(LEASES).await.expect("a bucket");
    for round in 0..10 {
        let made = (0..20).map(|number| {
            let leases = leases.clone();
            async move { leases.put_new("key", &format!("{round}-{number}")).await.expect("asks") }
        });
        let made: Vec<Option<u64>> = join_all(made).await;
        let revision = made.iter().flatten().copied().collect::<Vec<_>>();
        assert_eq!(revision.len(), 1, "{made:?}");
        let (_, found) = leases.get("key").await.expect("reads").expect("is there");
        assert_eq!(found, revision[0]);
        // A key that was deleted can be made anew, by one again.
        leases.delete("key").await.expect("deletes");
    }
}

/// It takes the client many seconds to find out that nobody sends it anything any more.
async fn a_view_whose_watch_is_silent_knows_everything_when_it_has_read_again(servers: Servers) {
    let server = Server::of(servers).await;
    let (bus, tasks) = (server.bus("test").await, Tasks::new());
    let leases = bus.bucket(LEASES).await.expect("a bucket");
    let view = leases.watch(&tasks, ">");
    view.synced().await;
    for round in 0..5 {
        let stream = bus.jetstream().get_stream("KV_leases").await.expect("a stream");
        let mut names = stream.consumer_names();
        while let Some(name) = names.next().await {
            stream.delete_consumer(&name.expect("a name")).await.expect("deletes");
        }
        let key = format!("key-{round}");
        leases.put_at(&key, &"held".to_owned()).await.expect("writes");
        assert!(!view.snapshot().contains_key(&key), "the watch is silent");
        view.read_again().await;
        // Of three copies one answers that may lag behind a little; but what it tells now is not silent any more.
        let known = tokio::time::timeout(LONG, async {
            while servers == Servers::Three && !view.snapshot().contains_key(&key) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        known.await.unwrap_or_else(|_| panic!("{view:?}"));
        assert!(view.snapshot().contains_key(&key), "{view:?}");
    }
    assert!(tasks.stop(Duration::from_secs(10)).await);
}
