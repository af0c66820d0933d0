//! `adit-conformance`: runs the suites and prints counts. `cargo xtask conformance` builds and starts it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use adit_conformance::prepare::{Metering, Prepare};
use adit_conformance::report::SpecReport;
use adit_conformance::script::Runner;
use adit_conformance::skips::Skips;
use adit_conformance::suite::{COMPILERS, Compiler};
use adit_conformance::{suite, wasi};
use adit_runtime::lab::tier_of;
use adit_runtime::{WorkerProgram, conformance};
use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt};
use wasmtime::OptLevel;

/// Programs of ours in the layout of wasi-testsuite.
const OWN_WASI_TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wasi");

fn main() -> ExitCode {
    adit_runtime::run_if_worker();
    match Options::parse(lexopt::Parser::from_env()).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("adit-conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    /// One of them, or all that nodes of this machine have.
    compiler: Option<Compiler>,
    level: OptLevel,
    /// A checkout of wasi-testsuite.
    wasi_testsuite: Option<PathBuf>,
}

impl Options {
    fn parse(mut args: lexopt::Parser) -> Result<Self> {
        let mut options = Self { compiler: None, level: OptLevel::Speed, wasi_testsuite: None };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("compiler") => options.compiler = Some(compiler(&args.value()?.string()?)?),
                Arg::Long("opt-level") => options.level = level(&args.value()?.string()?)?,
                Arg::Long("wasi-testsuite") => options.wasi_testsuite = Some(args.value()?.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

fn compiler(name: &str) -> Result<Compiler> {
    let known = COMPILERS.iter().copied().find(|compiler| compiler.name == name);
    known.with_context(|| format!("`{name}` is no compiler of nodes on this machine"))
}

fn level(name: &str) -> Result<OptLevel> {
    Ok(match name {
        "none" => OptLevel::None,
        "speed" => OptLevel::Speed,
        "speed-and-size" => OptLevel::SpeedAndSize,
        _ => bail!("`{name}` is no level of optimisation; there are none, speed and speed-and-size"),
    })
}

/// Runs everything; whether all is as it should be.
fn run(options: &Options) -> Result<bool> {
    let skips = Skips::load().context("skips.toml cannot be read")?;
    let mut spec_is_clean = true;
    for compiler in COMPILERS.iter().copied().filter(|one| options.compiler.is_none_or(|wanted| wanted == *one)) {
        spec_is_clean &= run_spec(compiler, options.level, &skips)?;
    }
    let mut wasi_is_clean = run_wasi(Path::new(OWN_WASI_TESTS), &skips)?;
    match &options.wasi_testsuite {
        Some(checkout) => wasi_is_clean &= run_wasi(checkout, &skips)?,
        None => println!("wasi-testsuite itself is in no registry: `--wasi-testsuite PATH` runs it from a checkout"),
    }
    Ok(spec_is_clean && wasi_is_clean)
}

fn run_spec(compiler: Compiler, level: OptLevel, skips: &Skips) -> Result<bool> {
    let engine = conformance::engine(compiler.strategy, level, suite::INSTANCES_MAX);
    let engine = engine.map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let prepare: &dyn Prepare = &Metering { tier: tier_of(&engine) };
    println!("WebAssembly's specification tests: {}, {}, {level:?}\n", prepare.name(), compiler.name);
    let judgement = skips.judge(compiler.name, &suite::run(Runner { engine: &engine, prepare }));
    println!("{}", SpecReport { skips, judgement: &judgement });
    Ok(judgement.is_clean())
}

fn run_wasi(root: &Path, skips: &Skips) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(wasi::run(root, WorkerProgram::this_binary(), &skips.wasi))?;
    println!("{report}");
    Ok(report.failures.is_empty())
}
