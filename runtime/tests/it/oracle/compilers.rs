//! The same module under each of the engine's compilers: the same results, and the same bill.

use adit_protocol::{BlobRef, ByteCount, Fuel, JobSpec, Outcome};
use adit_runtime::lab::{Lab, OptLevel, Options, Report, Strategy, Tier, config, instrument, tier_of};
use wasmtime::{Config, Engine};

use super::modules;
use super::subject::{End, Subject};

/// Units that all calls of a module have together.
const BUDGET: u64 = 4_000_000;
/// Functions of a module that are called.
const CALLS_MAX: usize = 16;

thread_local! {
    static ENGINES: Vec<(&'static str, Engine)> =
        configs().map(|(name, config)| (name, Engine::new(&config).expect("this machine runs guests"))).into();
    static LABS: std::cell::RefCell<Vec<(&'static str, Lab)>> =
        std::cell::RefCell::new(configs().map(|(name, config)| (name, Lab::new(&config).expect("this machine runs guests"))).into());
}

/// Nodes have the second.
fn configs() -> [(&'static str, Config); 4] {
    let mut pulley = config(Strategy::Cranelift, OptLevel::Speed);
    pulley.target("pulley64").expect("Pulley is built in").signals_based_traps(false);
    [
        ("cranelift none", config(Strategy::Cranelift, OptLevel::None)),
        ("cranelift speed", config(Strategy::Cranelift, OptLevel::Speed)),
        ("winch", config(Strategy::Winch, OptLevel::None)),
        ("pulley", pulley),
    ]
}

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compared {
    /// Calls of exported functions.
    pub(crate) calls: u32,
    /// Jobs.
    pub(crate) jobs: u32,
    /// What ended by a trap.
    pub(crate) traps: u32,
    /// What the meter stopped.
    pub(crate) stopped: u32,
}

/// The first byte says whether the others make a command, which is run as a job, or are those of [`modules::library`].
pub(crate) fn check(bytes: &[u8]) -> Compared {
    let Some((&how, rest)) = bytes.split_first() else { return Compared::default() };
    let compared = if how % 2 == 0 { run_job(rest) } else { call_all(rest) };
    compared.unwrap_or_default()
}

fn call_all(bytes: &[u8]) -> Option<Compared> {
    let wasm = modules::library(bytes)?;
    let metered = [Tier::Optimised, Tier::Baseline]
        .map(|tier| instrument(&wasm, &Options { tier, ..Options::default() }).expect("a valid module is metered"));
    let metered_for = |engine: &Engine| &metered[usize::from(tier_of(engine) == Tier::Baseline)];
    let mut compared = Compared::default();
    let mut subjects = Vec::new();
    let names = ENGINES.with(|engines| {
        subjects.extend(engines.iter().map(|(_, engine)| Subject::metered(engine, metered_for(engine), BUDGET)));
        engines.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    });
    let failed: Vec<_> = subjects.iter().map(|subject| subject.as_ref().err()).collect();
    assert!(
        !failed.contains(&Some(&Some(End::StackEnded))),
        "the native stack ended before the meter's limit under {names:?}: {failed:?}"
    );
    assert!(failed.iter().all(|one| *one == failed[0]), "instantiated under {names:?}: {failed:?}");
    let mut subjects: Vec<Subject> = subjects.into_iter().collect::<Result<_, _>>().ok()?;
    for (at, function) in subjects[0].functions().iter().take(CALLS_MAX).enumerate() {
        let ends: Vec<End> = subjects.iter_mut().map(|subject| subject.call(function, at as u64)).collect();
        assert!(
            !ends.contains(&End::StackEnded),
            "{function}: the native stack ended before the meter's limit under {names:?}: {ends:?}"
        );
        let seen: Vec<_> = subjects.iter_mut().map(|subject| (subject.units(), subject.state())).collect();
        for ((name, end), seen_here) in names.iter().zip(&ends).zip(&seen) {
            assert_eq!(*end, ends[0], "{function} under {name} against {}", names[0]);
            assert_eq!(*seen_here, seen[0], "{function}: units and state under {name} against {}", names[0]);
        }
        compared.calls += 1;
        match &ends[0] {
            End::Trapped(_) => compared.traps += 1,
            End::TooDeep => compared.stopped += 1,
            End::OverBudget => {
                compared.stopped += 1;
                break;
            }
            _ => {}
        }
    }
    Some(compared)
}

fn run_job(bytes: &[u8]) -> Option<Compared> {
    let wasm = modules::command(bytes)?;
    let spec = spec(&wasm);
    let mut reports = Vec::new();
    LABS.with_borrow_mut(|labs| {
        for (name, lab) in labs {
            let program = lab.compile(&wasm, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            reports.push((*name, lab.run(&program, &spec, b"input").unwrap_or_else(|error| panic!("{name}: {error:?}"))));
        }
    });
    for (name, report) in &reports {
        assert_eq!(told(report), told(&reports[0].1), "{name} against {}", reports[0].0);
    }
    let outcome = reports[0].1.run.outcome;
    Some(Compared {
        jobs: 1,
        traps: u32::from(matches!(outcome, Outcome::Trapped(_))),
        stopped: u32::from(outcome == Outcome::OutOfFuel),
        ..Compared::default()
    })
}

fn spec(wasm: &[u8]) -> JobSpec {
    let mut spec = JobSpec::new(BlobRef::of(wasm), BlobRef::of(b"input"));
    spec.limits.fuel = Fuel(1_000_000);
    spec.limits.memory = ByteCount(8 << 16);
    spec.limits.output = ByteCount(1 << 16);
    spec.limits.log = ByteCount(1 << 12);
    spec
}

/// All of a report that must not depend on the compiler.
fn told(Report { run, output, log }: &Report) -> impl PartialEq + std::fmt::Debug {
    (run.outcome, run.reason.clone(), run.usage, run.output_digest, run.log_dropped, output.clone(), log.clone())
}
