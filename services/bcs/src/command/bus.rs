//! `bcs bus`: what a bus needs before services and programs can use it.

use std::path::{Path, PathBuf};

use bcs_schemas::Name;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    Failure,
    credentials::{self, ACTORS_FILE, Issued, USERS_FILE, User},
    output,
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
        /// A cluster whose agent is a process of its own; may be repeated
        #[arg(long = "agent", value_name = "CLUSTER")]
        agents: Vec<Name>,
        /// Site of the bus
        #[arg(long, default_value = "local")]
        site: Name,
        /// Let services take commands that do not say who asks
        #[arg(long)]
        anonymous: bool,
    },
    /// Make the streams and buckets that are missing, and bring the others up to date where that loses nothing
    #[command(after_help = APPLY)]
    Apply {
        /// Copies of each stream and bucket: 1 on a single server, 3 on a cluster. Never fewer than there are
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
        replicas: u8,
    },
}

const CREDENTIALS: &str = "\
Example:
  bcs bus credentials --out /etc/bcs/bus --tenant demo --sidecar eu-1

Who has a key in the directory has rights. To take them away, remove the key, do this again, and let nats-server read its
configuration again (nats-server --signal reload). Services that have actors.toml as bus.actors believe no bcs-actor that was
not signed with one of these keys; they read the file again by themselves.";

const APPLY: &str = "\
Examples:
  bcs bus apply --context platform
  bcs bus apply --context platform --replicas 3    on a cluster: a copy on each of three servers";

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::Apply { replicas } => apply(session, replicas.into()).await,
            Action::Credentials { out, tenants, sidecars, agents, site, anonymous } => {
                let named = tenants.into_iter().map(User::Project);
                let named = named.chain(sidecars.into_iter().map(User::Sidecar));
                let named = named.chain(agents.into_iter().map(User::Agent));
                let out = std::path::absolute(&out)
                    .map_err(|e| Failure::usage(format!("{}: {e}", out.display())))?;
                let wanted = User::standard().chain(named).collect();
                tell(session, &out, &credentials::issue(&out, &site, &wanted, anonymous)?)
            }
        }
    }
}

fn tell(session: &Session, out: &Path, issued: &Issued) -> Result<(), Failure> {
    issued.write(out)?;
    let keys = &issued.keys;
    let (config, actors) = (out.join(USERS_FILE), out.join(ACTORS_FILE));
    if !session.format().for_people() {
        let user = |(user, key): (&User, &str)| json!({ "user": user.to_string(), "key": key, "inbox": user.inbox(), "credentials": keys.file(user) });
        let users: Vec<_> = keys.all().map(user).collect();
        let names = keys.all().map(|(user, _)| user.to_string());
        let all = json!({ "config": config, "actors": actors, "users": users });
        return output::answer(session.format(), names, &all);
    }
    let row = |(user, _): (&User, &str)| {
        vec![user.to_string(), user.inbox(), keys.file(user).display().to_string()]
    };
    output::line(crate::view::table(&["USER", "INBOX", "CREDENTIALS"], keys.all().map(row)));
    output::line(format!("nats-server includes {}", config.display()));
    output::line(format!("services take {} as bus.actors", actors.display()));
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
