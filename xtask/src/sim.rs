//! `cargo xtask sim`: dispatcher and ledger under seeded faults.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::process::{self, say};
use crate::workspace::Workspace;

/// Builds the simulation and runs it with `args`, which are its own to understand.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    say("building the simulation");
    process::run(workspace.cargo().args(["build", "--package", "adit-sim"]), "mend what the compiler says")?;
    run_built(workspace, args)
}

/// Runs it as it was built last, which is not by the features of its package alone where the whole workspace was built.
pub(crate) fn run_built(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let mut sim = Command::new(workspace.target.join("debug/adit-sim"));
    process::run(sim.args(args).current_dir(&workspace.root), "replay the seed that failed, by the command above")
}
