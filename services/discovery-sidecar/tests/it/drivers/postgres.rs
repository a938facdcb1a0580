//! The PostgreSQL driver alone against a real PostgreSQL, looked at by psql.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, process::Command};

use bcs_discovery_sidecar::domain::{Failure, Outcome};
use bcs_schemas::observation::Endpoint;

use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
};

struct Postgres {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

/// Debian keeps the server's programs elsewhere than on the path.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.exists());
    on_path.unwrap_or_else(|| panic!("{name} is missing: install the Debian package postgresql"))
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id runs");
    output.stdout == b"0\n"
}

impl Postgres {
    /// PostgreSQL refuses to run as root.
    fn command(program_name: &str) -> Command {
        let program = program(program_name);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    }

    async fn start_with(access: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(directory.path()).status();
            assert!(owned.is_ok_and(|status| status.success()), "the folder is given to postgres");
        }
        let mut initdb = Self::command("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "admin", "-A", "trust", "--no-sync", "--no-instructions"]);
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let access = format!("local all all trust\nhost all admin 127.0.0.1/32 trust\n{access}\n");
        std::fs::write(data.join("pg_hba.conf"), access).expect("writes");
        let mut postgres = Self { directory, port: free_port(), process: None };
        postgres.up().await;
        postgres.ask("CREATE ROLE bcs LOGIN PASSWORD 'hunter2'; CREATE DATABASE cmdb OWNER bcs");
        postgres
    }

    async fn up(&mut self) {
        let mut command = Self::command("postgres");
        command.arg("-D").arg(self.directory.path().join("data")).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        self.process = Some(start_command(command, "the Debian package postgresql"));
        wait_until(LONG, async || self.try_ask("postgres", "SELECT 1").map(drop)).await;
    }

    /// With all of its processes at once, and without a word to the disk: the one that we started could be outlived by its
    /// children for a moment.
    fn crash(&mut self) {
        let mut stop = Self::command("pg_ctl");
        stop.arg("-D").arg(self.directory.path().join("data")).args(["stop", "-m", "immediate"]);
        let stopped = stop.output().expect("pg_ctl runs");
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        self.process = None;
    }

    fn try_ask(&self, database: &str, statement: &str) -> Result<String, String> {
        let mut command = Command::new(program("psql"));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "admin", "-d", database]);
        let output = command
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .args(statement.split("; ").flat_map(|s| ["-c", s]));
        let output = output.output().map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn ask(&self, statements: &str) -> String {
        let database = if statements.contains("CREATE DATABASE") { "postgres" } else { "cmdb" };
        self.try_ask(database, statements).unwrap_or_else(|e| panic!("{statements}: {e}"))
    }

    fn spec_with(&self, more: serde_json::Value) -> serde_json::Value {
        let url = format!("postgres://127.0.0.1:{}/cmdb", self.port);
        let mut postgres = serde_json::json!({ "url": url, "user": "bcs" });
        postgres.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        serde_json::json!({ "driver": { "postgres": postgres } })
    }
}

impl Site for Postgres {
    async fn start() -> Self {
        Self::start_with("host all bcs 127.0.0.1/32 trust").await
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_with(serde_json::json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let there = self.ask("SELECT to_regclass('bcs_instances') IS NOT NULL");
        if there == "f" {
            return BTreeSet::new();
        }
        let found = self.ask("SELECT host(address) FROM bcs_instances WHERE name = 'web.shop.bcs.local'");
        found.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// In the very table, which is made for it.
    async fn add_foreign(&self, address: IpAddr) {
        Hand::owned_by("them", self).fence(1).await;
        self.ask(&format!(
            "INSERT INTO bcs_instances VALUES ('by hand', 'x', 'web.shop.bcs.local', '{address}', 80, 1, 1, '', '', '', 1)"
        ));
    }
}

crate::contract::contract!(super::Postgres);
crate::adoption::stories!(super::Postgres);

impl crate::adoption::Kept for Postgres {
    async fn keep(&self, address: IpAddr) {
        Hand::owned_by("them", self).fence(1).await;
        self.ask(&format!(
            "INSERT INTO bcs_instances VALUES ('by hand', '{address}', 'web.shop.bcs.local', '{address}', 8080, 1, 1, '', '', '', 1)"
        ));
    }

    fn from() -> Option<&'static str> {
        Some("by hand")
    }

    async fn unkeep(&self, address: IpAddr) {
        self.ask(&format!("DELETE FROM bcs_instances WHERE address = '{address}'"));
    }
}

impl Faulty for Postgres {
    const NAME: &'static str = "postgres";
    const ABLE: Able = Able::of(&[Able::WAY, Able::SERVER, &[Fault::TakenOut]]);

    fn port(&self) -> u16 {
        self.port
    }

    async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
        wires(port, |at| self.spec_with(serde_json::json!({ "url": format!("postgres://{at}/cmdb") }))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        if with_its_data {
            self.ask("DROP TABLE IF EXISTS bcs_instances; DROP TABLE IF EXISTS bcs_instances_owners");
        }
        self.crash();
    }

    async fn up(&mut self) {
        self.up().await;
    }

    async fn theirs(&self) -> String {
        self.ask("SELECT xmin, * FROM bcs_instances WHERE owner = 'by hand'")
    }

    async fn take_out(&self, address: IpAddr) {
        // There may be no table yet.
        let _ = self.try_ask("cmdb", &format!("DELETE FROM bcs_instances WHERE address = '{address}'"));
    }
}

crate::faults::faults!(Postgres);

async fn failure(spec: serde_json::Value) -> String {
    match Hand::with(spec).driver.fence(1).await {
        Err(Failure::Unavailable(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_row_says_everything_that_is_known_of_the_instance() {
    let postgres = Postgres::start().await;
    let hand = Hand::of(&postgres);
    hand.fence(1).await;
    hand.done(&[hand.put(Endpoint { node: Some("n1".into()), ..endpoint(1) }, None)]).await;
    let row = "SELECT owner, name, address, port, weight, ttl, node, endpoint, uid FROM bcs_instances";
    assert_eq!(
        postgres.ask(row),
        "eu1.sim-a.dns|web.shop.bcs.local|10.0.0.1|8080|100|30|n1|sim-a.shop.web.web-1|uid-1"
    );
}

#[tokio::test]
async fn an_entry_that_a_constraint_forbids_is_rejected_in_the_words_of_the_server() {
    let postgres = Postgres::start().await;
    let hand = Hand::of(&postgres);
    hand.fence(1).await;
    postgres.ask("ALTER TABLE bcs_instances ADD CONSTRAINT ours_alone CHECK (address <<= '10.0.0.0/30')");
    let rejected = hand.driver.apply(&[hand.put(endpoint(1), None), hand.put(endpoint(9), None)]).await;
    assert!(
        matches!(&rejected, Err(Failure::Rejected(words)) if words.contains("ours_alone")),
        "{rejected:?}"
    );
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(postgres.addresses().await.len(), 1);
}

#[tokio::test]
async fn a_row_that_somebody_deleted_is_told_as_what_it_is() {
    let postgres = Postgres::start().await;
    let hand = Hand::of(&postgres);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let items = hand.items().await;
    postgres.ask("DELETE FROM bcs_instances WHERE endpoint LIKE '%web-1'");
    let changes =
        [hand.put(endpoint(1), Some(items[0].version)), hand.put(endpoint(2), Some(items[1].version))];
    let outcomes = hand.driver.apply(&changes).await.expect("is answered");
    assert_eq!(outcomes, [Outcome::Differs(None), Outcome::Again]);
}

#[tokio::test]
async fn a_role_that_may_not_make_tables_needs_only_rows() {
    let postgres = Postgres::start().await;
    postgres.ask("REVOKE CREATE ON SCHEMA public FROM PUBLIC; REVOKE ALL ON DATABASE cmdb FROM bcs");
    postgres.ask("ALTER DATABASE cmdb OWNER TO admin; GRANT CONNECT ON DATABASE cmdb TO bcs");
    let words = failure(postgres.spec()).await;
    assert!(words.contains("permission denied") && words.contains("CREATE where"), "{words}");
    const README: &str = include_str!("../../../README.md");
    let tables = README.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("tables");
    postgres.ask(tables);
    let words = failure(postgres.spec()).await;
    assert!(words.contains("SELECT, INSERT, UPDATE and DELETE"), "{words}");
    postgres.ask("GRANT SELECT, INSERT, UPDATE, DELETE ON bcs_instances, bcs_instances_owners TO bcs");
    let hand = Hand::of(&postgres);
    hand.fence(2).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
}

#[tokio::test]
async fn who_we_are_is_checked_and_said_without_the_password() {
    let postgres = Postgres::start_with("host all bcs 127.0.0.1/32 scram-sha-256").await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let login = serde_json::json!({ "password": { "file": file.path() } });
    std::fs::write(file.path(), "hunter3\n").expect("writes");
    let words = failure(postgres.spec_with(login.clone())).await;
    assert!(words.contains("password authentication failed") && !words.contains("hunter"), "{words}");
    std::fs::write(file.path(), "hunter2\n").expect("writes");
    Hand::with(postgres.spec_with(login)).fence(1).await;
}

#[tokio::test]
async fn what_was_confirmed_is_there_after_a_kill_and_the_connection_is_made_again() {
    let mut postgres = Postgres::start().await;
    let hand = Hand::of(&postgres);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    postgres.crash();
    let lost = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(lost, Err(Failure::Unavailable(_))), "{lost:?}");
    postgres.up().await;
    hand.fence(1).await;
    assert_eq!(hand.items().await.len(), 1);
    hand.done(&[hand.put(endpoint(2), None)]).await;
}

#[tokio::test]
async fn a_table_that_is_another_one_is_named_and_stays_as_it_is() {
    let postgres = Postgres::start().await;
    postgres
        .ask("CREATE TABLE bcs_instances (owner text, id text); CREATE TABLE bcs_instances_owners (x int)");
    postgres.ask("GRANT ALL ON bcs_instances, bcs_instances_owners TO bcs");
    let words = failure(postgres.spec()).await;
    assert!(words.contains("not as the documentation says"), "{words}");
}
