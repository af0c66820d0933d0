//! `cargo xtask sim`: dispatcher and ledger under seeded faults.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, say};
use crate::workspace::Workspace;

/// What the simulation ends with where it did not understand its command line, and where no seed failed and states were never reached.
const MISUSED: i32 = 2;
const MISSED: i32 = 3;

/// Builds the simulation and runs it with `args`, which are its own to understand.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    say("building the simulation");
    process::run(workspace.cargo().args(["build", "--package", "adit-sim"]), "mend what the compiler says")?;
    run_built(workspace, args)
}

/// Runs it as it was built last, which is not by the features of its package alone where the whole workspace was built.
pub(crate) fn run_built(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let line = args.iter().fold("adit-sim".to_owned(), |line, arg| line + " " + &arg.to_string_lossy());
    say(format!("$ {line}"));
    let mut sim = Command::new(workspace.target.join("debug/adit-sim"));
    let status = sim.args(args).current_dir(&workspace.root).status();
    let status = status.with_context(|| format!("`{line}` does not start; next: `cargo build --package adit-sim`"))?;
    let next = match status.code() {
        Some(0) => return Ok(()),
        // It has said what is wrong.
        Some(MISUSED) => std::process::exit(MISUSED),
        Some(MISSED) => "see what keeps the seeds from the states above, or run more of them",
        _ => "replay the seed that failed, by the command above",
    };
    bail!("`{line}` failed ({}); next: {next}", process::describe(status))
}
