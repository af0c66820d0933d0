//! `cargo xtask conformance`: other people's tests against the runtime.

use std::ffi::OsString;

use anyhow::Result;

use crate::process;
use crate::workspace::Workspace;

/// What to run, and under what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The engine's compiler; without it, each of the product's.
    pub(crate) compiler: Option<String>,
    /// How hard it optimises; without it, as the product's does.
    pub(crate) opt_level: Option<String>,
    /// A checkout of wasi-testsuite.
    pub(crate) wasi_testsuite: Option<OsString>,
}

/// Builds the harness and runs it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--package", "adit-conformance", "--"]);
    for (name, value) in [("--compiler", &options.compiler), ("--opt-level", &options.opt_level)] {
        command.args(value.iter().flat_map(|value| [name, value.as_str()]));
    }
    if let Some(checkout) = &options.wasi_testsuite {
        // Cargo runs in the workspace's root, wherever xtask was started.
        command.arg("--wasi-testsuite").arg(std::path::absolute(checkout)?);
    }
    process::run(&mut command, "mend what failed, or give its reason in conformance/skips.toml")
}
