//! Where the programs are that tests start. One that is missing is a failure that says what to do, never a skip.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The `bcs` that cargo built beside this program; another one when `BCS_BIN` names it.
pub fn bcs() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("BCS_BIN") {
        return Ok(named.into());
    }
    let me = std::env::current_exe().context("where this program lies is not known")?;
    let directory = me.parent().context("this program lies nowhere")?;
    // Tests lie in target/debug/deps, other programs in target/debug.
    let profile =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    let program = profile.join("bcs");
    if !program.is_file() {
        bail!(
            "{} does not exist: run `cargo build -p bcs-cli` (with the same profile) first",
            program.display()
        );
    }
    Ok(program)
}

/// Another program of ours, which lies beside `bcs`.
pub fn built(program: &str) -> Result<PathBuf> {
    let program = bcs()?.with_file_name(program);
    if !program.is_file() {
        bail!(
            "{} does not exist: run `cargo build --workspace --bins` (with the same profile) first",
            program.display()
        );
    }
    Ok(program)
}

/// A program of this machine: from the variable when it is set, else from PATH.
pub fn find(program: &str, variable: &str, install: &str) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file());
    found.with_context(|| format!("{program} is not on PATH: {install}, or name it in {variable}"))
}
