//! `bcs completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, Failure, output};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bcs completions bash > /etc/bash_completion.d/bcs")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "bcs", &mut script);
        output::raw(&script);
        Ok(())
    }
}
