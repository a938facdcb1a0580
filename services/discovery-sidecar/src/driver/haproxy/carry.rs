//! Changes as a talk with HAProxy, in as few rounds as its answers allow: what does not depend on an answer is said at once.

use std::net::SocketAddr;

use super::{Inner, layout::weight, talk::Talk};
use crate::domain::{Change, Entry, Failure, Outcome, Place};

/// How far one change got.
enum Step {
    Ask(Vec<String>),
    /// Out of service, and connections to it are left: they may be idle.
    Connected,
    Ended(Outcome),
}

impl Step {
    fn commands(&self) -> &[String] {
        match self {
            Self::Ask(commands) => commands,
            Self::Connected | Self::Ended(_) => &[],
        }
    }
}

impl Inner {
    /// One outcome for each change.
    pub(super) async fn carry_out(
        &self,
        talk: &mut Talk,
        changes: &[Change],
    ) -> Result<Vec<Outcome>, Failure> {
        let mut steps: Vec<Step> = changes.iter().map(|change| self.first(change)).collect();
        for then in [Self::second, Self::last] {
            let commands: Vec<&[String]> = steps.iter().map(Step::commands).collect();
            let answers = talk.ask_each(&commands).await?;
            for ((change, step), answers) in changes.iter().zip(&mut steps).zip(answers) {
                if matches!(step, Step::Ask(_)) {
                    *step = then(self, change, &answers);
                }
            }
        }
        let connected = steps.iter().any(|step| matches!(step, Step::Connected));
        let connections = if connected { talk.ask("show servers conn").await? } else { String::new() };
        let outcomes = changes.iter().zip(steps).map(|(change, step)| match step {
            Step::Ended(outcome) => outcome,
            Step::Connected => self.connected(change.place(), &connections),
            Step::Ask(_) => Outcome::Again,
        });
        Ok(outcomes.collect())
    }

    fn first(&self, change: &Change) -> Step {
        match change {
            Change::Put { place, .. } if let Some(problem) = self.servers.problem(place) => {
                Step::Ended(Outcome::Refused(problem))
            }
            Change::Put { place, entry, .. } => {
                let (at, weight) = (SocketAddr::new(entry.address, entry.port), weight(entry));
                let add = format!("add server {place} {at} weight {weight} {}", self.settings.options);
                Step::Ask(vec![add.trim_end().to_owned()])
            }
            Change::Remove { place, .. } => {
                Step::Ask(vec![format!("set server {place} state maint"), format!("del server {place}")])
            }
        }
    }

    fn second(&self, change: &Change, answers: &[String]) -> Step {
        let answer = answers.last().map_or("", String::as_str);
        match change {
            Change::Put { place, entry, .. } => self.added(place, entry, answer),
            Change::Remove { place, .. } => self.deleted(place, answer),
        }
    }

    /// A new server rests; one that is there already is brought to what it should be.
    fn added(&self, place: &Place, entry: &Entry, answer: &str) -> Step {
        let ready = format!("set server {place} state ready");
        let checked = self.settings.options.split_whitespace().any(|word| word == "check");
        if answer.contains("Already exists") {
            let (address, port, weight) = (entry.address, entry.port, weight(entry));
            return Step::Ask(vec![
                format!("set server {place} addr {address} port {port}"),
                format!("set server {place} weight {weight}"),
                ready,
            ]);
        }
        if !answer.contains("registered") {
            return Step::Ended(Outcome::Refused(first_line(answer)));
        }
        // A new server's checks rest as well.
        Step::Ask(std::iter::once(ready).chain(checked.then(|| format!("enable health {place}"))).collect())
    }

    fn deleted(&self, place: &Place, answer: &str) -> Step {
        self.state().known.remove(place);
        if answer.contains("deleted") || answer.contains("No such server") {
            return Step::Ended(Outcome::Done(0));
        }
        match answer.contains("connections attached") {
            true => Step::Connected,
            false => Step::Ended(Outcome::Refused(first_line(answer))),
        }
    }

    fn last(&self, change: &Change, answers: &[String]) -> Step {
        if let Some(refused) = answers.iter().find(|answer| is_refusal(answer)) {
            return Step::Ended(Outcome::Refused(first_line(refused)));
        }
        if let Change::Put { place, digest, .. } = change {
            let mut state = self.state();
            state.leftover.remove(place);
            state.known.insert(place.clone(), *digest);
        }
        Step::Ended(Outcome::Done(0))
    }

    fn connected(&self, place: &Place, connections: &str) -> Outcome {
        let used = in_use(connections, place);
        if used > 0 {
            return Outcome::Waits(format!("{used} of its connections are in use"));
        }
        // Nothing comes to it any more; what is left are idle connections, which HAProxy closes by and by.
        self.state().leftover.insert(place.clone());
        Outcome::Done(0)
    }
}

/// What it says when it did what it was told is nothing, or that something changed or need not change.
fn is_refusal(answer: &str) -> bool {
    !answer.is_empty() && !answer.contains("changed from") && !answer.contains("no need to change")
}

/// What follows may be the help on every command.
fn first_line(answer: &str) -> String {
    answer.lines().next().unwrap_or_default().to_owned()
}

/// Column `used_cur` of `show servers conn`.
pub(super) fn in_use(text: &str, place: &str) -> u64 {
    let header = text.lines().next().unwrap_or_default().trim_start_matches("# ");
    let column = header.split(' ').position(|column| column == "used_cur");
    let row =
        text.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|row| row.first() == Some(&place));
    column.zip(row).and_then(|(column, row)| row.get(column)?.parse().ok()).unwrap_or_default()
}
