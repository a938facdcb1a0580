//! Appends that end at any point: something fails between two statements, the append is given up while it waits, its
//! connection is cut, its process is killed. Whatever happened, all of a batch is there or nothing of it, and the journal
//! goes on.

use std::{env, future::poll_fn, io::Write, pin::pin, process::Stdio, task::Poll};

use proptest::prelude::*;
use sqlx::AnyConnection;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

use super::*;

#[derive(Clone, Debug)]
struct Attempt {
    events: u64,
    outcomes: u64,
    end: End,
}

/// How an append ends.
#[derive(Clone, Debug)]
enum End {
    /// As it should.
    Well,
    /// At the place with this number: before the first statement is place 0, behind the commit the last one.
    Fails(u32),
    /// Nobody asks for it any more after it was asked so often: before it goes on, or at once.
    GivenUp { polls: u32, at_once: bool },
    /// The database ends all connections after this many microseconds.
    Cut(u64),
}

fn attempts(cut: bool) -> impl Strategy<Value = Vec<Attempt>> {
    let end = prop_oneof![
        1 => Just(End::Well),
        6 => (0u32..12).prop_map(End::Fails),
        6 => (0u32..24, any::<bool>()).prop_map(|(polls, at_once)| End::GivenUp { polls, at_once }),
        (if cut { 3 } else { 0 }) => (0u64..4_000).prop_map(End::Cut),
    ];
    let events = prop_oneof![3 => 1u64..6, 1 => 6u64..90];
    let attempt =
        (events, 0u64..6, end).prop_map(|(events, outcomes, end)| Attempt { events, outcomes, end });
    proptest::collection::vec(attempt, 1..8)
}

impl End {
    /// What the append said, if anybody was there to hear it.
    async fn of(
        &self,
        url: &str,
        journal: &Writer,
        rows: &[Row],
        outcomes: &[OutcomeRow],
    ) -> Option<Result<(), Error>> {
        let append = journal.append(rows, outcomes);
        match self {
            Self::Well => Some(append.await),
            Self::Fails(place) => {
                journal.trouble.append.harm([*place]);
                let told = append.await;
                journal.trouble.append.rest();
                Some(told)
            }
            Self::GivenUp { polls, at_once } => given_up(append, *polls, *at_once).await,
            Self::Cut(after) => {
                let cut = async {
                    tokio::time::sleep(Duration::from_micros(*after)).await;
                    cut_all(url).await;
                };
                Some(tokio::join!(append, cut).0)
            }
        }
    }
}

async fn given_up<F: Future>(future: F, polls: u32, at_once: bool) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if left == 0 && at_once => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await
}

async fn cut_all(url: &str) {
    let mut connection = AnyConnection::connect(url).await.expect("PostgreSQL answers");
    let all = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(all).execute(&mut connection).await.expect("PostgreSQL obeys");
}

/// What the journal must hold.
#[derive(Default)]
struct Ledger {
    rows: Vec<Row>,
    outcomes: Vec<OutcomeRow>,
}

impl Ledger {
    fn batch(&self, events: u64, outcomes: u64) -> (Vec<Row>, Vec<OutcomeRow>) {
        let (seq, done) = (self.rows.len() as u64, self.outcomes.len() as u64);
        ((seq + 1..=seq + events).map(row).collect(), (done + 1..=done + outcomes).map(outcome).collect())
    }

    fn take_in(&mut self, (rows, outcomes): (Vec<Row>, Vec<OutcomeRow>)) {
        self.rows.extend(rows);
        self.outcomes.extend(outcomes);
    }

    async fn is_kept_by(&self, journal: &Journal) {
        assert_eq!(journal.read(0, 1_000_000).await.expect("reads"), self.rows);
        let one_more = outcome(self.outcomes.len() as u64 + 1);
        let all: Vec<CommandId> = self.outcomes.iter().chain([&one_more]).map(|row| row.command).collect();
        assert_eq!(journal.outcomes(&all).await.expect("reads").len(), self.outcomes.len());
    }
}

/// How many events and outcomes somebody else sees at one moment: a commit may come between two statements.
async fn seen(by: &Journal) -> (usize, usize) {
    let both = "SELECT (SELECT COUNT(*) FROM events), (SELECT COUNT(*) FROM outcomes)";
    let row = sqlx::query(both).fetch_one(&by.readers).await.expect("reads");
    let count = |column: usize| usize::try_from(row.get::<i64, _>(column)).expect("a count");
    (count(0), count(1))
}

async fn appends_that_end_anywhere(database: Database, attempts: Vec<Attempt>) {
    let (other, writer) = (journal(&database).await, journal(&database).await);
    let mut ledger = Ledger::default();
    for attempt in &attempts {
        let batch = ledger.batch(attempt.events, attempt.outcomes);
        let told = attempt.end.of(database.url(), &writer, &batch.0, &batch.1).await;
        let before = (ledger.rows.len(), ledger.outcomes.len());
        let whole = (before.0 + batch.0.len(), before.1 + batch.1.len());
        let found = seen(&other).await;
        assert!(found == before || found == whole, "{attempt:?}: {found:?} between {before:?} and {whole:?}");
        let there = match told {
            Some(Ok(())) => {
                assert_eq!(found, whole, "{attempt:?} was told to be there");
                true
            }
            Some(Err(error)) => {
                assert!(error.is_transient(), "{attempt:?}: {error:?}");
                found == whole
            }
            None => found == whole,
        };
        // What the loop does when it does not know: it tries again.
        match writer.append(&batch.0, &batch.1).await {
            Ok(()) => assert!(!there, "{attempt:?} was there, and came again"),
            Err(Error::Taken) => (),
            Err(error) => panic!("{attempt:?}: the next append fails: {error:?}"),
        }
        ledger.take_in(batch);
        ledger.is_kept_by(&other).await;
    }
    writer.close().await;
    let reader = journal(&database).await;
    ledger.is_kept_by(&reader).await;
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future);
}

proptest! {
    #![proptest_config(super::super::super::test_database::cases(24))]

    #[test]
    fn an_append_is_whole_or_not_at_all_wherever_it_ends(attempts in attempts(false)) {
        block_on(async { appends_that_end_anywhere(Database::sqlite().await, attempts).await });
    }

    #[test]
    fn an_append_is_whole_or_not_at_all_wherever_it_ends_on_postgres(attempts in attempts(true)) {
        block_on(async { appends_that_end_anywhere(Database::postgres().await, attempts).await });
    }
}

/// Tells a process of this program which journal it shall write until it is killed.
const WRITES_TO: &str = "BCS_TEST_WRITES_TO";
/// Batches that such a process writes at most.
const MOST_BATCHES: usize = 100_000;

/// The size of a batch follows from its number.
fn sizes(number: usize) -> (u64, u64) {
    let number = number as u64;
    (1 + number * 7 % 30, number % 4)
}

/// What the journal holds after so many batches.
fn after(batches: usize) -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0..batches {
        let (events, outcomes) = sizes(number);
        let batch = ledger.batch(events, outcomes);
        ledger.take_in(batch);
    }
    ledger
}

/// How many batches have this many events in all.
fn batches(events: u64) -> Option<usize> {
    let mut sum = 0;
    let number = (0..).find(|number| {
        let there = sum >= events;
        sum += sizes(*number).0;
        there
    })?;
    (after(number).rows.len() as u64 == events).then_some(number)
}

/// Appends batch after batch, and tells the number of each when it is there.
async fn writes(url: &str) {
    let journal = Writer::of(url).await;
    let begin = batches(journal.last_seq().await.expect("reads")).expect("whole batches");
    let mut ledger = after(begin);
    for number in begin..begin + MOST_BATCHES {
        let (events, outcomes) = sizes(number);
        let batch = ledger.batch(events, outcomes);
        journal.append(&batch.0, &batch.1).await.expect("appends");
        ledger.take_in(batch);
        writeln!(std::io::stdout(), "\nthere {number}").expect("somebody listens");
    }
}

/// The newest batch that the process told of, as soon as there is one behind `before`; all of them when it has ended.
async fn told(lines: &mut Lines<BufReader<tokio::process::ChildStdout>>, to_the_end: bool) -> Option<usize> {
    let mut newest = None;
    while let Some(line) = lines.next_line().await.expect("can be read") {
        let number = line.strip_prefix("there ").and_then(|number| number.parse().ok());
        newest = number.or(newest);
        if newest.is_some() && !to_the_end {
            break;
        }
    }
    newest
}

/// Kills a process in the middle of its appends, again and again.
async fn killed(test: &str, database: Database) {
    let here = module_path!().split_once("::").map(|(_, path)| path).unwrap_or_default();
    for _ in 0..4 {
        let mut command = tokio::process::Command::new(env::current_exe().expect("this program"));
        command.args(["--exact", &format!("{here}::{test}"), "--nocapture"]).env(WRITES_TO, database.url());
        let mut process =
            command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("this program can be run");
        let mut lines = BufReader::new(process.stdout.take().expect("is piped")).lines();
        let first = told(&mut lines, false).await.expect("it writes");
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..20_000))).await;
        process.kill().await.expect("it is there to be killed");
        let acknowledged = told(&mut lines, true).await.unwrap_or(first) + 1;
        let journal = journal(&database).await;
        let end = journal.last_seq().await.expect("reads");
        let found = batches(end).unwrap_or_else(|| panic!("{end} events are no whole batches"));
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{found} of {acknowledged} that were told"
        );
        after(found).is_kept_by(&journal).await;
        journal.close().await;
    }
}

#[tokio::test]
async fn a_killed_process_leaves_whole_batches() {
    match env::var_os(WRITES_TO) {
        Some(url) => writes(&url.to_string_lossy()).await,
        None => killed("a_killed_process_leaves_whole_batches", Database::sqlite().await).await,
    }
}

#[tokio::test]
async fn a_killed_process_leaves_whole_batches_on_postgres() {
    match env::var_os(WRITES_TO) {
        Some(url) => writes(&url.to_string_lossy()).await,
        None => killed("a_killed_process_leaves_whole_batches_on_postgres", Database::postgres().await).await,
    }
}
