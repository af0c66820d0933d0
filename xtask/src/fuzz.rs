//! `cargo xtask fuzz`: the fuzz targets, with their seeds.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::process::{self, say};
use crate::workspace::Workspace;

/// The targets in `fuzz/fuzz_targets/`, each with the package whose tests make its seeds.
const TARGETS: [(&str, Option<&str>); 11] = [
    ("frame", None),
    ("receipt", None),
    ("leaf", Some("adit-ledger")),
    ("checkpoint", Some("adit-ledger")),
    ("ledger", Some("adit-ledger")),
    ("log", Some("adit-tlog")),
    ("ipc", Some(ENGINE)),
    ("admission", Some(ENGINE)),
    ("host_calls", Some(ENGINE)),
    ("meter", Some(ENGINE)),
    ("compilers", Some(ENGINE)),
];
/// Whose targets need the engine, which takes most of the time that a build takes.
const ENGINE: &str = "adit-runtime";
/// Long enough to see that a target works; hours find more.
const SECONDS_DEFAULT: u64 = 600;

/// What to run, and for how long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// One target, or each in turn.
    pub(crate) target: Option<String>,
    /// For each target.
    pub(crate) seconds: Option<u64>,
    /// Only whether they compile.
    pub(crate) check: bool,
}

/// The fuzz crate is a workspace of its own, which no other command compiles.
const MANIFEST: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];

/// Writes the seeds into `fuzz/corpus/`, and runs targets from there.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| options.target.as_ref().is_none_or(|asked| asked == name)).collect();
    if targets.is_empty() {
        let asked = options.target.as_deref().unwrap_or_default();
        bail!("`{asked}` is no fuzz target; there are {}", TARGETS.map(|(name, _)| name).join(", "));
    }
    if options.check {
        return check(workspace);
    }
    if !process::succeeds(workspace.cargo().args(["fuzz", "--version"])) {
        bail!("cargo-fuzz is not installed; next: `rustup toolchain install nightly` and `cargo install cargo-fuzz --locked`");
    }
    say("writing the seeds, and trying them");
    let corpus = workspace.root.join("fuzz/corpus");
    for package in targets.iter().filter_map(|(_, package)| *package).collect::<BTreeSet<_>>() {
        let mut seeds = workspace.cargo();
        seeds.args(["test", "--package", package, "--test", "it", "fuzzing::"]).env("ADIT_FUZZ_CORPUS", &corpus);
        process::run(&mut seeds, "mend the oracle or the seed that failed")?;
    }
    for (target, package) in targets {
        std::fs::create_dir_all(corpus.join(target)).context("fuzz/corpus cannot be written")?;
        let seconds = options.seconds.unwrap_or(SECONDS_DEFAULT);
        say(format!("fuzzing `{target}` for {seconds} s; the first build takes minutes, many where it has the engine"));
        // As `cargo +nightly`, which only rustup's own `cargo` understands.
        let mut fuzz = std::process::Command::new("rustup");
        fuzz.current_dir(&workspace.root).args(["run", "nightly", "cargo", "fuzz", "run", "-O"]);
        fuzz.args((*package != Some(ENGINE)).then_some("--no-default-features")).arg(target);
        fuzz.args(["--".to_owned(), format!("-max_total_time={seconds}")]);
        if std::env::var_os("ASAN_OPTIONS").is_none() {
            // What is freed is kept back, 256 MiB of it as a rule, and then let go at once: an oracle that counts touched memory takes that for its job's.
            fuzz.env("ASAN_OPTIONS", "quarantine_size_mb=16");
        }
        process::run(&mut fuzz, "the input that failed is named above: mend the cause, and add it to fuzz/seeds")?;
    }
    Ok(())
}

/// Whether the targets compile, with the compiler and the versions of everything else, and without coverage.
fn check(workspace: &Workspace) -> Result<()> {
    say("compiling the fuzz targets, which takes some minutes the first time");
    let mut check = workspace.cargo();
    check.args(["clippy", "--locked"]).args(MANIFEST).args(["--", "-D", "warnings"]);
    process::run(&mut check, "mend the target that does not compile")
}

/// Whether the fuzz crate knows of every dependency that the others have; takes seconds.
pub(crate) fn check_lock(workspace: &Workspace) -> Result<()> {
    process::run(
        workspace.cargo().args(["update", "--quiet", "--workspace", "--locked"]).args(MANIFEST),
        "`cargo update --workspace --manifest-path fuzz/Cargo.toml`, then `cargo xtask fuzz --check`",
    )
}
