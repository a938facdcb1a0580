//! `bcs registry purge`: what an installation left behind goes, and nothing of anybody else.

use std::collections::BTreeSet;

use bcs_schemas::adoption::{RegistryEntry, is_of};
use clap::Args;
use serde_json::json;

use super::{
    adopt::Sure,
    door::{Door, Which},
    show,
};
use crate::{Failure, output, session::Session};

#[derive(Debug, Args)]
pub(super) struct Purge {
    #[command(flatten)]
    which: Which,
    /// Whose entries go: eu1.sim-a.dns, or eu1 for all clusters and registries of that installation
    #[arg(long)]
    owner: String,
    #[command(flatten)]
    sure: Sure,
    /// Also if the sidecar of this owner is alive, which then writes its entries again
    #[arg(long)]
    force: bool,
}

impl Purge {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.owner.trim().is_empty() {
            return Err(Failure::usage("--owner is empty: expected one such as eu1.sim-a.dns or eu1"));
        }
        let door = Door::find(session, &self.which).await?;
        let page = door.entries().await?;
        if let Some(why) = &page.cannot_purge {
            return Err(Failure::failed(format!("nothing can be purged there: {why}")));
        }
        let its =
            |entry: &&RegistryEntry| entry.owner.as_ref().is_some_and(|owner| is_of(owner, &self.owner));
        let held = page.entries.iter().filter(|entry| entry.state.held());
        let gone: Vec<&RegistryEntry> = held.clone().filter(its).collect();
        let owners: BTreeSet<&str> = held.filter_map(|entry| entry.owner.as_deref()).collect();
        let meant: BTreeSet<&str> =
            owners.iter().copied().filter(|owner| is_of(owner, &self.owner)).collect();
        let meant = meant.into_iter().chain([self.owner.as_str(), page.owner.as_str()]);
        let meant = meant.filter(|owner| is_of(owner, &self.owner)).collect::<BTreeSet<_>>();
        if let [alive, ..] = &door.alive(&page.owner, meant.into_iter())[..]
            && !self.force
        {
            return Err(Failure::failed(format!(
                "{alive} is alive: its sidecar was heard of just now and would write everything again; stop it first, or say --force"
            )));
        }
        if session.format().for_people() {
            self.tell(&gone, &owners, page.entries.len());
        }
        let purged = match self.sure.yes {
            true => {
                door.purge(&self.owner, self.force, |removed| output::note(format!("{removed} removed")))
                    .await?
            }
            false => super::door::Purged::default(),
        };
        if !session.format().for_people() {
            let all = json!({
                "meant": gone, "removed": purged.removed, "marks": purged.marks, "kept": purged.kept,
                "dry_run": !self.sure.yes,
            });
            output::answer(session.format(), gone.iter().map(|entry| entry.place.clone()), &all)?;
        } else if self.sure.yes {
            output::line(format!("{} entries of {} were removed", purged.removed, self.owner));
            purged.marks.iter().for_each(|mark| output::line(format!("{mark} was removed")));
        }
        match purged.kept.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed(format!(
                "{} entries could not be removed:\n  {}",
                purged.kept.len(),
                purged.kept.join("\n  ")
            ))),
        }
    }

    fn tell(&self, gone: &[&RegistryEntry], owners: &BTreeSet<&str>, all: usize) {
        let owner = &self.owner;
        if gone.is_empty() {
            let owners: Vec<&str> = owners.iter().copied().collect();
            let named = if owners.is_empty() { "nobody".to_owned() } else { owners.join(", ") };
            output::note(format!("no entry says that it belongs to {owner}; there are entries of {named}"));
        } else {
            output::line(show::entries(gone.iter().copied()));
        }
        if !self.sure.yes {
            output::note(format!(
                "{} of {all} entries would go, and the marks of {owner} with them; nothing was removed: do it with --yes. Whether \
                 an installation with another bus is gone cannot be seen from here",
                gone.len()
            ));
        }
    }
}
