//! The command line: a thin client of the bus. What it does, any program can do with any NATS client.
//!
//! The way of a command: `cli` says what can be typed, `command/` has one file for each group of commands, `session`
//! knows context and connection, `view/` shows answers, and only `output` writes.

mod audit;
pub mod cli;
mod color;
pub mod command;
pub mod context;
pub mod credentials;
mod decisions;
mod doctor;
mod document;
mod failure;
mod file;
mod home;
#[doc(hidden)]
pub mod input;
mod login;
mod moment;
pub mod output;
mod plan;
mod progress;
mod selector;
pub mod session;
mod sim;
mod spelling;
#[cfg(feature = "up")]
pub mod up;
mod view;
mod wait;

use std::process::ExitCode;

use clap::Parser;

pub use cli::Cli;
pub use failure::{Exit, Failure};

/// Reads the command line, does it, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(spelling::apart(std::env::args_os()));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("no runtime: {error}")).report(),
    };
    let code = match runtime.block_on(cli.run()).and_then(|()| output::complete()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    };
    // A blocked read of standard input must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}
