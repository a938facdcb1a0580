//! BIND, Knot and PowerDNS, each with one zone that a key may update and transfer. They are looked at with `dig`, and
//! somebody else writes with `nsupdate`.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write,
    net::IpAddr,
    process::{Command, Stdio},
};

use crate::fixture::*;

pub(crate) const SECRET: &str = "c2VjcmV0LW9mLXRoZS16b25lLWZvci10aGUtdGVzdHM=";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bind,
    Knot,
    PowerDns,
}

/// A server that can be stopped and started with its data, or with another clock.
pub(crate) struct Server {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) kind: Kind,
    pub(crate) zone: &'static str,
    pub(crate) port: u16,
    pub(crate) algorithm: &'static str,
    /// What BIND lets the key do, beyond everything.
    policy: &'static str,
    limits: &'static str,
    process: Option<Process>,
}

impl Server {
    pub(crate) async fn start(kind: Kind, zone: &'static str, algorithm: &'static str) -> Self {
        let mut server = Self::new(kind, zone, algorithm);
        server.lay();
        server.up().await;
        server
    }

    fn new(kind: Kind, zone: &'static str, algorithm: &'static str) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            kind,
            zone,
            port: free_port(),
            algorithm,
            policy: "allow-update { key bcs; };",
            // It takes a hundred otherwise.
            limits: "max-records-per-type 0;",
            process: None,
        }
    }

    /// BIND with rules about what may be updated, and with other limits.
    pub(crate) async fn bind_with(policy: &'static str, limits: &'static str) -> Self {
        let mut server = Self { policy, limits, ..Self::new(Kind::Bind, "bcs.local", "hmac-sha256") };
        server.lay();
        server.up().await;
        server
    }

    fn at(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory.path().join(file), text).expect("writes");
    }

    /// An empty zone. What was there is gone.
    pub(crate) fn lay(&self) {
        for entry in std::fs::read_dir(self.directory.path()).expect("reads") {
            let path = entry.expect("an entry").path();
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
        let Self { zone, port, algorithm, policy, limits, .. } = self;
        let at = self.at("");
        self.write("secret", &format!("{SECRET}\n"));
        self.write(
            "zone",
            &format!("$TTL 300\n@ SOA ns1.{zone}. admin.{zone}. 2099010101 3600 600 86400 60\n@ NS ns1.{zone}.\nns1.{zone}. A 127.0.0.1\n"),
        );
        match self.kind {
            Kind::Bind => self.write(
                "named.conf",
                &format!(
                    r#"options {{
    directory "{at}"; pid-file "{at}named.pid"; session-keyfile "{at}session.key"; lock-file none;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; notify no; empty-zones-enable no; {limits}
}};
controls {{ }};
key "bcs" {{ algorithm {algorithm}; secret "{SECRET}"; }};
zone "{zone}" {{ type primary; file "{at}zone"; {policy} allow-transfer {{ key bcs; }}; }};
"#
                ),
            ),
            Kind::Knot => {
                std::fs::create_dir(self.at("db")).expect("a folder");
                self.write(
                    "knot.conf",
                    &format!(
                        "server:\n  listen: 127.0.0.1@{port}\n  rundir: {at}\n\
                     log:\n  - target: stderr\n    any: info\n\
                     database:\n  storage: {at}db\n\
                     key:\n  - id: bcs\n    algorithm: {algorithm}\n    secret: {SECRET}\n\
                     acl:\n  - id: bcs\n    key: bcs\n    action: [update, transfer]\n\
                     zone:\n  - domain: {zone}\n    file: {at}zone\n    acl: bcs\n"
                    ),
                );
            }
            Kind::PowerDns => {
                self.write(
                    "pdns.conf",
                    &format!(
                        "launch=gsqlite3\ngsqlite3-database={at}pdns.sqlite3\nlocal-address=127.0.0.1\nlocal-port={port}\n\
                         socket-dir={at}\ndnsupdate=yes\nguardian=no\ndaemon=no\ndisable-syslog=yes\nwrite-pid=no\n"
                    ),
                );
                let schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
                run("sqlite3", "sqlite3", &[self.at("pdns.sqlite3"), format!(".read {schema}")], "");
                for words in [
                    format!("load-zone {zone} {at}zone"),
                    format!("import-tsig-key bcs {algorithm} {SECRET}"),
                    format!("set-meta {zone} TSIG-ALLOW-DNSUPDATE bcs"),
                    format!("set-meta {zone} TSIG-ALLOW-AXFR bcs"),
                ] {
                    let words = words.split(' ').map(ToOwned::to_owned);
                    let all: Vec<String> = [format!("--config-dir={at}")].into_iter().chain(words).collect();
                    run("pdnsutil", "pdns-server and pdns-backend-sqlite3", &all, "");
                }
            }
        }
    }

    pub(crate) async fn up(&mut self) {
        let (program, package, arguments) = match self.kind {
            Kind::Bind => {
                ("named", "bind9", vec!["-f".to_owned(), "-g".into(), "-c".into(), self.at("named.conf")])
            }
            Kind::Knot => ("knotd", "knot", vec!["-c".to_owned(), self.at("knot.conf")]),
            Kind::PowerDns => ("pdns_server", "pdns-server", vec![format!("--config-dir={}", self.at(""))]),
        };
        let log = File::create(self.directory.path().join("log")).expect("a file");
        let package = format!("the Debian package {package}");
        self.process = Some(start_logged(program, &package, &arguments, log.into()));
        wait_until(LONG, async || {
            let found = self.dig(&["SOA", self.zone]);
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            if found.is_empty() { Err(format!("{program} does not answer: {}", log())) } else { Ok(()) }
        })
        .await;
    }

    /// kill -9.
    pub(crate) fn down(&mut self) {
        self.process = None;
    }

    /// What users get.
    pub(crate) fn dig(&self, question: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = vec!["@127.0.0.1".into(), "-p".into(), self.port.to_string()];
        arguments.extend(["+short", "+tcp", "+tries=1", "+time=2"].map(ToOwned::to_owned));
        arguments.extend(question.iter().map(ToString::to_string));
        let output = Command::new("dig").args(&arguments).output();
        let output = output.unwrap_or_else(|e| panic!("dig cannot be started ({e}): install bind9-dnsutils"));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().filter(|line| !line.starts_with(';')).map(ToOwned::to_owned).collect()
    }

    pub(crate) fn addresses(&self, name: &str) -> BTreeSet<IpAddr> {
        let found = ["A", "AAAA"].into_iter().flat_map(|kind| self.dig(&[kind, name]));
        found.filter_map(|line| line.parse().ok()).collect()
    }

    /// Every record, as whoever has the key gets them.
    fn transferred(&self) -> Vec<String> {
        let key = format!("{}:bcs:{SECRET}", self.algorithm);
        self.dig(&["+noshort", "+onesoa", "+noall", "+answer", "-y", &key, self.zone, "AXFR"])
    }

    /// What is not ours: the life time of addresses beside ours follows ours.
    pub(crate) fn theirs(&self) -> String {
        let ours =
            |line: &String| line.contains("_bcs.") || line.contains("\tSOA\t") || line.contains(" SOA ");
        let lines = self.transferred().into_iter().filter(|line| !ours(line) && !line.contains("TSIG"));
        let words = lines.map(|line| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
        let theirs = words.filter(|words| !words.last().is_some_and(|last| last.starts_with("10.")));
        let mut theirs: Vec<String> =
            theirs.map(|words| format!("{} {}\n", words[0], words[3..].join(" "))).collect();
        theirs.sort();
        theirs.concat()
    }

    /// Ownership records of instances.
    pub(crate) fn marks(&self) -> usize {
        self.transferred().iter().filter(|line| line.contains("_bcs.") && line.contains("uid=")).count()
    }

    /// Life time of a record set.
    pub(crate) fn ttl(&self, name: &str) -> u32 {
        let found = self.dig(&["+noshort", "+noall", "+answer", "A", name]);
        let line = found.first().expect("an answer");
        line.split_whitespace().nth(1).and_then(|ttl| ttl.parse().ok()).expect("a life time")
    }

    /// What somebody else does.
    pub(crate) fn nsupdate(&self, lines: &str) {
        let Self { zone, port, algorithm, .. } = self;
        let script = format!("server 127.0.0.1 {port}\nzone {zone}\n{lines}\nsend\n");
        let arguments = ["-v", "-y", &format!("{algorithm}:bcs:{SECRET}")].map(ToOwned::to_owned);
        run("nsupdate", "bind9-dnsutils", &arguments, &script);
    }

    /// The setting `dns` of a driver.
    pub(crate) fn driver(&self) -> serde_json::Value {
        serde_json::json!({
            "servers": [format!("127.0.0.1:{}", self.port)],
            "zone": self.zone,
            "key": { "name": "bcs", "algorithm": self.algorithm, "secret": { "file": self.at("secret") } },
        })
    }
}

fn run(program: &str, package: &str, arguments: &[String], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{program} cannot be started ({e}): install {package}"));
    child.stdin.take().expect("an input").write_all(input.as_bytes()).expect("is read");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{program} {arguments:?} {input}: {output:?}");
}
