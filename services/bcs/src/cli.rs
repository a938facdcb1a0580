//! What can be typed.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser};

use crate::{Failure, command::Command, output, output::Format, session::Session};

const AFTER: &str = "\
Examples:
  bcs apply -f examples/shop.yaml --wait         bring up an application and watch it
  bcs scale app shop-web --replicas 8 --plan     what a command would do; every command that changes something has it
  bcs get apps                                   what there is
  bcs describe app shop-web                      how it is, and why it waits
  bcs events --follow                            what happens
  bcs publish bcs.cmd.deploy.local.demo.app.shop-web.scale '{\"replicas\": 3}'

Exit codes:
  0  done
  1  failed: it could not be done, or does not move on
  2  usage: the command line or a file is wrong; nothing was sent
  3  rejected: the platform refused it and says why
  4  timed out: not finished in time; the platform goes on without us
  130  Ctrl-C while waiting; the platform goes on without us";

/// Runs containers on many clusters, and keeps every registry right.
#[derive(Debug, Parser)]
#[command(name = "bcs", version, about, after_help = AFTER, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// How answers look
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
    /// Project (tenant); the one of the context when absent
    #[arg(
        short,
        long,
        global = true,
        env = "BCS_PROJECT",
        hide_env_values = true,
        alias = "namespace",
        short_alias = 'n'
    )]
    pub project: Option<String>,
    /// Look at all projects, whichever is chosen
    #[arg(short = 'A', long, global = true)]
    pub all_projects: bool,
    /// Context of the configuration file
    #[arg(long, global = true, env = "BCS_CONTEXT", hide_env_values = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Address of the bus, instead of the context's
    #[arg(long, global = true, env = "BCS_NATS_URL", hide_env_values = true, value_name = "URL")]
    pub nats: Option<String>,
    /// Write no colours
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Say more about what goes on; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// File that holds the contexts
    #[arg(long, global = true, env = "BCS_CONFIG", hide_env_values = true, hide = true)]
    pub config: Option<PathBuf>,
    /// Who asks, as it stands in the history
    #[arg(long, global = true, env = "USER", hide_env_values = true, hide = true)]
    pub actor: Option<String>,
}

impl Cli {
    /// Does what was typed.
    pub async fn run(self) -> Result<(), Failure> {
        if self.global.no_color {
            output::no_color();
        }
        self.command.run(&Session::new(self.global)).await
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_help_has_an_example() {
        Cli::command().debug_assert();
        fn look(command: &mut clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.render_long_help().to_string();
            let leaf = command.get_subcommands().next().is_none();
            assert!(!leaf || help.contains("Example"), "{path} has no example");
            for subcommand in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
                look(subcommand, &path);
            }
        }
        let mut command = Cli::command();
        command.build();
        look(&mut command, "");
    }

    #[test]
    fn what_is_wrong_on_the_command_line_is_a_usage_error() {
        for line in [
            "bcs",
            "bcs get nothing",
            "bcs get apps -o xml",
            "bcs scale app shop-web",
            "bcs apply",
            "bcs apply -f a.yaml --from-plan p.json",
            "bcs apply --from-plan p.json --plan",
            "bcs apply -f a.yaml --plan-file p.json --wait",
            "bcs restart app shop-web --plan --wait",
            "bcs publish bcs.cmd.x --plan --header a=b",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        for line in ["bcs --help", "bcs --version", "bcs get --help"] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).expect_err(line).exit_code(), 0, "{line}");
        }
    }
}
