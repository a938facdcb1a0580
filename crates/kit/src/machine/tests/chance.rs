//! The loop under whatever chance brings: commands that come twice and out of order, appends that fail at any place or are
//! told to have failed though they did not, another writer at any moment, restarts in between, and a bus whose
//! acknowledgements are lost. Afterwards every command has one outcome, which each of its deliveries was answered with, the
//! events are those that the outcomes name, nobody saw what is not in the journal, and the bus has it all in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bcs_schemas::{codec, envelope::EventHeaders};
use bcs_testbus::{Servers, TestBus};
use futures::{StreamExt, future::join_all};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    Bus, bus,
    journal::{Journal, Row, test_database::cases},
};

/// How long what must happen by itself may take.
const SOON: Duration = Duration::from_secs(30);

/// One process, or two that both believe to lead.
#[derive(Clone, Debug)]
struct Scenario {
    /// Object, and what to add; nothing is a removal. The place in the list makes the id.
    commands: Vec<(u8, Option<u64>)>,
    deliveries: Vec<Delivery>,
    /// For each life of each writer, the places at which its appends fail.
    appends: Vec<Vec<u32>>,
    /// The same for acknowledgements of the bus.
    publishing: Vec<Vec<u32>>,
    /// When which writer is stopped and started again, in milliseconds.
    restarts: Vec<(usize, u64)>,
}

#[derive(Clone, Debug)]
struct Delivery {
    command: usize,
    writer: usize,
    /// When it comes, in milliseconds.
    at: u64,
}

const COMMANDS: usize = 12;
const LASTS: u64 = 40;

fn scenarios(writers: usize) -> impl Strategy<Value = Scenario> {
    let commands = proptest::collection::vec((0u8..3, proptest::option::weighted(0.8, 0u64..4)), COMMANDS);
    let delivery = (0..COMMANDS, 0..writers, 0..LASTS).prop_map(|(command, writer, at)| Delivery {
        command,
        writer,
        at,
    });
    let places = || proptest::collection::vec(proptest::collection::vec(0u32..12, 0..4), 0..4);
    let deliveries = proptest::collection::vec(delivery, 1..40);
    let restarts = proptest::collection::vec((0..writers, 0..LASTS), 0..3);
    (commands, deliveries, places(), places(), restarts).prop_map(
        |(commands, deliveries, appends, publishing, restarts)| Scenario {
            commands,
            deliveries,
            appends,
            publishing,
            restarts,
        },
    )
}

/// A process: what it does as long as it runs, and as long as it believes to lead.
#[derive(Clone)]
struct Life {
    tasks: Tasks,
    term: Tasks,
    machine: Machine<Counters>,
}

impl Life {
    /// It leads no more, and follows.
    async fn steps_down(&self) {
        assert!(self.term.stop(SOON).await, "a writer goes on");
    }

    async fn ends(&self) {
        self.steps_down().await;
        assert!(self.tasks.stop(SOON).await, "a process does not end");
    }
}

/// A writer, through all its lives.
struct Writer {
    life: Mutex<Life>,
    /// One restart at a time.
    restarting: tokio::sync::Mutex<()>,
}

impl Writer {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn machine(&self) -> Machine<Counters> {
        self.life().machine.clone()
    }
}

struct World<'a> {
    database: Database,
    scenario: &'a Scenario,
    bus: Option<&'a Bus>,
    /// Makes the ids of this world its own: a bus remembers those of others.
    salt: String,
    lives: Mutex<usize>,
    writers: Vec<Writer>,
}

/// What one writer let others see, in order.
type Seen = Vec<Arc<Live<Counters>>>;

impl<'a> World<'a> {
    async fn begin(database: Database, writers: usize, scenario: &'a Scenario, bus: Option<&'a Bus>) -> Self {
        let salt = Clock::system().fresh_id().to_string();
        let mut world = Self { database, scenario, bus, salt, lives: Mutex::new(0), writers: Vec::new() };
        for _ in 0..writers {
            let life = Mutex::new(world.life().await);
            world.writers.push(Writer { life, restarting: tokio::sync::Mutex::new(()) });
        }
        world
    }

    /// A process, with the trouble of its life.
    async fn life(&self) -> Life {
        let number = {
            let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
            *lives += 1;
            *lives - 1
        };
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let machine = Machine::start(self.database.url(), &clock, &tasks).await.expect("starts");
        let term = tasks.child();
        machine.decide(self.bus, &clock, &term).await.expect("decides");
        let trouble = &machine.journal.trouble;
        trouble.append.harm(self.scenario.appends.get(number).into_iter().flatten().copied());
        trouble.publish.harm(self.scenario.publishing.get(number).into_iter().flatten().copied());
        Life { tasks, term, machine }
    }

    fn id(&self, command: usize) -> CommandId {
        CommandId::derived(&command.to_string(), &self.salt)
    }

    /// Whoever sends a command repeats it until it is answered; a writer that was replaced takes the journal over for it.
    async fn deliver(&self, delivery: &Delivery) -> (usize, Outcome) {
        tokio::time::sleep(Duration::from_millis(delivery.at)).await;
        let (name, wish) = self.scenario.commands[delivery.command];
        let writer = &self.writers[delivery.writer];
        loop {
            let wish = wish.map_or(Wish::Remove, Wish::Add);
            let machine = writer.machine();
            match machine.submit(self.id(delivery.command), object(&format!("n{name}")), wish).await {
                Ok(outcome) => return (delivery.command, outcome),
                Err(Error::Stopping | Error::Follows) => self.leads_again(writer).await,
                Err(error) => panic!("{delivery:?} has no outcome: {error}"),
            }
        }
    }

    /// As the lease would have it: it steps down, and its turn comes again.
    async fn leads_again(&self, writer: &Writer) {
        let _alone = writer.restarting.lock().await;
        let life = writer.life().clone();
        if life.machine.leads() {
            return;
        }
        life.steps_down().await;
        let term = life.tasks.child();
        if let Err(error) = life.machine.decide(self.bus, &Clock::system(), &term).await {
            assert!(error.is_transient(), "it does not lead again: {error}");
        }
        *writer.life() = Life { term, ..life };
    }

    async fn restart(&self, (writer, at): (usize, u64)) {
        tokio::time::sleep(Duration::from_millis(at)).await;
        let writer = &self.writers[writer];
        let _alone = writer.restarting.lock().await;
        let before = writer.life().clone();
        before.ends().await;
        let life = self.life().await;
        *writer.life() = life;
    }

    /// Looks at what a writer shows, again and again, and that it is in the journal when it is shown.
    async fn look(&self, writer: &Writer, journal: &Journal, over: &CancellationToken) -> Seen {
        let mut seen = Seen::new();
        while !over.is_cancelled() {
            let live = writer.machine().live();
            let last = seen.last().map_or(0, |live| live.seq);
            assert!(live.seq >= last, "{} was shown after {last}", live.seq);
            if live.seq > last {
                let written = journal.last_seq().await.expect("reads");
                assert!(live.seq <= written, "{} was shown, and {written} is written", live.seq);
                seen.push(live);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        seen
    }

    async fn play(&self, journal: &Journal) -> (Vec<(usize, Outcome)>, Vec<Seen>) {
        let over = CancellationToken::new();
        let deliveries = join_all(self.scenario.deliveries.iter().map(|delivery| self.deliver(delivery)));
        let restarts = join_all(self.scenario.restarts.iter().map(|restart| self.restart(*restart)));
        let looks = join_all(self.writers.iter().map(|writer| self.look(writer, journal, &over)));
        let all = async {
            let (answers, _) = tokio::join!(deliveries, restarts);
            over.cancel();
            answers
        };
        let played = tokio::time::timeout(SOON, async { tokio::join!(all, looks) }).await;
        played.expect("every delivery is answered in time")
    }

    /// Every command has one outcome, and each delivery was answered with it; the events are those that the outcomes name.
    async fn one_outcome_each(&self, journal: &Journal, rows: &[Row], answers: &[(usize, Outcome)]) {
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, (1..=rows.len() as u64).collect::<Vec<_>>(), "positions without gaps");
        let mut of_command: BTreeMap<CommandId, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            of_command.entry(row.command).or_default().push(row);
        }
        let ids: Vec<CommandId> = (0..COMMANDS).map(|command| self.id(command)).collect();
        let stored = journal.outcomes(&ids).await.expect("reads");
        for (command, answer) in answers {
            let id = self.id(*command);
            let kept: Outcome = codec::decode(&stored[&id]).expect("is an outcome");
            assert_eq!(&kept, answer, "command {command} was answered otherwise");
            let named: Vec<_> = match answer {
                Outcome::Accepted(accepted) => accepted.events.iter().map(|e| (e.seq, e.id)).collect(),
                Outcome::Rejected(_) => Vec::new(),
            };
            let written = of_command.get(&id).into_iter().flatten().map(|row| (row.seq, row.id));
            assert_eq!(written.collect::<Vec<_>>(), named, "events of command {command}");
        }
        let delivered: BTreeSet<CommandId> = answers.iter().map(|(command, _)| self.id(*command)).collect();
        assert_eq!(
            stored.keys().copied().collect::<BTreeSet<_>>(),
            delivered,
            "outcomes of what was delivered"
        );
        assert!(of_command.keys().all(|id| delivered.contains(id)), "events of no command");
    }

    /// Every decision was made on the state that the events before it give.
    fn nothing_contradicts(&self, rows: &[Row]) {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let commands: BTreeMap<CommandId, usize> =
            (0..COMMANDS).map(|place| (self.id(place), place)).collect();
        for row in rows {
            let (_, wish) = self.scenario.commands[commands[&row.command]];
            let count = counts.entry(&row.target).or_default();
            match (row.type_name.as_str(), wish) {
                ("bcs.cluster.cluster.imported.v1", Some(more)) => {
                    let event: ClusterImported = codec::decode(&row.payload).expect("is an event");
                    *count += more;
                    assert_eq!(event.generation, *count, "at position {}", row.seq);
                }
                ("bcs.cluster.cluster.removed.v1", None) => {
                    assert!(*count > 0, "position {} removes what is not there", row.seq);
                    *count = 0;
                }
                ("bcs.cluster.cluster.labelled.v1", Some(_)) => (),
                other => panic!("{other:?} at position {}", row.seq),
            }
        }
    }

    /// What was shown is the fold of the journal to that position. A writer that was replaced and has nothing to write does not
    /// find out; when it steps down it does, and all of them show the same.
    async fn only_the_journal_was_shown(&self, end: u64, seen: &[Seen]) {
        for writer in &self.writers {
            let life = writer.life().clone();
            life.steps_down().await;
            let machine = &life.machine;
            let live = machine.live_at(end, SOON).await;
            for live in seen.iter().flatten().chain([&live]) {
                let folded = machine.replay(live.seq).await.expect("replays");
                assert_eq!(folded.state, live.state, "at position {}", live.seq);
                assert_eq!(folded.revisions, live.revisions, "at position {}", live.seq);
            }
            assert_eq!(live.seq, end);
        }
    }

    /// Everything is on the bus, whoever wrote it: a writer that was replaced learns so when it steps down.
    async fn has_published(&self, end: u64) {
        let all = async {
            for writer in &self.writers {
                while writer.machine().stats().published.load(std::sync::atomic::Ordering::Relaxed) < end {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        tokio::time::timeout(SOON, all).await.expect("everything is on the bus in time");
    }

    async fn over(&self) {
        for writer in &self.writers {
            let life = writer.life().clone();
            life.ends().await;
        }
    }
}

/// Plays it, and checks everything; the rows of the journal.
async fn plays(world: &World<'_>) -> Vec<Row> {
    let journal = Journal::open(world.database.url(), Service::Cluster).await.expect("opens");
    let (answers, seen) = world.play(&journal).await;
    let rows = journal.read(0, 100_000).await.expect("reads");
    if world.bus.is_some() {
        world.has_published(rows.len() as u64).await;
    }
    world.one_outcome_each(&journal, &rows, &answers).await;
    world.nothing_contradicts(&rows);
    world.only_the_journal_was_shown(rows.len() as u64, &seen).await;
    rows
}

async fn without_a_bus(database: Database, writers: usize, scenario: Scenario) {
    let world = World::begin(database, writers, &scenario, None).await;
    plays(&world).await;
    world.over().await;
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn every_command_has_one_outcome_whatever_fails(scenario in scenarios(1)) {
        block_on(async { without_a_bus(Database::sqlite().await, 1, scenario).await });
    }

    #[test]
    fn every_command_has_one_outcome_whatever_fails_on_postgres(scenario in scenarios(1)) {
        block_on(async { without_a_bus(Database::postgres().await, 1, scenario).await });
    }

    #[test]
    fn two_writers_make_one_chain_whatever_fails(scenario in scenarios(2)) {
        block_on(async { without_a_bus(Database::sqlite().await, 2, scenario).await });
    }

    #[test]
    fn two_writers_make_one_chain_whatever_fails_on_postgres(scenario in scenarios(2)) {
        block_on(async { without_a_bus(Database::postgres().await, 2, scenario).await });
    }
}

/// Events of the stream behind a position, those that were there before left out, as every reader does.
async fn published(bus: &Bus, behind: u64, count: usize) -> Vec<(u64, EventHeaders, bytes::Bytes)> {
    let stream = bus.jetstream().get_stream(Service::Cluster.event_stream()).await.expect("is there");
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: behind + 1 },
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("opens");
    let mut messages = consumer.messages().await.expect("reads");
    let mut found: Vec<(u64, EventHeaders, bytes::Bytes)> = Vec::new();
    while found.len() < count {
        let next = tokio::time::timeout(SOON, messages.next()).await.expect("all events are on the bus");
        let message = next.expect("goes on").expect("is a message");
        let headers = EventHeaders::read(|name| bus::header(message.headers.as_ref(), name)).expect("reads");
        if found.last().is_none_or(|(seq, ..)| headers.seq > *seq) {
            found.push((headers.seq, headers, message.payload.clone()));
        }
    }
    found
}

async fn end_of_events(bus: &Bus) -> u64 {
    let stream = bus.jetstream().get_stream(Service::Cluster.event_stream()).await.expect("is there");
    stream.cached_info().state.last_sequence
}

async fn with_a_bus(bus: &Bus, writers: usize, scenario: Scenario) {
    let behind = end_of_events(bus).await;
    let world = World::begin(Database::sqlite().await, writers, &scenario, Some(bus)).await;
    let rows = plays(&world).await;
    let found = published(bus, behind, rows.len()).await;
    for (row, (seq, headers, payload)) in rows.iter().zip(&found) {
        assert_eq!((row.seq, row.id, &row.payload), (*seq, headers.id, payload));
    }
    world.over().await;
    let kept = end_of_events(bus).await - behind;
    assert_eq!(kept, rows.len() as u64, "the stream keeps none twice");
}

#[test]
fn the_bus_has_every_event_once_and_in_order_whatever_is_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let nats = TestBus::start(Servers::asked());
    let bus = runtime.block_on(Bus::to_test(&nats));
    proptest!(cases(8), |(scenario in scenarios(1))| {
        runtime.block_on(with_a_bus(&bus, 1, scenario));
    });
    proptest!(cases(8), |(scenario in scenarios(2))| {
        runtime.block_on(with_a_bus(&bus, 2, scenario));
    });
}
