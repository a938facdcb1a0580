//! Plans: what commands would do, shown before anything is done, and done later exactly so or not at all.
//!
//! `wish` is a command on its way, `draft` asks the platform about it, `change` says what the answer means for the object
//! and `diff` where two texts differ (both pure), `document` keeps a plan, `apply` carries one out, `show` is for people.

mod apply;
mod change;
mod diff;
mod document;
mod draft;
mod show;
mod wish;

use std::path::PathBuf;

use clap::Args;

use crate::{
    Exit, Failure, output,
    session::{Session, short},
};

pub(crate) use self::{
    apply::carry_out,
    diff::{Line, diff},
    document::{Plan, Step},
    wish::Wish,
};

/// What every command that changes something takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Planning {
    /// Only say what would be decided: what changes in each object, and on which revision
    #[arg(long, alias = "dry-run")]
    plan: bool,
    /// The same, and keep the plan in a file for `bcs apply --from-plan`
    #[arg(long, value_name = "FILE")]
    plan_file: Option<PathBuf>,
}

impl Planning {
    /// Shows what would be decided, and keeps nothing.
    pub(crate) const fn to_look_at() -> Self {
        Self { plan: true, plan_file: None }
    }

    /// Whether only a plan is wanted.
    pub(crate) const fn wanted(&self) -> bool {
        self.plan || self.plan_file.is_some()
    }

    /// Makes a plan of these wishes, each on its own, and shows it. A wish that would be rejected fails the whole, and no
    /// file is written.
    pub(crate) async fn make(
        &self,
        session: &Session,
        client: &bcs_client::Client,
        wishes: Vec<Wish>,
    ) -> Result<(), Failure> {
        let plan = draft::draft(client, &session.actor(), wishes).await?;
        if session.format().for_people() {
            output::line(show::text(&plan)?);
        } else {
            let names = plan.commands.iter().map(|step| short(&step.wish.object));
            output::answer(session.format(), names, &plan)?;
        }
        let refused: Vec<String> = plan.refusals().map(|failure| failure.message).collect();
        if !refused.is_empty() {
            refused.iter().for_each(|message| output::error(message));
            return Err(Failure { exit: Exit::Rejected, message: String::new() });
        }
        if let Some(path) = &self.plan_file {
            plan.save(path)?;
            if session.format().for_people() {
                output::note(format!("kept: bcs apply --from-plan {}", path.display()));
            }
        }
        Ok(())
    }
}

/// Words in a document for what reads back from words.
mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
