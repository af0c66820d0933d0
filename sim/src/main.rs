//! `cargo xtask sim`: many seeds, or one. Exits with 1 where one failed, with 2 where the command line was not understood, and with 3 where
//! states were never reached.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use adit_sim::{Campaign, Fault, Plan, Point, Progress, Reduction, Report, Summary, record_panics, run, run_many, shrink};
use anyhow::{Context as _, Result, bail};
use lexopt::{Arg, ValueExt};

/// Seeds that are run where nothing else is said: what continuous integration runs.
const SEEDS_DEFAULT: u64 = 1_000;

/// From so many seeds on, each point must be hit.
const SEEDS_FOR_POINTS: u64 = 1_000;

/// Failed seeds that are named.
const FAILURES_TOLD: usize = 20;

/// How this ends where the command line was not understood.
const MISUSED: u8 = 2;

/// How this ends where no seed failed, and states were never reached.
const MISSED: u8 = 3;

/// What the command line asks for.
#[derive(Debug)]
enum Options {
    /// One seed, with its trace or without.
    Replay { seed: u64, is_traced: bool, reduction: Reduction },
    /// Many seeds.
    Search(Campaign),
}

fn main() -> ExitCode {
    record_panics();
    match parse(lexopt::Parser::from_env()) {
        Ok(Options::Replay { seed, is_traced, reduction }) => replay(seed, is_traced, &reduction),
        Ok(Options::Search(campaign)) => search(&campaign),
        Err(error) => {
            warn(format_args!("{error:#}"));
            ExitCode::from(MISUSED)
        }
    }
}

fn parse(mut args: lexopt::Parser) -> Result<Options> {
    let (mut seed, mut seeds, mut from, mut is_traced) = (None, None, None::<u64>, false);
    let mut reduction = Reduction::default();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("seed") => seed = Some(number(&mut args, "seed", 0)?),
            Arg::Long("trace") => is_traced = true,
            Arg::Long("seeds") => seeds = Some(number(&mut args, "seeds", 1)?),
            Arg::Long("from") => from = Some(number(&mut args, "from", 0)?),
            Arg::Long("without") => reduction.without.push(args.value()?.string()?.parse::<Fault>()?),
            Arg::Long("jobs") => reduction.jobs_max = Some(number(&mut args, "jobs", 1)?),
            Arg::Long("nodes") => reduction.nodes_max = Some(number(&mut args, "nodes", 1)?),
            other => return Err(other.unexpected().into()),
        }
    }
    match seed {
        Some(_) if seeds.is_some() || from.is_some() => bail!("--seed is for one run, --seeds and --from are for many"),
        Some(seed) => Ok(Options::Replay { seed, is_traced, reduction }),
        None if is_traced => bail!("--trace shows one run; say which by --seed"),
        None => {
            let (from, seeds) = (from.unwrap_or(0), seeds.unwrap_or(SEEDS_DEFAULT));
            from.checked_add(seeds).with_context(|| format!("--from: there are no {seeds} seeds from {from} on"))?;
            Ok(Options::Search(Campaign { from, seeds, reduction }))
        }
    }
}

/// The number that comes after an option, which is no less than `least`.
fn number<T: FromStr + PartialOrd + Display>(args: &mut lexopt::Parser, name: &str, least: T) -> Result<T> {
    let value = args.value()?;
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number >= least);
    number.with_context(|| format!("--{name} takes a number from {least} on, and {value:?} is none"))
}

/// Prints a line. Who reads may have seen enough, which is no reason to fail.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The same, beside what this is asked for.
fn warn(line: impl Display) {
    let _ = writeln!(io::stderr(), "sim: {line}");
}

/// Runs one seed.
fn replay(seed: u64, is_traced: bool, reduction: &Reduction) -> ExitCode {
    let report = run(Plan::draw(seed, reduction), is_traced);
    say(format_args!("seed {seed}: {}", report.plan));
    let seconds = report.virtual_us as f64 / 1e6;
    say(format_args!("{} steps, {seconds:.1} s of virtual time, trace {}", report.steps, hex(&report.digest[..8])));
    if report.failure.is_none() {
        say("nothing failed");
        return ExitCode::SUCCESS;
    }
    tell_failure(&report, reduction, !is_traced);
    ExitCode::FAILURE
}

/// Runs many seeds.
fn search(campaign: &Campaign) -> ExitCode {
    let seeds = campaign.seeds;
    let summary = run_many(campaign, |progress| match progress {
        Progress::Done(done, elapsed) => warn(how_far(done, seeds, elapsed)),
        Progress::Failed(seed, what) => warn(format_args!("seed {seed} failed: {what}")),
    });
    tell(&summary);
    if let Some(seed) = summary.failures.keys().next().copied() {
        for (seed, what) in summary.failures.iter().take(FAILURES_TOLD) {
            say(format_args!("seed {seed}: {what}"));
        }
        say(format_args!("{} of {seeds} seeds failed; looking for the least part of {seed} that fails", summary.failures.len()));
        let (least, report) = shrink(seed, &campaign.reduction);
        tell_failure(&report, &least, true);
        return ExitCode::FAILURE;
    }
    let missed = summary.points.missed();
    for point in &missed {
        say(format_args!("never: {}", point.text()));
    }
    if !missed.is_empty() && seeds >= SEEDS_FOR_POINTS {
        say(format_args!("{} of {} states were never reached", missed.len(), Point::ALL.len()));
        return ExitCode::from(MISSED);
    }
    ExitCode::SUCCESS
}

/// How many seeds are done, and how long the rest will take at that pace.
fn how_far(done: u64, seeds: u64, elapsed: Duration) -> String {
    let per_second = done as f64 / elapsed.as_secs_f64();
    let left = (seeds - done) as f64 / per_second;
    let (left, unit) = match left {
        left if left < 120.0 => (left, "s"),
        left if left < 7_200.0 => (left / 60.0, "min"),
        left => (left / 3_600.0, "h"),
    };
    format!("{done} of {seeds} seeds, {per_second:.0} per second, {left:.0} {unit} left")
}

fn tell(summary: &Summary) {
    let Summary { runs, steps, .. } = summary;
    let seconds = summary.elapsed.as_secs_f64();
    say(format_args!("{runs} runs in {seconds:.1} s: {steps} steps ({:.0} per second)", *steps as f64 / seconds));
    say(format_args!("{:.1} h of virtual time", summary.virtual_us as f64 / 3.6e9));
    let reached = Point::ALL.len() - summary.points.missed().len();
    let rarest =
        Point::ALL.iter().map(|point| (summary.points.count(*point), point.text())).filter(|(count, _)| *count > 0).min();
    say(format_args!("{reached} of {} states were reached", Point::ALL.len()));
    if let Some((count, text)) = rarest {
        say(format_args!("the rarest, {count} times: {text}"));
    }
}

fn tell_failure(report: &Report, reduction: &Reduction, with_last: bool) {
    let Some(failure) = &report.failure else { return };
    if with_last {
        say("--- what happened last ---");
        failure.last.iter().for_each(say);
    }
    say("--- failed ---");
    say(&failure.what);
    let (seed, at) = (report.plan.seed, failure.at_us as f64 / 1e6);
    say(format_args!("seed {seed}, step {}, at {at:.6} s of virtual time", failure.step));
    say(&report.plan);
    say(format_args!("replay: cargo xtask sim --seed {seed}{reduction} --trace"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_says_how_long_the_rest_takes() {
        let rows = [
            (420, 1_000, 10, "420 of 1000 seeds, 42 per second, 14 s left"),
            (420, 100_000, 10, "420 of 100000 seeds, 42 per second, 40 min left"),
            (1, 100_000, 10, "1 of 100000 seeds, 0 per second, 278 h left"),
            (1_000, 1_000, 20, "1000 of 1000 seeds, 50 per second, 0 s left"),
        ];
        for (done, seeds, seconds, want) in rows {
            assert_eq!(how_far(done, seeds, Duration::from_secs(seconds)), want);
        }
    }
}
