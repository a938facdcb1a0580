//! `bcs label cluster`: the command on the bus replaces all labels, so the present ones are read first and the command
//! holds only for the revision that was read.

use bcs_client::{Client, Payload};
use bcs_schemas::{
    Name,
    cluster::LabelCluster,
    outcome::{Outcome, RejectionCode},
    query::Query,
    resource::{Labels, validate_labels},
    subject::Target,
};
use clap::{Args, Subcommand};

use super::apply::tell;
use crate::{
    Failure, output,
    plan::{Planning, Wish},
    selector::pair,
    session::{Session, accepted, short, target},
};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Set labels with key=value, remove them with key-
    #[command(
        after_help = "Examples:\n  bcs label cluster sim-a zone=north tier=gold\n  bcs label cluster sim-a tier-\n  bcs label cluster sim-a zone=south --plan"
    )]
    Cluster {
        /// The cluster
        name: Name,
        /// key=value to set, key- to remove
        #[arg(required = true, value_name = "LABEL")]
        labels: Vec<String>,
        #[command(flatten)]
        planning: Planning,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Kind::Cluster { name, labels, planning } = self.kind;
        // What is wrong by itself is told before the platform is asked.
        let mut trial = Labels::new();
        change(&mut trial, &labels)?;
        let _log = session.log()?;
        let client = session.connect().await?;
        if planning.wanted() {
            let wish = labelled(&client, &name, &labels).await?;
            return planning.make(session, &client, vec![wish]).await;
        }
        for _ in 1..TRIES {
            let wish = labelled(&client, &name, &labels).await?;
            let outcome = wish.apply(&client, &session.actor()).await?;
            if !moved(&outcome) {
                return told(session, &wish.object, outcome);
            }
        }
        let wish = labelled(&client, &name, &labels).await?;
        send_to_cluster(session, &client, wish, &planning).await
    }
}

/// The labels are read again when something else was decided about the cluster in between, such as its health.
const TRIES: usize = 5;

fn moved(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(rejected) if rejected.code == RejectionCode::RevisionMismatch)
}

/// The wish that changes the labels which the cluster has now.
async fn labelled(client: &Client, name: &Name, labels: &[String]) -> Result<Wish, Failure> {
    let query = Query { name: Some(name.clone()), ..Query::default() };
    let found = client.cluster(&query).await?.data;
    let found = found.ok_or_else(|| Failure::failed(format!("cluster {name} does not exist")))?;
    let mut wanted = found.labels;
    change(&mut wanted, labels)?;
    let wish = to_cluster(name, LabelCluster { labels: wanted })?;
    Ok(Wish { expected: Some(found.revision), ..wish })
}

fn change(labels: &mut Labels, changes: &[String]) -> Result<(), Failure> {
    for text in changes {
        match text.strip_suffix('-').filter(|_| !text.contains('=')) {
            Some(key) => drop(labels.remove(key)),
            None => {
                let (key, value) = pair(text).map_err(Failure::usage)?;
                labels.insert(key, value);
            }
        }
    }
    match validate_labels(labels).first() {
        Some(error) => Err(Failure::usage(error.to_string())),
        None => Ok(()),
    }
}

/// A command about a cluster.
pub(super) fn to_cluster<P: Payload>(name: &Name, message: P) -> Result<Wish, Failure> {
    Wish::new(target(&Name::system(), "cluster", name), message)
}

/// Sends a command about a cluster and tells the outcome; or only plans it.
pub(super) async fn send_to_cluster(
    session: &Session,
    client: &Client,
    wish: Wish,
    planning: &Planning,
) -> Result<(), Failure> {
    if planning.wanted() {
        return planning.make(session, client, vec![wish]).await;
    }
    let outcome = wish.apply(client, &session.actor()).await?;
    told(session, &wish.object, outcome)
}

fn told(session: &Session, target: &Target, outcome: Outcome) -> Result<(), Failure> {
    let accepted = accepted(target, outcome)?;
    if session.format().for_people() {
        tell(target, &accepted);
        return Ok(());
    }
    output::answer(session.format(), [short(target)], &accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed_one_by_one() {
        let mut labels = Labels::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let changes = ["b-", "c=3", "a=x-"].map(ToOwned::to_owned);
        let failure = change(&mut labels, &changes).expect_err("a value may not end like that");
        assert!(failure.message.contains("labels.a"), "{failure}");
        let changes = ["b-", "c=3", "a=9"].map(ToOwned::to_owned);
        change(&mut labels, &changes).expect("is right");
        let all: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(all, ["a=9", "c=3"]);
    }
}
