//! `cargo xtask bench`: the measurements, with the programs that they measure.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::minilm;
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

/// What runs guests that are compiled, and no other program of ours.
const WITH_GUESTS: [&str; 4] = ["worker", "meter", "calibrate", OF_APPLICATIONS];
/// What runs neither.
const ALONE: [&str; 4] = ["ledger", "ledger_million", "gpu", OF_OPERATORS];

/// `cargo xtask calibrate --operators`.
pub(crate) const OF_OPERATORS: &str = "operators";

/// What is measured by the simulation's own program, which is built in a minute.
const OF_DISPATCH: &str = "dispatch";

/// What runs the applications of `examples/` as guests, and natively.
const OF_APPLICATIONS: &str = "apps";
/// The native programs, by their packages, as cargo is asked for them.
const NATIVE: [(&str, &[&str]); 5] = [
    ("adit-example-inference", &["--example=embed"]),
    ("adit-example-training", &["--example=gradient"]),
    ("adit-example-blockchain", &["--bin=blockchain-bench", "--example=batches"]),
    ("adit-example-analytics", &["--bin=analytics-bench", "--example=readings"]),
    ("adit-example-pathtracer", &["--example=tile"]),
];
/// Where the model is, for who has it already.
const MODEL_VARIABLE: &str = "ADIT_MINILM";

/// Builds the bench with optimisation, with it what it measures, and runs it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.name.as_deref() == Some(OF_DISPATCH) {
        return run_dispatch(workspace, options);
    }
    let is_one_of = |names: &[&str]| options.name.as_deref().is_some_and(|name| names.contains(&name));
    let with_guests = is_one_of(&WITH_GUESTS);
    let with_programs = !with_guests && !is_one_of(&ALONE);
    if with_guests {
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
    if is_one_of(&[OF_APPLICATIONS]) {
        build_native(workspace)?;
        bench.env("ADIT_NATIVE", workspace.target.join(wasm::PROFILE));
        bench.envs(model(workspace).map(|model| (MODEL_VARIABLE, model)));
    }
    process::run(&mut bench, "see what the bench says above")
}

/// Builds the applications for this machine, by the settings that guests have.
fn build_native(workspace: &Workspace) -> Result<()> {
    // One after the other: what they share would have the features that all of them ask for.
    for (package, targets) in NATIVE {
        let mut build = workspace.cargo();
        build.args(["build", "--profile", wasm::PROFILE, "-p", package]).args(targets);
        process::run(&mut build, "mend what the compiler says")?;
    }
    Ok(())
}

/// The folder of the model that is embedded with, where it is here or can be fetched.
fn model(workspace: &Workspace) -> Option<OsString> {
    let given = std::env::var_os(MODEL_VARIABLE);
    given.or_else(|| match minilm::fetch(workspace) {
        Ok(folder) => Some(folder.into()),
        Err(error) => {
            say(format!("{error:#}; so inference is measured with a model of 54 KB, as apps_inference_tiny"));
            None
        }
    })
}

fn run_dispatch(workspace: &Workspace, options: &Options) -> Result<()> {
    say("building with optimisation; the first time takes minutes");
    process::run(workspace.cargo().args(["build", "--release", "-p", "adit-sim"]), "mend what the compiler says")?;
    let mut bench = Command::new(workspace.target.join("release/adit-sim-bench"));
    bench.args(options.json.then_some("--json")).args(options.quick.then_some("--quick"));
    process::run(&mut bench, "see what the bench says above")
}
