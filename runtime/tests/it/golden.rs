//! The golden corpus: programs whose endings, outputs and bills stand in a file, and are the same under every compiler and in every
//! worker.

mod corpus;
mod deep;
pub(crate) mod engines;
mod generate;
mod oracle;
pub(crate) mod reference;
mod rows;

use std::path::{Path, PathBuf};

use adit_protocol::{Digest, Outcome};
use adit_runtime::lab::{Lab, OptLevel, Options, Program, Report, Strategy, UNITS_PER_FUEL, Weights, config};
use wasmtime::{Config, Engine};

use corpus::word;
use rows::{Differs, Rows, row};

pub(crate) use corpus::{Case, programs};
pub(crate) use oracle::prices;

/// Seeds of generated modules that are compared in a test run; with `ADIT_LONG` set, a hundred times as many.
const SEEDS: u64 = 600;

/// What accepts the present results as the right ones.
const BLESS: &str = "`ADIT_BLESS=1 ADIT_GUESTS=FOLDER cargo test -p adit-runtime --test it golden`";

/// Whether what takes minutes is to be run too.
pub(crate) fn is_long() -> bool {
    std::env::var_os("ADIT_LONG").is_some()
}

/// Whether results that differ from a golden file replace it.
pub(crate) fn blesses() -> bool {
    std::env::var_os("ADIT_BLESS").is_some()
}

/// A golden file's path.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A laboratory that keeps what it compiled last: several jobs of one module follow each other.
struct Runner {
    lab: Lab,
    options: Options,
    last: Option<(Digest, Program)>,
}

impl Runner {
    fn new(config: &Config) -> Self {
        Self { lab: Lab::new(config).unwrap(), options: Options::default(), last: None }
    }

    /// A laboratory in which a unit of the table costs a whole fuel, so that a bill hides none.
    fn unrounded(config: &Config) -> Self {
        let (weights, whole) = (Weights::standard(), UNITS_PER_FUEL as u32);
        let weights = Weights::by_class(|class| weights.units(class) * whole, |class| weights.latency(class) * whole);
        let options = Options { weights, ..Options::default() };
        Self { options, ..Self::new(config) }
    }

    fn run(&mut self, case: &Case) -> Report {
        let module = case.spec.module.digest;
        if self.last.as_ref().is_none_or(|(last, _)| *last != module) {
            let program = self.lab.compile(&case.wasm, &self.options);
            self.last = Some((module, program.unwrap_or_else(|error| panic!("{}: {error:?}", case.name))));
        }
        let (_, program) = self.last.as_ref().expect("a program was compiled");
        let named: Vec<&[u8]> = case.named.iter().map(Vec::as_slice).collect();
        let ran = self.lab.run_with(program, &case.spec, &case.input, &named);
        ran.unwrap_or_else(|error| panic!("{}: {error:?}", case.name))
    }
}

#[test]
fn generated_modules_do_the_same_with_a_meter_and_count_what_the_reference_counts() {
    let engine = Engine::new(&config(Strategy::Cranelift, OptLevel::None)).unwrap();
    let seeds = if is_long() { 100 * SEEDS } else { SEEDS };
    let (mut calls, mut traps) = (0, 0);
    for seed in 0..seeds {
        let Some(wasm) = generate::module(&generate::entropy(seed)) else { continue };
        let compared = oracle::check(&engine, &wasm, &Options::default());
        calls += u64::from(compared.calls);
        traps += u64::from(compared.traps);
    }
    assert!(calls > seeds / 2 && traps > seeds / 8, "{calls} calls and {traps} traps show little");
}

/// Every program there is, generated ones and guests in Rust among them.
#[test]
fn profiles_add_up_to_the_bills_and_change_nothing() {
    let mut plain = Runner::new(&engines::shipped());
    let profiling = Options { profile: true, ..Options::default() };
    let mut profiling = Runner { options: profiling, ..Runner::new(&engines::shipped()) };
    for case in programs() {
        let (wanted, mut report) = (plain.run(case), profiling.run(case));
        let profile = report.run.profile.take().unwrap_or_else(|| panic!("{}: no profile", case.name));
        report.run.run_us = wanted.run.run_us;
        assert_eq!(report, wanted, "{}", case.name);
        let nodes: u64 = profile.nodes.iter().map(|node| node.own_fuel).sum();
        let fuel = wanted.run.usage.fuel.0;
        assert_eq!((profile.fuel(), nodes), (fuel, fuel), "{}", case.name);
    }
}

#[test]
fn bills_are_the_same_under_every_compiler() {
    let mut shipped = Runner::unrounded(&engines::shipped());
    let wanted: Vec<String> = programs().map(|case| told(&shipped.run(case))).collect();
    let (mut wrong, mut excused) = (Vec::new(), Vec::new());
    for engine in engines::others() {
        let mut runner = Runner::unrounded(&engine.config);
        for (case, wanted) in programs().zip(&wanted) {
            let told = told(&runner.run(case));
            match engines::exception(&case.name, engine.name) {
                _ if told == *wanted => {}
                Some(exception) => {
                    println!("{} under {}: {}", case.name, engine.name, exception.reason);
                    excused.push(exception.program);
                }
                None => wrong.push(format!("{} under {}: {told}\n  elsewhere {wanted}", case.name, engine.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    for program in engines::EXCEPTIONS.iter().map(|exception| exception.program) {
        assert!(excused.contains(&program), "{program} is billed alike everywhere now; take it from the exceptions");
    }
}

/// All of a report that must not depend on how a job was compiled. The reason may: it names the function that trapped, which may be
/// part of another.
fn told(report: &Report) -> String {
    let Report { run, output, log } = report;
    format!("{:?} {:?} {} {}", run.outcome, run.usage, Digest::of(output), String::from_utf8_lossy(log))
}

#[test]
fn programs_end_as_the_table_says_and_are_billed_as_the_golden_file_says() {
    let known = Rows::read(&path(rows::FILE), adit_runtime::meter_id());
    assert!(known.is_this_meters() || blesses(), "{} holds another meter's bills; {BLESS} records this one's", rows::FILE);
    assert!(corpus::has_guests() || !blesses(), "the golden file has rows of the guests; set ADIT_GUESTS to their folder");
    let (mut runner, mut unrounded) = (Runner::new(&engines::shipped()), Runner::unrounded(&engines::shipped()));
    let mut new = Rows::of(adit_runtime::meter_id());
    for case in corpus::all() {
        let report = runner.run(case);
        check_ending(case, &report);
        if engines::is_billed_alike(&case.name) {
            let row = row(case, &report, &unrounded.run(case));
            compare(case, &known, &row);
            new.push(&case.name, &row);
        }
    }
    assert!(new.len() >= 150, "{}", new.len());
    if blesses() {
        new.write(&path(rows::FILE));
    }
}

fn check_ending(case: &Case, report: &Report) {
    let (outcome, used, limit) = (report.run.outcome, report.run.usage.fuel, case.spec.limits.fuel);
    if let Some(ends) = &case.ends {
        assert_eq!(word(outcome), *ends, "{}: {}", case.name, report.run.reason);
    }
    assert!(used <= limit, "{}: {used} of {limit}", case.name);
    assert_eq!(outcome == Outcome::OutOfFuel, used == limit, "{}", case.name);
}

fn compare(case: &Case, known: &Rows, row: &str) {
    match known.check(&case.name, row) {
        Ok(()) => {}
        Err(Differs::Billed(old)) => panic!(
            "{} was `{old}` and is now `{row}`: what changes an ending, an output or a bill needs a new meter version (VERSION in \
             runtime/src/meter.rs), and then {BLESS}",
            case.name
        ),
        Err(_) if blesses() => {}
        // Guests are built where the tests run, and not by one compiler everywhere.
        Err(Differs::Module) if case.is_guest => println!("{} is another build than the golden file's", case.name),
        Err(_) => panic!("{} is new or another program; {BLESS} records it", case.name),
    }
}
