//! `cargo xtask bench`: the measurements, with the programs that they measure.

use std::process::Command;

use anyhow::Result;

use crate::process::{self, say};
use crate::workspace::Workspace;

/// What to measure, and how to write it down.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// One figure, or all.
    pub(crate) name: Option<String>,
    /// JSON lines on standard output.
    pub(crate) json: bool,
    /// Fewer rounds.
    pub(crate) quick: bool,
}

/// Builds `adit` and the bench with optimisation, and runs the bench.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    say("building with optimisation; the first time takes minutes");
    process::run(
        workspace.cargo().args(["build", "--release", "-p", "adit-cli", "-p", "adit-bench"]),
        "mend what the compiler says",
    )?;
    let release = workspace.target.join("release");
    let mut bench = Command::new(release.join("adit-bench"));
    bench.args(&options.name).args(options.json.then_some("--json")).args(options.quick.then_some("--quick"));
    bench.env("ADIT_BIN", release.join("adit")).current_dir(&workspace.root);
    process::run(&mut bench, "see what the bench says above")
}
