//! `cargo xtask test`: the guests, then every test.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::minilm;
use crate::process::{self, say};
use crate::strace;
use crate::strangers;
use crate::vulkan;
use crate::wasm;
use crate::workspace::Workspace;

/// Runs the doc tests and then all others, so that the last lines are those of the larger run. With `runner_args` only what
/// they select is run.
pub(crate) fn run(workspace: &Workspace, runner_args: &[OsString]) -> Result<()> {
    let guests = wasm::build_guests(workspace)?;
    wasm::build_templates(workspace)?;
    strangers::fetch(workspace)?;
    vulkan::set_up()?;
    let has_strace = strace::set_up()?;
    fetch_model(workspace);
    if runner_args.is_empty() {
        say("running the doc tests");
        process::run(
            with_guests(workspace.cargo().args(["test", "--doc", "--workspace"]), &guests),
            "mend the doc test that failed",
        )?;
    }
    let nextest = has_nextest(workspace);
    say(if nextest {
        "running the tests with cargo-nextest"
    } else {
        "running the tests with cargo test (cargo-nextest is not installed)"
    });
    let runner: &[&str] = if nextest { &["nextest", "run"] } else { &["test"] };
    let mut command = workspace.cargo();
    command.args(runner);
    strace::promise(&mut command, has_strace);
    if !names_packages(runner_args) {
        command.arg("--workspace");
    }
    process::run(
        with_guests(command.args(runner_args), &guests),
        "mend the test that failed; `cargo xtask test NAME` runs it alone",
    )
}

/// The model of the example `inference`, without which two tests have nothing to do. Whoever is offline runs all others.
fn fetch_model(workspace: &Workspace) {
    if let Err(error) = minilm::fetch(workspace) {
        say("WARNING: all-MiniLM-L6-v2 cannot be fetched, so that the tests of the real model are LEFT OUT");
        say(format!("{error:#}"));
    }
}

/// Tests find the compiled guests by this variable.
fn with_guests<'a>(command: &'a mut Command, guests: &Path) -> &'a mut Command {
    command.env("ADIT_GUESTS", guests)
}

fn has_nextest(workspace: &Workspace) -> bool {
    process::succeeds(workspace.cargo().args(["nextest", "--version"]))
}

fn names_packages(args: &[OsString]) -> bool {
    args.iter().any(|arg| arg == "-p" || arg.to_string_lossy().starts_with("--package"))
}
