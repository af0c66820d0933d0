//! `cargo xtask ci`: exactly what continuous integration runs.

use anyhow::Result;

use crate::example::{self, Size};
use crate::fuzz;
use crate::process::{self, say};
use crate::sim;
use crate::test;
use crate::wasm;
use crate::workspace::Workspace;

/// Runs every check, the quick ones first; the first failure ends it.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    say("1 of 7: format");
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]), "`cargo fmt --all`")?;
    for manifest in ["fuzz/Cargo.toml", "examples/inference/kernels/Cargo.toml"] {
        let mend = format!("`cargo fmt --manifest-path {manifest}`");
        process::run(workspace.cargo().args(["fmt", "--manifest-path", manifest, "--check"]), &mend)?;
    }
    say("2 of 7: licences, sources and bans of dependencies");
    check_dependencies(workspace)?;
    fuzz::check_lock(workspace)?;
    std::thread::scope(|scope| {
        // They have folders of their own. Much of a standard library is compiled one crate after another, and leaves a processor idle.
        let guests = scope.spawn(|| wasm::build_guests(workspace));
        check_text(workspace)?;
        say("5 of 7: tests, once the guests are built");
        guests.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    test::run(workspace, &[])?;
    say("6 of 7: applications");
    example::run_all(workspace, Size::Quick)?;
    say("7 of 7: simulation");
    // The applications' programs were built with all others.
    sim::run_built(workspace, &[])
}

/// What needs no program to be run.
fn check_text(workspace: &Workspace) -> Result<()> {
    say("3 of 7: lints; the guests of the tests are built meanwhile");
    process::run(
        workspace.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        "mend what clippy says",
    )?;
    say("4 of 7: documents");
    process::run(
        workspace.cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
        "mend what rustdoc says",
    )
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
