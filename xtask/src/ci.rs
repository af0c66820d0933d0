//! `cargo xtask ci`: exactly what continuous integration runs.

use anyhow::Result;

use crate::fuzz;
use crate::process::{self, say};
use crate::sim;
use crate::test;
use crate::workspace::Workspace;

/// Runs every check, the quick ones first; the first failure ends it.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    say("1 of 6: format");
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]), "`cargo fmt --all`")?;
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml"];
    process::run(workspace.cargo().arg("fmt").args(fuzz).arg("--check"), "`cargo fmt --manifest-path fuzz/Cargo.toml`")?;
    say("2 of 6: licences, sources and bans of dependencies");
    check_dependencies(workspace)?;
    fuzz::check_lock(workspace)?;
    say("3 of 6: lints");
    process::run(
        workspace.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        "mend what clippy says",
    )?;
    say("4 of 6: documents");
    process::run(
        workspace.cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
        "mend what rustdoc says",
    )?;
    say("5 of 6: tests");
    test::run(workspace, &[])?;
    say("6 of 6: simulation");
    sim::run(workspace, &[])
}

fn check_dependencies(workspace: &Workspace) -> Result<()> {
    if !process::succeeds(workspace.cargo().args(["deny", "--version"])) {
        say("skipped: cargo-deny is not installed (`cargo install cargo-deny --locked` does it, in some minutes)");
        return Ok(());
    }
    say("advisories are skipped: they need the network (`cargo deny check advisories`)");
    process::run(
        workspace.cargo().args(["deny", "--offline", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]),
        "allow the licence or source in deny.toml with its reason, or choose another dependency",
    )
}
