//! Empty databases for tests: a file, or a database on a real PostgreSQL. That is the server in `BCS_TEST_POSTGRES_URL`, whose
//! user must be able to create databases, or one of this process's own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use tempfile::TempDir;

/// Makes two tests of each function: one on SQLite, one on PostgreSQL, each on an empty database.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::journal::test_database::Database::sqlite().await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::journal::test_database::Database::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

/// An empty database; it goes with its owner.
pub(crate) struct Database {
    url: String,
    _place: Place,
}

enum Place {
    Folder { _folder: TempDir },
    Server { name: String },
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("journal.db").display());
        Self { url, _place: Place::Folder { _folder: folder } }
    }

    pub(crate) async fn postgres() -> Self {
        let name = format!("bcs_test_{}", crate::Clock::system().fresh_id().simple());
        tell_server(format!("CREATE DATABASE {name}")).await;
        Self { url: url_of(&name), _place: Place::Server { name } }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Server { name } = self else { return };
        let forget = tell_server(format!("DROP DATABASE {name} WITH (FORCE)"));
        // Whoever drops is in a runtime already, and no runtime starts another on its own thread.
        let forgotten = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(forget);
        });
        assert!(forgotten.join().is_ok() || std::thread::panicking(), "the database stays behind");
    }
}

async fn tell_server(sql: String) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(server()).await.expect("PostgreSQL answers");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect("PostgreSQL obeys");
}

/// The URL of the server with another database in it.
fn url_of(name: &str) -> String {
    let server = server();
    let (place, settings) = server.split_once('?').unwrap_or((server, ""));
    let (scheme, rest) = place.split_once("://").expect("a URL has a scheme");
    let host = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{host}/{name}?{settings}")
}

/// URL of the server for this process.
fn server() -> &'static str {
    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    static OWN: OnceLock<Server> = OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var_os("BCS_TEST_POSTGRES_URL")?.into_string().ok());
    named.as_deref().unwrap_or_else(|| &OWN.get_or_init(Server::start).url)
}

/// Lives as long as this process keeps its standard input open.
struct Server {
    url: String,
    _process: Child,
}

impl Server {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres");
        let mut command = Command::new(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("scripts/postgres can be run");
        let mut url = String::new();
        let said = process.stdout.as_mut().expect("it is piped");
        BufReader::new(said).read_line(&mut url).expect("it can be read");
        if url.is_empty() {
            let mut problem = String::new();
            let said = process.stderr.as_mut().expect("it is piped");
            said.read_to_string(&mut problem).expect("it can be read");
            panic!("no PostgreSQL for this test, and none is named in BCS_TEST_POSTGRES_URL: {problem}");
        }
        Self { url: url.trim().to_owned(), _process: process }
    }
}

/// So many cases of a property, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(few: u32) -> proptest::test_runner::Config {
    let mut config = proptest::test_runner::Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = few;
    }
    config
}
