//! The loop on a machine small enough to see through: a register of counters. The bus is tested with the client; here
//! it is the promises of the loop itself.

mod chance;

use bcs_schemas::{
    MessageSet, Service,
    cluster::{ClusterCommand, ClusterEvent, ClusterImported, ClusterLabelled, ClusterRemoved},
    resource::{ClusterSpec, cluster::SecretRef},
};
use imbl::OrdMap;
use proptest::prelude::*;

use super::*;
use crate::{
    Clock, Tasks,
    journal::{
        Journal,
        test_database::{Database, on_both},
    },
};

on_both!(
    a_decision_is_seen_after_its_commit_and_survives_a_restart,
    a_command_id_has_one_outcome_whatever_is_repeated,
    a_panic_harms_nobody_else,
    who_was_replaced_decides_nothing_more_and_follows,
    a_reader_can_wait_for_a_revision,
    a_damaged_snapshot_costs_time_and_nothing_else,
    a_snapshot_of_another_version_of_the_state_is_not_used,
    an_event_of_a_newer_program_is_not_skipped_and_says_what_to_do,
    an_outcome_that_is_not_understood_is_not_decided_again_and_holds_up_nobody,
    a_new_leader_counts_as_published_only_what_it_knows_to_be,
);

/// Counts per object; borrowed messages, so that the journal has something real to hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
struct Counters(OrdMap<String, u64>);

#[derive(Clone, Debug)]
enum Wish {
    Add(u64),
    Remove,
    Panic,
}

fn counted(generation: u64) -> ClusterEvent {
    let spec = ClusterSpec {
        engine: Default::default(),
        kubeconfig: SecretRef { file: "/x".into() },
        context: None,
        agent: Default::default(),
    };
    ClusterImported { generation, labels: Default::default(), spec }.into()
}

impl StateMachine for Counters {
    type Command = ClusterCommand;
    type Internal = Wish;
    type Event = ClusterEvent;
    const SNAPSHOT_VERSION: u32 = 1;

    fn decide(
        &self,
        target: &Target,
        request: &Request<ClusterCommand, Wish>,
        _: &Ctx,
    ) -> Result<Vec<(Target, ClusterEvent)>, Rejection> {
        let refuse = |words: &str| Rejection::new(bcs_schemas::outcome::RejectionCode::Precondition, words);
        let now = self.0.get(target.name.as_str()).copied().unwrap_or_default();
        match request {
            Request::Internal(Wish::Add(0)) => Err(refuse("nothing to add")),
            // Two events of one command: the second must see the first.
            Request::Internal(Wish::Add(n)) => Ok(vec![
                (target.clone(), counted(now + n)),
                (target.clone(), ClusterLabelled { labels: Default::default() }.into()),
            ]),
            Request::Internal(Wish::Remove) if now == 0 => Ok(Vec::new()),
            Request::Internal(Wish::Remove) => Ok(vec![(target.clone(), ClusterRemoved {}.into())]),
            Request::Internal(Wish::Panic) => panic!("on purpose"),
            Request::Command(_) => Err(refuse("not here")),
        }
    }

    fn evolve(&mut self, fact: &Fact<'_, ClusterEvent>) {
        let name = fact.target.name.to_string();
        match fact.event {
            ClusterEvent::ClusterImported(event) => drop(self.0.insert(name, event.generation)),
            ClusterEvent::ClusterRemoved(_) => drop(self.0.remove(&name)),
            _ => (),
        }
    }
}

struct Bench {
    database: Database,
    tasks: Tasks,
    machine: Machine<Counters>,
}

async fn start(database: Database) -> Bench {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let machine = decides(database.url(), &clock, &tasks).await;
    Bench { database, tasks, machine }
}

/// A machine that decides without a bus: what the lease would rule out can be tried.
async fn decides(url: &str, clock: &Clock, tasks: &Tasks) -> Machine<Counters> {
    let machine = Machine::start(url, clock, tasks).await.expect("starts");
    machine.decide(None, clock, tasks).await.expect("decides");
    machine
}

impl Bench {
    async fn ask(&self, id: &str, name: &str, wish: Wish) -> Result<Outcome, Error> {
        self.machine.submit(CommandId::derived(id, "test"), object(name), wish).await
    }

    async fn restart(self) -> Self {
        self.tasks.stop(Duration::from_secs(5)).await;
        start(self.database).await
    }

    fn count(&self, name: &str) -> u64 {
        self.machine.live().state.0.get(name).copied().unwrap_or_default()
    }
}

fn object(name: &str) -> Target {
    target(&Name::system(), "cluster", &Name::new(name).expect("a label"))
}

fn accepted(outcome: Result<Outcome, Error>) -> bcs_schemas::outcome::Accepted {
    match outcome {
        Ok(Outcome::Accepted(accepted)) => accepted,
        other => panic!("{other:?}"),
    }
}

async fn a_decision_is_seen_after_its_commit_and_survives_a_restart(database: Database) {
    let bench = start(database).await;
    let first = accepted(bench.ask("1", "a", Wish::Add(2)).await);
    assert_eq!((first.revision, first.events.len()), (2, 2));
    assert_eq!(bench.count("a"), 2);
    assert_eq!(bench.machine.live().revision(&object("a")), 2);
    let bench = bench.restart().await;
    assert_eq!((bench.count("a"), bench.machine.live().seq), (2, 2));
}

async fn a_command_id_has_one_outcome_whatever_is_repeated(database: Database) {
    let bench = start(database).await;
    let first = accepted(bench.ask("1", "a", Wish::Add(2)).await);
    assert_eq!(accepted(bench.ask("1", "a", Wish::Add(2)).await), first);
    let bench = bench.restart().await;
    assert_eq!(accepted(bench.ask("1", "a", Wish::Add(7)).await), first);
    assert_eq!(bench.count("a"), 2);
    assert!(matches!(bench.ask("2", "a", Wish::Add(0)).await, Ok(Outcome::Rejected(_))));
    assert!(
        matches!(bench.ask("2", "a", Wish::Add(1)).await, Ok(Outcome::Rejected(_))),
        "a rejection is an outcome too"
    );
}

async fn a_panic_harms_nobody_else(database: Database) {
    let bench = start(database).await;
    let (bad, good) = tokio::join!(bench.ask("1", "a", Wish::Panic), bench.ask("2", "b", Wish::Add(1)));
    assert!(matches!(bad, Err(Error::Panicked(words)) if words == "on purpose"));
    accepted(good);
    assert_eq!(bench.count("b"), 1);
}

/// Nobody tells it. It must neither decide nor refuse on what it believes.
async fn who_was_replaced_decides_nothing_more_and_follows(database: Database) {
    const SOON: Duration = Duration::from_secs(20);
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let old: Machine<Counters> = Machine::start(database.url(), &clock, &tasks).await.expect("starts");
    let term = tasks.child();
    old.decide(None, &clock, &term).await.expect("decides");
    let id = |number: u64| CommandId::derived(&number.to_string(), "test");
    accepted(old.submit(id(1), object("a"), Wish::Add(1)).await);
    let new = decides(database.url(), &clock, &tasks).await;
    accepted(new.submit(id(2), object("a"), Wish::Add(2)).await);
    for wish in [Wish::Add(0), Wish::Add(1)] {
        let late = old.submit(id(3), object("a"), wish).await;
        assert!(matches!(late, Err(Error::Stopping | Error::Follows)), "{late:?}");
    }
    tokio::time::timeout(SOON, term.stopping().cancelled()).await.expect("it steps down");
    assert!(term.stop(SOON).await && !old.leads());
    accepted(new.submit(id(3), object("a"), Wish::Add(4)).await);
    assert_eq!(old.live_at(6, SOON).await.state.0.get("a"), Some(&7));
    tasks.stop(SOON).await;
}

async fn a_reader_can_wait_for_a_revision(database: Database) {
    let bench = start(database).await;
    let reader = bench.machine.clone();
    let (seen, ()) = tokio::join!(reader.live_at(2, Duration::from_secs(5)), async {
        accepted(bench.ask("1", "a", Wish::Add(1)).await);
    });
    assert_eq!(seen.seq, 2);
    assert_eq!(
        reader.live_at(99, Duration::from_millis(10)).await.seq,
        2,
        "gives up and answers with what is"
    );
}

async fn a_damaged_snapshot_costs_time_and_nothing_else(database: Database) {
    let bench = start(database).await;
    accepted(bench.ask("1", "a", Wish::Add(5)).await);
    let journal = journal(&bench).await;
    bench.tasks.stop(Duration::from_secs(5)).await;
    let broken = crate::journal::Snapshot { seq: 2, payload: vec![0xc1; 40] };
    journal.keep_snapshot(Counters::SNAPSHOT_VERSION, &broken).await.expect("keeps");
    let bench = start(bench.database).await;
    assert_eq!(bench.count("a"), 5);
}

async fn a_snapshot_of_another_version_of_the_state_is_not_used(database: Database) {
    let bench = start(database).await;
    accepted(bench.ask("1", "a", Wish::Add(5)).await);
    bench.tasks.stop(Duration::from_secs(5)).await;
    let journal = journal(&bench).await;
    let version = Counters::SNAPSHOT_VERSION;
    let mut snapshot = journal.snapshot(version).await.expect("reads").expect("a clean stop leaves one");
    // Would be read without complaint, and says something else.
    let mut other: Live<Counters> = bcs_schemas::codec::decode(&snapshot.payload).expect("is read");
    other.state.0.insert("a".to_owned(), 7);
    snapshot.payload = bcs_schemas::codec::encode(&other).expect("is written").to_vec();
    for (version, count) in [(version + 1, 5), (version, 7)] {
        journal.keep_snapshot(version, &snapshot).await.expect("keeps");
        let clock = Clock::system();
        let tasks = Tasks::new();
        let machine: Machine<Counters> =
            Machine::start(bench.database.url(), &clock, &tasks).await.expect("starts");
        assert_eq!(machine.live().state.0.get("a"), Some(&count), "version {version}");
        tasks.stop(Duration::from_secs(5)).await;
    }
}

async fn an_event_of_a_newer_program_is_not_skipped_and_says_what_to_do(database: Database) {
    let bench = start(database).await;
    accepted(bench.ask("1", "a", Wish::Add(5)).await);
    let (journal, url) = (journal(&bench).await, bench.database.url());
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let follower: Machine<Counters> = Machine::start(url, &clock, &tasks).await.expect("starts");
    let known = journal.read(1, 1).await.expect("reads").remove(0);
    let newer = |seq: u64, type_name: &str| {
        let (id, type_name) =
            (bcs_schemas::EventId::derived(&seq.to_string(), "newer"), type_name.to_owned());
        journal::Row { seq, id, type_name, ..known.clone() }
    };
    let rows = [newer(3, "bcs.cluster.cluster.labelled.v9"), newer(4, &known.type_name)];
    let term = journal.take_over().await.expect("takes it over");
    journal.append(term, &rows, &[]).await.expect("appends");

    // Who follows stays at what it understands, whatever comes behind.
    let trouble = follower.runner.lock().await.reload().await.expect_err("cannot follow");
    assert!(matches!(trouble, Error::Unknown { seq: 3, .. }) && trouble.is_transient(), "{trouble:?}");
    assert_eq!(follower.live().seq, 2);
    let refused = follower.past(&object("a"), Moment::Revision(4)).await.expect_err("is no guess");
    assert!(matches!(refused, Error::Unknown { seq: 3, .. }), "{refused:?}");
    tasks.stop(Duration::from_secs(5)).await;
    bench.tasks.stop(Duration::from_secs(5)).await;

    // Who starts does not start, and the journal stays as it is.
    journal
        .keep_snapshot(99, &journal::Snapshot { seq: 0, payload: Vec::new() })
        .await
        .expect("forgets ours");
    let started = Machine::<Counters>::start(url, &clock, &Tasks::new()).await;
    let words = started.err().expect("is refused").to_string();
    for part in ["journal event 3", "bcs.cluster.cluster.labelled.v9", "newer program", "run that one"] {
        assert!(words.contains(part), "{part:?} is missing in {words}");
    }
    assert_eq!(journal.last_seq().await.expect("reads"), 4);
}

async fn an_outcome_that_is_not_understood_is_not_decided_again_and_holds_up_nobody(database: Database) {
    let strange = journal::OutcomeRow {
        command: CommandId::derived("1", "test"),
        at: Clock::system().now(),
        payload: bytes::Bytes::from_static(b"\x81\xa7outcome\xa8deferred"),
    };
    let journal = Journal::open(database.url(), Service::Cluster).await.expect("opens");
    let term = journal.take_over().await.expect("takes it over");
    journal.append(term, &[], &[strange]).await.expect("appends");
    let bench = start(database).await;
    let (again, other) = tokio::join!(bench.ask("1", "a", Wish::Add(5)), bench.ask("2", "b", Wish::Add(1)));
    assert!(matches!(&again, Err(Error::Unwritten(words)) if words.contains("not understood")), "{again:?}");
    accepted(other);
    assert_eq!((bench.count("a"), bench.count("b")), (0, 1));
}

async fn journal(bench: &Bench) -> Journal {
    Journal::open(bench.database.url(), Service::Cluster).await.expect("opens")
}

async fn a_new_leader_counts_as_published_only_what_it_knows_to_be(database: Database) {
    let bench = start(database).await;
    accepted(bench.ask("1", "a", Wish::Add(1)).await);
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let machine = Machine::<Counters>::start(bench.database.url(), &clock, &tasks).await.expect("starts");
    let held = machine.runner.lock().await;
    // Whoever follows waits for the lock by then, and whoever is to lead comes behind it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(held);
    };
    let (led, ()) = tokio::join!(machine.decide(None, &clock, &tasks), release);
    led.expect("decides");
    let published = machine.stats().published.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(published, 0, "there is no bus");
}

#[test]
fn the_small_machine_speaks_for_a_real_service() {
    assert_eq!(<Counters as StateMachine>::Event::SERVICE, Service::Cluster);
}

fn wishes() -> impl Strategy<Value = Vec<(u8, u8, Option<u64>)>> {
    // Few ids and few names, so that repeats and collisions are common; `None` removes.
    proptest::collection::vec((0u8..12, 0u8..3, proptest::option::of(0u64..4)), 1..40)
}

/// Asks for everything in turn, with a restart before the wish number `restart_at`, and folds the journal after each.
async fn fold_after_each(database: Database, wishes: Vec<(u8, u8, Option<u64>)>, restart_at: usize) {
    let mut bench = start(database).await;
    for (at, (id, name, wish)) in wishes.into_iter().enumerate() {
        if at == restart_at {
            bench = bench.restart().await;
        }
        let wish = wish.map_or(Wish::Remove, Wish::Add);
        bench.ask(&id.to_string(), &format!("n{name}"), wish).await.expect("an outcome");
        let live = bench.machine.live();
        let folded = bench.machine.replay(live.seq).await.expect("replays");
        assert_eq!(folded.state, live.state);
        assert_eq!(folded.revisions, live.revisions);
        assert_eq!(folded.seq, live.seq);
    }
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_live_state_is_the_fold_of_the_journal(wishes in wishes(), restart_at in 0usize..40) {
        block_on(async { fold_after_each(Database::sqlite().await, wishes, restart_at).await });
    }

    #[test]
    fn the_live_state_is_the_fold_of_a_journal_on_postgres(wishes in wishes(), restart_at in 0usize..40) {
        block_on(async { fold_after_each(Database::postgres().await, wishes, restart_at).await });
    }
}
