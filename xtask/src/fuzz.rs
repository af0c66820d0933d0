//! `cargo xtask fuzz`: the fuzz targets, with their seeds.

use anyhow::{Context, Result, bail};

use crate::process::{self, say};
use crate::workspace::Workspace;

/// The targets in `fuzz/fuzz_targets/`.
const TARGETS: [&str; 11] =
    ["frame", "receipt", "leaf", "checkpoint", "ledger", "log", "ipc", "admission", "host_calls", "meter", "compilers"];
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
    let targets: Vec<&str> = match &options.target {
        None => TARGETS.to_vec(),
        Some(name) => match TARGETS.iter().find(|target| *target == name) {
            Some(target) => vec![target],
            None => bail!("`{name}` is no fuzz target; there are {}", TARGETS.join(", ")),
        },
    };
    if options.check {
        return check(workspace);
    }
    if !process::succeeds(workspace.cargo().args(["fuzz", "--version"])) {
        bail!("cargo-fuzz is not installed; next: `rustup toolchain install nightly` and `cargo install cargo-fuzz --locked`");
    }
    say("writing the seeds, and trying them");
    let corpus = workspace.root.join("fuzz/corpus");
    for package in ["adit-ledger", "adit-tlog", "adit-runtime"] {
        let mut seeds = workspace.cargo();
        seeds.args(["test", "--package", package, "--test", "it", "fuzzing::"]).env("ADIT_FUZZ_CORPUS", &corpus);
        process::run(&mut seeds, "mend the oracle or the seed that failed")?;
    }
    for target in targets {
        std::fs::create_dir_all(corpus.join(target)).context("fuzz/corpus cannot be written")?;
        let seconds = options.seconds.unwrap_or(SECONDS_DEFAULT);
        say(format!("fuzzing `{target}` for {seconds} s; the first build takes many minutes"));
        // As `cargo +nightly`, which only rustup's own `cargo` understands.
        let mut fuzz = std::process::Command::new("rustup");
        fuzz.current_dir(&workspace.root).args(["run", "nightly", "cargo", "fuzz", "run", "-O", target]);
        fuzz.args(["--".to_owned(), format!("-max_total_time={seconds}")]);
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
