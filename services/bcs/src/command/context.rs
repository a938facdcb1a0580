//! `bcs context`: the file of contexts, without an editor.

use std::path::PathBuf;

use bcs_schemas::Name;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    Failure,
    context::{Context, Contexts},
    output,
    session::Session,
    view::{or_dash, table},
};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List contexts; the current one has a star
    #[command(after_help = "Example:\n  bcs context list", alias = "ls")]
    List,
    /// Choose the context that is used when none is named
    #[command(after_help = "Example:\n  bcs context use local")]
    Use {
        /// The context
        name: String,
    },
    /// Add a context, or replace it
    #[command(
        after_help = "Example:\n  bcs context add prod --url tls://bus.example:4222 --ca ~/ca.pem --credentials ~/project-shop.nk --inbox _INBOX.project-shop --default-project shop"
    )]
    Add {
        /// The context
        name: String,
        /// Address of the bus; several, joined by commas, for a cluster
        #[arg(long)]
        url: String,
        /// File with an nkey seed, or credentials file
        #[arg(long, value_name = "FILE")]
        credentials: Option<PathBuf>,
        /// Certificates (PEM) of who may vouch for the bus; with them, only TLS is spoken
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// What inboxes begin with, when the bus allows no others
        #[arg(long, value_name = "PREFIX")]
        inbox: Option<String>,
        /// Site of the bus
        #[arg(long)]
        site: Option<Name>,
        /// Project that is meant when none is named
        #[arg(long = "default-project", value_name = "PROJECT")]
        default_project: Option<Name>,
    },
    /// Remove a context
    #[command(after_help = "Example:\n  bcs context remove prod", alias = "rm")]
    Remove {
        /// The context
        name: String,
    },
    /// Show the context that holds now, with what environment and options say instead
    #[command(after_help = "Example:\n  bcs context show -o yaml")]
    Show,
}

impl Arguments {
    pub(super) fn run(self, session: &Session) -> Result<(), Failure> {
        let path = session.config_path()?;
        let mut contexts = Contexts::load(&path)?;
        let (name, what) = match self.action {
            Action::List => return list(session, &contexts),
            Action::Show => return show(session),
            Action::Use { name } => {
                contexts.pick(Some(&name))?;
                contexts.current = Some(name.clone());
                (name, "is used from now on".to_owned())
            }
            Action::Add { name, url, credentials, ca, inbox, site, default_project } => {
                let absolute = |file: PathBuf| {
                    std::path::absolute(&file).map_err(|e| Failure::usage(format!("{}: {e}", file.display())))
                };
                let credentials = credentials.map(absolute).transpose()?;
                let ca = ca.map(absolute).transpose()?;
                let context = Context { url, credentials, ca, inbox, site, project: default_project };
                contexts.contexts.insert(name.clone(), context);
                contexts.current.get_or_insert_with(|| name.clone());
                (name, format!("is in {}", path.display()))
            }
            Action::Remove { name } => {
                contexts.pick(Some(&name))?;
                contexts.contexts.remove(&name);
                contexts.current = contexts.current.filter(|current| *current != name);
                (name, "was removed".to_owned())
            }
        };
        contexts.save(&path)?;
        say(session, &name, &what)
    }
}

fn say(session: &Session, name: &str, what: &str) -> Result<(), Failure> {
    if session.format().for_people() {
        output::line(format!("context {name} {what}"));
        return Ok(());
    }
    output::answer(session.format(), [name.to_owned()], &json!({ "context": name }))
}

fn list(session: &Session, contexts: &Contexts) -> Result<(), Failure> {
    if !session.format().for_people() {
        return output::answer(session.format(), contexts.contexts.keys().cloned(), contexts);
    }
    if contexts.contexts.is_empty() {
        output::note("there are no contexts: `bcs up` writes one, or use `bcs context add`");
        return Ok(());
    }
    let row = |(name, context): (&String, &Context)| {
        let star = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
        let project = or_dash(context.project.as_ref());
        vec![star.to_owned(), name.clone(), context.url.clone(), project, or_dash(context.site.as_ref())]
    };
    output::line(table(&["", "NAME", "URL", "PROJECT", "SITE"], contexts.contexts.iter().map(row)));
    Ok(())
}

fn show(session: &Session) -> Result<(), Failure> {
    let context = session.context()?;
    if !session.format().for_people() {
        return output::answer(session.format(), session.context_name()?, &context);
    }
    let bus = context.bus();
    output::line(format!("url          {}", bus.url));
    output::line(format!("site         {}", bus.site));
    output::line(format!("project      {}", session.project()?));
    output::line(format!("credentials  {}", or_dash(context.credentials.map(|p| p.display().to_string()))));
    output::line(format!("ca           {}", or_dash(context.ca.map(|p| p.display().to_string()))));
    output::line(format!("file         {}", session.config_path()?.display()));
    Ok(())
}
