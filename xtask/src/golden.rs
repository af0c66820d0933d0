//! `cargo xtask golden`: the golden corpus in release code.

use anyhow::Result;

use crate::process::{self, say};
use crate::wasm;
use crate::workspace::Workspace;

/// What is run: modules of the runtime's tests, and of its unit tests.
const TESTS: [&str; 3] = ["golden::", "determinism::", "admission::"];

/// Builds the runtime's tests with optimisation, and runs those that a build's optimisation must not change, or that are judged by time only
/// there.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let guests = wasm::build_guests(workspace)?;
    say("building the runtime's tests with optimisation: some fifteen minutes on two cores, the first time");
    let mut command = workspace.cargo();
    command.args(["test", "--release", "--package", "adit-runtime", "--lib", "--test", "it", "--"]).args(TESTS);
    process::run(
        command.env("ADIT_GUESTS", guests),
        "where a row of runtime/tests/golden.txt differs, release code bills otherwise than the code that the file was made with: mend it",
    )
}
