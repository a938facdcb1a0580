//! `bcs registry adopt` and `import`: entries of others that are what an instance of ours needs become ours.

use std::net::IpAddr;

use bcs_schemas::{
    Name,
    adoption::{Adopted, EntryState, RegistryEntry, RegistryPage},
};
use clap::Args;
use serde_json::json;

use super::{
    door::{Door, Which},
    list, show,
    verdict::{Word, judge},
};
use crate::{Failure, output, session::Session};

/// Whether it is done, or only shown.
#[derive(Debug, Args)]
pub(super) struct Sure {
    /// Do it; without this it is only shown
    #[arg(long)]
    pub(super) yes: bool,
    /// Only show what would be done, which is what happens without --yes
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Adopt {
    #[command(flatten)]
    which: Which,
    /// Only entries of this application: PROJECT/APP
    #[arg(long, value_name = "P/A", value_parser = app)]
    app: Option<(Name, Name)>,
    /// Only entries with one of these addresses
    #[arg(long, num_args = 1..)]
    address: Vec<IpAddr>,
    /// Take entries that say they belong to OWNER, who has to be gone for good; without this only those that say so of nobody
    #[arg(long, value_name = "OWNER")]
    from: Option<String>,
    #[command(flatten)]
    sure: Sure,
}

fn app(text: &str) -> Result<(Name, Name), String> {
    let (project, app) = text.split_once('/').ok_or("expected PROJECT/APP, such as shop/web")?;
    let name = |text| Name::new(text).map_err(|e| e.to_string());
    Ok((name(project)?, name(app)?))
}

impl Adopt {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let door = Door::find(session, &self.which).await?;
        let page = door.entries().await?;
        able(&page)?;
        if let Some(from) = &self.from
            && let [alive, ..] = &door.alive(&page.owner, std::iter::once(from.as_str()))[..]
        {
            return Err(Failure::failed(format!(
                "the sidecar of {alive} is alive and would write its entries again: stop it before its entries are taken"
            )));
        }
        let meant: Vec<&RegistryEntry> = page.entries.iter().filter(|entry| self.means(entry)).collect();
        let unmet: Vec<IpAddr> =
            self.address.iter().copied().filter(|a| !meant.iter().any(|e| e.address == Some(*a))).collect();
        for address in &unmet {
            let there = page.entries.iter().find(|entry| entry.address == Some(*address));
            let what = there.map_or_else(
                || "neither the registry nor an instance has it".to_owned(),
                |entry| match &entry.note {
                    Some(note) => format!("it is {}: {note}", entry.state),
                    None => format!("it is {}", entry.state),
                },
            );
            output::note(format!("{address} is not adopted: {what}"));
        }
        let taken = take(session, &door, &meant, self.from.as_deref(), self.sure.yes).await;
        match unmet.is_empty() {
            true => taken,
            false => taken.and_then(|()| Err(Failure::failed("not every address could be adopted"))),
        }
    }

    fn means(&self, entry: &RegistryEntry) -> bool {
        let Some(instance) = &entry.instance else { return false };
        let mut parts = instance.split('.').skip(1);
        let its = (parts.next(), parts.next());
        let theirs = self.from.is_some() && entry.owner == self.from && entry.state == EntryState::Foreign;
        (entry.state == EntryState::Adoptable || theirs)
            && self
                .app
                .as_ref()
                .is_none_or(|(project, app)| its == (Some(project.as_str()), Some(app.as_str())))
            && (self.address.is_empty()
                || entry.address.is_some_and(|address| self.address.contains(&address)))
    }
}

#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    file: list::File,
    #[command(flatten)]
    sure: Sure,
}

impl Import {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let lines = list::load(&self.file.file)?;
        let door = Door::find(session, &self.which).await?;
        let page = door.entries().await?;
        able(&page)?;
        let verdicts = judge(&lines, &page.entries);
        let others = verdicts.iter().filter(|verdict| verdict.word != Word::Adoptable);
        let others: Vec<_> = others.collect();
        if session.format().for_people() && !others.is_empty() {
            output::line(show::verdicts(others.iter().copied()));
            output::note(format!(
                "{} of {} lines stay as they are; nothing that is not an instance of ours is written, and nothing deleted",
                others.len(),
                lines.len()
            ));
        }
        let mut meant: Vec<&RegistryEntry> = Vec::new();
        for verdict in verdicts.iter().filter(|verdict| verdict.word == Word::Adoptable) {
            meant.extend(verdict.entry.filter(|entry| !meant.iter().any(|other| other.place == entry.place)));
        }
        if !session.format().for_people() {
            let outcomes = match self.sure.yes {
                true => door.adopt(&meant, None, |_| ()).await?,
                false => Vec::new(),
            };
            let names = meant.iter().map(|entry| entry.place.clone());
            let all = json!({ "lines": verdicts, "adopted": outcomes, "dry_run": !self.sure.yes });
            output::answer(session.format(), names, &all)?;
            return refused(&outcomes);
        }
        take(session, &door, &meant, None, self.sure.yes).await
    }
}

fn able(page: &RegistryPage) -> Result<(), Failure> {
    match &page.cannot_adopt {
        None => Ok(()),
        Some(why) => Err(Failure::failed(format!("nothing can be adopted there: {why}"))),
    }
}

/// Shows what is meant and, if it is wanted, does it.
async fn take(
    session: &Session,
    door: &Door,
    meant: &[&RegistryEntry],
    from: Option<&str>,
    yes: bool,
) -> Result<(), Failure> {
    let people = session.format().for_people();
    if people && !meant.is_empty() {
        output::line(show::entries(meant.iter().copied()));
    }
    if meant.is_empty() {
        output::note("there is nothing to adopt: see bcs registry diff");
    }
    let outcomes = match yes && !meant.is_empty() {
        true => {
            let all = meant.len();
            door.adopt(meant, from, |done| {
                if done < all {
                    output::note(format!("{done} of {all}"));
                }
            })
            .await?
        }
        false => Vec::new(),
    };
    if !people {
        let all = json!({ "meant": meant, "adopted": outcomes, "dry_run": !yes });
        output::answer(session.format(), meant.iter().map(|entry| entry.place.clone()), &all)?;
    } else if !yes && !meant.is_empty() {
        output::note(format!("{} would become ours; nothing was changed: do it with --yes", meant.len()));
    } else if yes && !meant.is_empty() {
        let taken = outcomes.iter().filter(|outcome| outcome.refused.is_none()).count();
        output::line(format!("{taken} of {} are ours now", meant.len()));
    }
    refused(&outcomes)
}

fn refused(outcomes: &[Adopted]) -> Result<(), Failure> {
    let refused: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {}", outcome.place, outcome.refused.as_ref()?)))
        .collect();
    match refused.is_empty() {
        true => Ok(()),
        false => {
            Err(Failure::failed(format!("{} were not adopted:\n  {}", refused.len(), refused.join("\n  "))))
        }
    }
}
