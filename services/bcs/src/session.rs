//! What a command works with: the context that was chosen, and the connection when it needs one.

use std::{path::PathBuf, time::Duration};

use bcs_client::Client;
use bcs_kit::{
    bus::BusConfig,
    telemetry::{self, TelemetryConfig},
};
use bcs_schemas::{
    Name,
    outcome::{Accepted, Outcome},
    subject::Target,
};

use crate::{
    Failure,
    cli::Global,
    context::{self, Context, Contexts},
    login,
    output::Format,
};

/// How long a command may wait to be decided. Waiting for its effect is another matter.
pub const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// Everything that holds for one command line.
pub struct Session {
    global: Global,
}

impl Session {
    /// A session of these options.
    pub const fn new(global: Global) -> Self {
        Self { global }
    }

    /// How answers look.
    pub const fn format(&self) -> Format {
        self.global.output
    }

    /// Where contexts lie.
    pub fn config_path(&self) -> Result<PathBuf, Failure> {
        let path = self.global.config.clone().or_else(context::standard_path);
        path.ok_or_else(|| Failure::usage("there is no home directory: name a file with $BCS_CONFIG"))
    }

    /// The context that was chosen, with what the command line says instead.
    pub fn context(&self) -> Result<Context, Failure> {
        let mut context = Contexts::load(&self.config_path()?)?.pick(self.chosen_context())?;
        if let Some(url) = self.global.nats.as_ref().filter(|url| !url.is_empty()) {
            context.url.clone_from(url);
        }
        // An empty variable is none, as for the others.
        if let Some(project) = self.global.project.as_ref().filter(|project| !project.is_empty()) {
            let project = Name::new(project).map_err(|e| Failure::usage(format!("project: {e}")))?;
            context.project = Some(project);
        }
        Ok(context)
    }

    /// Name of the context that holds, if there is one.
    pub fn context_name(&self) -> Result<Option<String>, Failure> {
        match self.chosen_context() {
            Some(name) => Ok(Some(name.to_owned())),
            None => Ok(Contexts::load(&self.config_path()?)?.current),
        }
    }

    fn chosen_context(&self) -> Option<&str> {
        self.global.context.as_deref().filter(|name| !name.is_empty())
    }

    /// The project that is meant when a document or a command names none.
    pub fn project(&self) -> Result<Name, Failure> {
        match self.context()?.project {
            Some(project) => Ok(project),
            None => Name::new("demo").map_err(|e| Failure::usage(e.to_string())),
        }
    }

    /// The project to look at; none for all of them.
    pub fn scope(&self) -> Result<Option<Name>, Failure> {
        if self.global.all_projects { Ok(None) } else { self.project().map(Some) }
    }

    /// Who asks, as far as the machine knows.
    pub fn actor(&self) -> String {
        let given = self.global.actor.as_deref().map(str::trim).filter(|actor| !actor.is_empty());
        given.map_or_else(login::name, ToOwned::to_owned)
    }

    /// Logs go to standard error, errors only unless more was asked for.
    pub fn log(&self) -> Result<telemetry::Guard, Failure> {
        let log = match self.global.verbose {
            0 => "error",
            1 => "info",
            _ => "debug",
        };
        let config = TelemetryConfig { log: log.to_owned(), ..TelemetryConfig::default() };
        telemetry::init(&config, "cli").map_err(|e| Failure::failed(e.to_string()))
    }

    /// A connection to the bus.
    pub async fn connect(&self) -> Result<Client, Failure> {
        self.connect_with(|_| ()).await
    }

    /// A connection with other settings than the context has.
    pub async fn connect_with(&self, change: impl FnOnce(&mut BusConfig)) -> Result<Client, Failure> {
        let mut bus = self.context()?.bus();
        change(&mut bus);
        Client::connect(&bus, "cli").await.map_err(|error| {
            let mut failure = Failure::from(error);
            failure.message.push_str(&format!(
                "\n  tried {}; choose another with --nats or `bcs context use`",
                bcs_kit::bus::without_password(&bus.url)
            ));
            failure
        })
    }
}

/// What was accepted, or the refusal as a failure.
pub fn accepted(target: &Target, outcome: Outcome) -> Result<Accepted, Failure> {
    match outcome {
        Outcome::Accepted(accepted) => Ok(accepted),
        Outcome::Rejected(rejected) => Err(Failure::rejected(&short(target), &rejected)),
    }
}

/// `app/shop-web`.
pub fn short(target: &Target) -> String {
    format!("{}/{}", target.kind, target.name)
}

/// The target `name` of `kind` in `project`.
pub fn target(project: &Name, kind: &str, name: &Name) -> Target {
    bcs_kit::machine::target(project, kind, name)
}
