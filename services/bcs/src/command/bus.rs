//! `bcs bus`: what a bus needs before services and programs can use it.

mod backup;

use std::path::{Path, PathBuf};

use bcs_kit::Clock;
use bcs_schemas::Name;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    Failure,
    credentials::{
        self, ACTORS_FILE, Issued, TLS_FILE, USERS_FILE, User,
        tls::{self, Tls},
    },
    file, output,
    session::Session,
};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make keys for services, operators, sidecars, agents and projects, and what nats-server and services must know of them
    #[command(after_help = CREDENTIALS)]
    Credentials {
        /// Where keys, users.conf and actors.toml lie; keys that are there already are kept
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// A project whose programs and people may command what is in it; may be repeated
        #[arg(long = "tenant", value_name = "PROJECT")]
        tenants: Vec<Name>,
        /// A cluster with a discovery sidecar; may be repeated
        #[arg(long = "sidecar", value_name = "CLUSTER")]
        sidecars: Vec<Name>,
        /// A project and a cluster whose instances have sidecars beside them that keep no registry; may be repeated
        #[arg(long = "holder", value_name = "PROJECT.CLUSTER", value_parser = holder)]
        holders: Vec<User>,
        /// A cluster whose agent is a process of its own; may be repeated
        #[arg(long = "agent", value_name = "CLUSTER")]
        agents: Vec<Name>,
        /// Site of the bus
        #[arg(long, default_value = "local")]
        site: Name,
        /// Let services take commands that do not say who asks
        #[arg(long)]
        anonymous: bool,
        /// Make an authority and a certificate for nats-server as well, so that it speaks TLS
        #[arg(long)]
        tls: bool,
        /// DNS name or address by which nats-server is reached, beside localhost; may be repeated
        #[arg(long = "host", value_name = "NAME", requires = "tls")]
        hosts: Vec<String>,
    },
    /// Make the streams and buckets that are missing, and bring the others up to date where that loses nothing
    #[command(after_help = APPLY)]
    Apply {
        /// Copies of each stream and bucket: 1 on a single server, 3 on a cluster. Never fewer than there are
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
        replicas: u8,
    },
    /// Save what lies on the bus and nobody could say again, while everything runs; journals are saved after it
    #[command(after_help = BACKUP)]
    Backup {
        /// An empty or new directory
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Load what was saved onto a bus without streams, before any service starts
    #[command(after_help = RESTORE)]
    Restore {
        /// What `bcs bus backup` wrote
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Only say whether this bus could take it
        #[arg(long)]
        check: bool,
    },
}

const CREDENTIALS: &str = "\
Examples:
  bcs bus credentials --out /etc/bcs/bus --tenant demo --sidecar eu-1
  bcs bus credentials --out /etc/bcs/bus --tls --host bus.example --host 10.0.0.7

Who has a key in the directory has rights. To take them away, remove the key, do this again, and let nats-server read its
configuration again (nats-server --signal reload). Services that have actors.toml as bus.actors believe no bcs-actor that was
not signed with one of these keys; they read the file again by themselves.

With --tls, certificates that are there are kept; the one for nats-server is made anew when it has less than 30 days left or is
for other names. Do it again in time, and let nats-server read its configuration again.";

const BACKUP: &str = "\
Example:
  bcs bus backup --context platform --out /backup/bcs/streams

scripts/backup does this and saves the journals after it, which is the order that can be restored (docs/operations.md).";

const RESTORE: &str = "\
Example:
  bcs bus restore --context platform --from /backup/bcs/streams

Nothing that exists is changed: with streams there already, it ends with an error before it begins.";

const APPLY: &str = "\
Examples:
  bcs bus apply --context platform
  bcs bus apply --context platform --replicas 3    on a cluster: a copy on each of three servers";

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::Apply { replicas } => apply(session, replicas.into()).await,
            Action::Backup { out } => Box::pin(backup::backup(session, &out)).await,
            Action::Restore { from, check } => Box::pin(backup::restore(session, &from, check)).await,
            Action::Credentials { out, tenants, sidecars, holders, agents, site, anonymous, tls, hosts } => {
                let named = tenants.into_iter().map(User::Project);
                let named = named.chain(sidecars.into_iter().map(User::Sidecar));
                let named = named.chain(holders);
                let named = named.chain(agents.into_iter().map(User::Agent));
                let out = std::path::absolute(&out)
                    .map_err(|e| Failure::usage(format!("{}: {e}", out.display())))?;
                let wanted = User::standard().chain(named).collect();
                let issued = credentials::issue(&out, &site, &wanted, anonymous)?;
                issued.write(&out)?;
                let tls = if tls { Some(certificates(&out, hosts)?) } else { None };
                tell(session, &out, &issued, tls.as_ref())
            }
        }
    }
}

fn holder(text: &str) -> Result<User, String> {
    format!("holder-{text}").parse()
}

/// Certificates for a server that is reached by these names, and what it includes to show them.
fn certificates(out: &Path, hosts: Vec<String>) -> Result<Tls, Failure> {
    let names: Vec<String> = tls::LOCAL.map(str::to_owned).into_iter().chain(hosts).collect();
    let made = tls::prepare(out, &names, Clock::system().now())?;
    let path = out.join(TLS_FILE);
    let written = file::replace(&path, made.server_config().as_bytes());
    written.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    Ok(made)
}

fn tell(session: &Session, out: &Path, issued: &Issued, tls: Option<&Tls>) -> Result<(), Failure> {
    let keys = &issued.keys;
    let (config, actors) = (out.join(USERS_FILE), out.join(ACTORS_FILE));
    if !session.format().for_people() {
        let user = |(user, key): (&User, &str)| json!({ "user": user.to_string(), "key": key, "inbox": user.inbox(), "credentials": keys.file(user) });
        let users: Vec<_> = keys.all().map(user).collect();
        let names = keys.all().map(|(user, _)| user.to_string());
        let tls = tls.map(|tls| json!({ "config": out.join(TLS_FILE), "ca": tls.ca, "ca_until": tls.ca_until, "until": tls.until }));
        let all = json!({ "config": config, "actors": actors, "users": users, "tls": tls });
        return output::answer(session.format(), names, &all);
    }
    let row = |(user, _): (&User, &str)| {
        vec![user.to_string(), user.inbox(), keys.file(user).display().to_string()]
    };
    output::line(crate::view::table(&["USER", "INBOX", "CREDENTIALS"], keys.all().map(row)));
    output::line(format!("nats-server includes {}", config.display()));
    output::line(format!("services take {} as bus.actors", actors.display()));
    if let Some(tls) = tls {
        let config = out.join(TLS_FILE);
        output::line(format!(
            "nats-server includes {} (its certificate holds until {})",
            config.display(),
            tls.until
        ));
        output::line(format!(
            "everybody takes {} as bus.ca (until {}), and nobody needs ca-key.pem: keep it where it is safe",
            tls.ca.display(),
            tls.ca_until
        ));
    }
    Ok(())
}

async fn apply(session: &Session, replicas: usize) -> Result<(), Failure> {
    let _log = session.log()?;
    let client = session.connect_with(|bus| bus.replicas = replicas).await?;
    client.bus().provision().await?;
    if session.format().for_people() {
        output::line("streams and buckets are as they should be");
        return Ok(());
    }
    output::answer(session.format(), ["bus".to_owned()], &json!({ "applied": true }))
}
