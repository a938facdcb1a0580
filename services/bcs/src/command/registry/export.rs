//! `bcs registry export` and `diff`: what a registry holds, whose it is, and how it differs from what belongs there.

use bcs_schemas::adoption::{EntryState, RegistryEntry, RegistryPage};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    door::{Door, Which},
    list, show,
    verdict::{Word, judge, unlisted},
};
use crate::{Failure, failure::Exit, output, session::Session};

/// A list that other programs read.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// name,address,port,state,owner,instance,place
    Csv,
    /// As /etc/hosts
    Hosts,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
    /// Write a list of this form instead of what -o says
    #[arg(long, value_enum)]
    format: Option<Form>,
}

impl Export {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let door = Door::find(session, &self.which).await?;
        let page = door.entries().await?;
        say_blind(&page);
        let held = page.entries.iter().filter(|entry| entry.state.held());
        match self.format {
            Some(Form::Csv) => output::line(show::csv(held)),
            Some(Form::Hosts) => {
                let nameless = held.clone().filter(|e| e.address.is_none() || e.name.is_empty()).count();
                if nameless > 0 {
                    output::note(format!(
                        "{nameless} entries have no name or no address and are left out: see -o json"
                    ));
                }
                output::line(show::hosts(held));
            }
            None if session.format().for_people() => output::line(show::entries(held)),
            None => {
                let held: Vec<&RegistryEntry> = held.collect();
                return answer(session, &door, &page, &held);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Diff {
    #[command(flatten)]
    which: Which,
    /// Compare this list, kept by hand, with what BCS knows: hosts lines, CSV (name,address[,port]) or exported JSON; - is standard
    /// input
    #[arg(short = 'f', long = "file", value_name = "LIST")]
    file: Option<std::path::PathBuf>,
    /// Show what does not differ, too
    #[arg(long)]
    all: bool,
}

impl Diff {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let lines = self.file.as_deref().map(list::load).transpose()?;
        let door = Door::find(session, &self.which).await?;
        let page = door.entries().await?;
        say_blind(&page);
        let differs = match lines {
            Some(lines) => self.of_list(session, &page, &lines)?,
            None => self.of_wanted(session, &door, &page)?,
        };
        match differs {
            // As `diff` and `kubectl diff` end; everything was said.
            true => Err(Failure { exit: Exit::Failed, message: String::new() }),
            false => Ok(()),
        }
    }

    fn of_wanted(&self, session: &Session, door: &Door, page: &RegistryPage) -> Result<bool, Failure> {
        let shown = page.entries.iter().filter(|entry| self.all || entry.state != EntryState::Same);
        let shown: Vec<&RegistryEntry> = shown.collect();
        if !session.format().for_people() {
            answer(session, door, page, &shown)?;
        } else if !shown.is_empty() {
            output::line(show::entries(shown.iter().copied()));
        }
        let count = |state| page.entries.iter().filter(|entry| entry.state == state).count();
        let adoptable = count(EntryState::Adoptable);
        output::note(format!(
            "{} as they belong, {} changed, {} missing, {} extra, {adoptable} adoptable, {} of others",
            count(EntryState::Same),
            count(EntryState::Changed),
            count(EntryState::Missing),
            count(EntryState::Extra),
            count(EntryState::Foreign),
        ));
        if adoptable > 0 {
            match &page.cannot_adopt {
                Some(why) => output::note(format!("nothing can be adopted: {why}")),
                None => output::note(format!(
                    "see what would become ours: bcs registry adopt {} --cluster {}",
                    door.registry, door.cluster
                )),
            }
        }
        Ok(page.entries.iter().any(|entry| entry.state.differs()))
    }

    fn of_list(&self, session: &Session, page: &RegistryPage, lines: &[list::Line]) -> Result<bool, Failure> {
        let mut verdicts = judge(lines, &page.entries);
        verdicts.extend(unlisted(lines, &page.entries));
        let differs = verdicts.iter().any(|verdict| verdict.word != Word::Ours);
        let shown = verdicts.iter().filter(|verdict| self.all || verdict.word != Word::Ours);
        let shown: Vec<_> = shown.collect();
        if !session.format().for_people() {
            let names = shown.iter().filter_map(|verdict| verdict.line).map(|line| line.name.clone());
            output::answer(session.format(), names.collect::<Vec<_>>(), &shown)?;
        } else if !shown.is_empty() {
            output::line(show::verdicts(shown.into_iter()));
        }
        let ours = verdicts.iter().filter(|verdict| verdict.word == Word::Ours).count();
        output::note(format!("{ours} of {} lines are instances of ours that are registered", lines.len()));
        Ok(differs)
    }
}

/// What others wrote cannot be seen: then nobody should take silence for absence.
fn say_blind(page: &RegistryPage) {
    if let Some(why) = &page.blind {
        output::note(format!("only entries of ours are shown: {why}"));
    }
}

fn answer(
    session: &Session,
    door: &Door,
    page: &RegistryPage,
    entries: &[&RegistryEntry],
) -> Result<(), Failure> {
    let all = json!({
        "registry": door.registry, "cluster": door.cluster, "driver": page.driver, "owner": page.owner,
        "blind": page.blind, "entries": entries,
    });
    output::answer(session.format(), entries.iter().map(|entry| entry.place.clone()), &all)
}
