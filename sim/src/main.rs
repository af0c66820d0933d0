//! `cargo xtask sim`: many seeds, or one.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use adit_sim::{Campaign, Fault, Plan, Point, Progress, Reduction, Report, Summary, record_panics, run, run_many, shrink};
use anyhow::Result;
use lexopt::{Arg, ValueExt};

/// Seeds that are run where nothing else is said: what continuous integration runs.
const SEEDS_DEFAULT: u64 = 1_000;

/// From so many seeds on, each point must be hit.
const SEEDS_FOR_POINTS: u64 = 1_000;

/// Failed seeds that are named.
const FAILURES_TOLD: usize = 20;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Options {
    seed: Option<u64>,
    is_traced: bool,
    seeds: Option<u64>,
    from: u64,
    reduction: Reduction,
}

fn main() -> ExitCode {
    record_panics();
    match parse(lexopt::Parser::from_env()) {
        Ok(options) => act(&options),
        Err(error) => {
            eprintln!("sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: lexopt::Parser) -> Result<Options> {
    let mut options = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("seed") => options.seed = Some(args.value()?.parse()?),
            Arg::Long("trace") => options.is_traced = true,
            Arg::Long("seeds") => options.seeds = Some(args.value()?.parse()?),
            Arg::Long("from") => options.from = args.value()?.parse()?,
            Arg::Long("without") => options.reduction.without.push(args.value()?.string()?.parse::<Fault>()?),
            Arg::Long("jobs") => options.reduction.jobs_max = Some(args.value()?.parse()?),
            Arg::Long("nodes") => options.reduction.nodes_max = Some(args.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn act(options: &Options) -> ExitCode {
    match options.seed {
        Some(seed) => replay(seed, options),
        None => search(options),
    }
}

/// Runs one seed.
fn replay(seed: u64, options: &Options) -> ExitCode {
    let report = run(Plan::draw(seed, &options.reduction), options.is_traced);
    println!("seed {seed}: {}", report.plan);
    println!(
        "{} steps, {:.1} s of virtual time, trace {}",
        report.steps,
        report.virtual_us as f64 / 1e6,
        hex(&report.digest[..8])
    );
    if report.failure.is_none() {
        println!("nothing failed");
        return ExitCode::SUCCESS;
    }
    tell_failure(&report, &options.reduction, !options.is_traced);
    ExitCode::FAILURE
}

/// Runs many seeds.
fn search(options: &Options) -> ExitCode {
    let seeds = options.seeds.unwrap_or(SEEDS_DEFAULT);
    let campaign = Campaign { from: options.from, seeds, reduction: options.reduction.clone() };
    let step = (seeds / 10).max(100);
    let summary = run_many(&campaign, |progress| match progress {
        Progress::Done(done) if done.is_multiple_of(step) => eprintln!("sim: {done} of {seeds} seeds"),
        Progress::Done(_) => {}
        Progress::Failed(seed, what) => eprintln!("sim: seed {seed} failed: {what}"),
    });
    tell(&summary);
    if let Some(seed) = summary.failures.keys().next().copied() {
        for (seed, what) in summary.failures.iter().take(FAILURES_TOLD) {
            println!("seed {seed}: {what}");
        }
        println!("{} of {seeds} seeds failed; looking for the least part of {seed} that fails", summary.failures.len());
        let (least, report) = shrink(seed, &options.reduction);
        tell_failure(&report, &least, true);
        return ExitCode::FAILURE;
    }
    let missed = summary.points.missed();
    for point in &missed {
        println!("never: {}", point.text());
    }
    if !missed.is_empty() && seeds >= SEEDS_FOR_POINTS {
        println!("{} of {} states were never reached", missed.len(), Point::ALL.len());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn tell(summary: &Summary) {
    let seconds = summary.elapsed.as_secs_f64();
    println!(
        "{} runs in {seconds:.1} s: {} steps ({:.0} per second)",
        summary.runs,
        summary.steps,
        summary.steps as f64 / seconds
    );
    println!("{:.1} h of virtual time", summary.virtual_us as f64 / 3.6e9);
    let reached = Point::ALL.len() - summary.points.missed().len();
    let rarest =
        Point::ALL.iter().map(|point| (summary.points.count(*point), point.text())).filter(|(count, _)| *count > 0).min();
    println!("{reached} of {} states were reached", Point::ALL.len());
    if let Some((count, text)) = rarest {
        println!("the rarest, {count} times: {text}");
    }
}

fn tell_failure(report: &Report, reduction: &Reduction, with_last: bool) {
    let Some(failure) = &report.failure else { return };
    if with_last {
        println!("--- what happened last ---");
        failure.last.iter().for_each(|line| println!("{line}"));
    }
    println!("--- failed ---");
    println!("{}", failure.what);
    println!("seed {}, step {}, at {:.6} s of virtual time", report.plan.seed, failure.step, failure.at_us as f64 / 1e6);
    println!("{}", report.plan);
    println!("replay: cargo xtask sim --seed {}{reduction} --trace", report.plan.seed);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
