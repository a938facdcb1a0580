//! The commands, one file for each group; `bcs up` is large and lies beside them.

mod apply;
mod audit;
mod bus;
mod completions;
mod context;
mod cordon;
mod delete;
mod describe;
mod diff;
mod dlq;
mod doctor;
mod events;
mod get;
mod history;
mod import;
mod kubesim;
mod label;
mod publish;
mod registry;
mod replay;
mod restart;
mod scale;
mod sim;
mod status;
mod undo;
mod version;
mod why;

use clap::Subcommand;

#[cfg(feature = "up")]
use crate::up::Up;
use crate::{Failure, session::Session};

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole platform here: bus, services, two simulated clusters and their sidecars
    #[cfg(feature = "up")]
    Up(Up),
    /// Create applications and clusters from files, or make them what the files say
    Apply(apply::Arguments),
    /// List what there is
    Get(get::Arguments),
    /// Show everything about one object: what is wanted, what is, and why it waits
    Describe(describe::Arguments),
    /// Change the number of instances
    Scale(scale::Arguments),
    /// Replace every instance by a fresh one, surge first
    Restart(restart::Arguments),
    /// Drain and stop an application, or let a cluster go
    Delete(delete::Arguments),
    /// Take a running cluster into the platform
    Import(import::Arguments),
    /// Change labels of a cluster
    Label(label::Arguments),
    /// Let nothing new start on a node
    Cordon(cordon::Arguments),
    /// Let new instances start on a node again
    Uncordon(cordon::Release),
    /// Show what happened, or follow what happens
    Events(events::Arguments),
    /// Show what was decided about one object, by whom and when
    History(history::Arguments),
    /// Show why something was decided: the chain of causes up to a person or a rule
    Why(why::Arguments),
    /// Show what changed in what is wanted of an object between two moments
    Diff(diff::Arguments),
    /// Take a command back: plan its opposite, show it, and do it
    Undo(undo::Arguments),
    /// Write every decision into a file that shows when it was touched, and look whether one was
    Audit(audit::Arguments),
    /// Write the state of a service as of any position of its journal, to look at an incident offline
    Replay(replay::Arguments),
    /// Publish any command on the bus and show its outcome
    Publish(publish::Arguments),
    /// Look after messages that could be neither handled nor answered
    Dlq(dlq::Arguments),
    /// Prepare a bus: keys and rights, streams and buckets
    Bus(bus::Arguments),
    /// Show how services, clusters and registries do
    Status(status::Arguments),
    /// Look at everything, and say what is not well and what to do about it
    Doctor(doctor::Arguments),
    /// Look after the registries outside
    Registry(registry::Arguments),
    /// Manage where the bus is and what is meant when nothing is said
    Context(context::Arguments),
    /// Run a simulated Kubernetes cluster by itself
    Kubesim(kubesim::Arguments),
    /// Let things go wrong in simulated clusters, and look how they are
    Sim(sim::Arguments),
    /// Write a completion script for a shell
    Completions(completions::Arguments),
    /// Show the version of this program
    Version(version::Arguments),
}

impl Command {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        // Boxed, because the largest of the commands would make all of them that large.
        match self {
            #[cfg(feature = "up")]
            Self::Up(up) => Box::pin(up.run(session.config_path().ok())).await,
            Self::Apply(arguments) => Box::pin(arguments.run(session)).await,
            Self::Get(arguments) => Box::pin(arguments.run(session)).await,
            Self::Describe(arguments) => Box::pin(arguments.run(session)).await,
            Self::Scale(arguments) => Box::pin(arguments.run(session)).await,
            Self::Restart(arguments) => Box::pin(arguments.run(session)).await,
            Self::Delete(arguments) => Box::pin(arguments.run(session)).await,
            Self::Import(arguments) => Box::pin(arguments.run(session)).await,
            Self::Label(arguments) => Box::pin(arguments.run(session)).await,
            Self::Cordon(arguments) => Box::pin(arguments.run(session)).await,
            Self::Uncordon(arguments) => Box::pin(arguments.run(session)).await,
            Self::Events(arguments) => Box::pin(arguments.run(session)).await,
            Self::History(arguments) => Box::pin(arguments.run(session)).await,
            Self::Why(arguments) => Box::pin(arguments.run(session)).await,
            Self::Diff(arguments) => Box::pin(arguments.run(session)).await,
            Self::Undo(arguments) => Box::pin(arguments.run(session)).await,
            Self::Audit(arguments) => Box::pin(arguments.run(session)).await,
            Self::Replay(arguments) => Box::pin(arguments.run(session)).await,
            Self::Publish(arguments) => Box::pin(arguments.run(session)).await,
            Self::Dlq(arguments) => Box::pin(arguments.run(session)).await,
            Self::Bus(arguments) => Box::pin(arguments.run(session)).await,
            Self::Status(arguments) => Box::pin(arguments.run(session)).await,
            Self::Doctor(arguments) => Box::pin(arguments.run(session)).await,
            Self::Registry(arguments) => Box::pin(arguments.run(session)).await,
            Self::Context(arguments) => arguments.run(session),
            Self::Kubesim(arguments) => Box::pin(arguments.run(session)).await,
            Self::Sim(arguments) => Box::pin(arguments.run(session)).await,
            Self::Completions(arguments) => arguments.run(),
            Self::Version(arguments) => arguments.run(session),
        }
    }
}
