//! `cargo xtask bench`: the measurements, with the programs that they measure.

use std::process::Command;

use anyhow::Result;

use crate::process::{self, say};
use crate::wasm;
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

/// What runs kernels as guests, and no other program of ours.
const WITH_KERNELS: [&str; 3] = ["worker", "meter", "calibrate"];
/// What runs neither.
const ALONE: [&str; 3] = ["ledger", "ledger_million", "gpu"];

/// What is measured by the simulation's own program, which is built in a minute.
const OF_DISPATCH: &str = "dispatch";

/// Builds the bench with optimisation, with it what it measures, and runs it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.name.as_deref() == Some(OF_DISPATCH) {
        return run_dispatch(workspace, options);
    }
    let is_one_of = |names: &[&str]| options.name.as_deref().is_some_and(|name| names.contains(&name));
    let with_kernels = is_one_of(&WITH_KERNELS);
    let with_programs = !with_kernels && !is_one_of(&ALONE);
    if with_kernels {
        wasm::build_guests(workspace)?;
    }
    say("building with optimisation; the first time takes minutes");
    let mut build = workspace.cargo();
    build.args(["build", "--release", "-p", "adit-bench"]).args(with_programs.then_some("-padit-cli"));
    process::run(&mut build, "mend what the compiler says")?;
    let release = workspace.target.join("release");
    let mut bench = Command::new(release.join("adit-bench"));
    bench
        .env("ADIT_GUESTS", workspace.guest_folder())
        .args(&options.name)
        .args(options.json.then_some("--json"))
        .args(options.quick.then_some("--quick"));
    bench.env("ADIT_BIN", release.join("adit")).current_dir(&workspace.root);
    process::run(&mut bench, "see what the bench says above")
}

fn run_dispatch(workspace: &Workspace, options: &Options) -> Result<()> {
    say("building with optimisation; the first time takes minutes");
    process::run(workspace.cargo().args(["build", "--release", "-p", "adit-sim"]), "mend what the compiler says")?;
    let mut bench = Command::new(workspace.target.join("release/adit-sim-bench"));
    bench.args(options.json.then_some("--json")).args(options.quick.then_some("--quick"));
    process::run(&mut bench, "see what the bench says above")
}
