//! Many runs, and the search for the least that still fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::plan::{Plan, Reduction};
use crate::points::Points;
use crate::world::{Report, run};

/// How often it is told how far the runs are.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Which seeds, and what is left out of their plans.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// What is left out.
    pub reduction: Reduction,
}

/// What is told while the runs go on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// So many are done, after so long.
    Done(u64, Duration),
    /// This seed failed, with the oracle's words.
    Failed(u64, &'a str),
}

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Happenings in all of them.
    pub steps: u64,
    /// Virtual time of all of them.
    pub virtual_us: u64,
    /// States that they reached.
    pub points: Points,
    /// The seeds that failed, each with the oracle's words.
    pub failures: BTreeMap<u64, String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs all seeds, on as many threads as there are processors. `progress` hears every few seconds how many are done,
/// and of each failure at once: a search that is stopped has told what it found.
pub fn run_many(campaign: &Campaign, progress: impl Fn(Progress<'_>) + Sync) -> Summary {
    let (begun, done, pace) = (Instant::now(), AtomicU64::new(0), Pace::default());
    let seeds = campaign.from..campaign.from.saturating_add(campaign.seeds);
    let one = |seed: u64| {
        let summary = Summary::of(run(Plan::draw(seed, &campaign.reduction), false));
        summary.failures.iter().for_each(|(seed, what)| progress(Progress::Failed(*seed, what)));
        let (count, elapsed) = (done.fetch_add(1, Ordering::Relaxed) + 1, begun.elapsed());
        if pace.is_due(elapsed) {
            progress(Progress::Done(count, elapsed));
        }
        summary
    };
    let mut summary = seeds.into_par_iter().map(one).reduce(Summary::default, Summary::and);
    summary.elapsed = begun.elapsed();
    summary
}

/// How many times it was told how far the runs are, or could have been.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    /// Whether it is to be told now, after so long: by one thread each time.
    fn is_due(&self, elapsed: Duration) -> bool {
        let times = elapsed.as_secs() / TELL_EVERY.as_secs();
        self.0.fetch_max(times, Ordering::Relaxed) < times
    }
}

impl Summary {
    fn of(report: Report) -> Self {
        Self {
            runs: 1,
            steps: report.steps,
            virtual_us: report.virtual_us,
            points: report.points.clone(),
            failures: report.failure.iter().map(|failure| (report.plan.seed, failure.what.clone())).collect(),
            elapsed: Duration::ZERO,
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.points.add(&other.points);
        self.failures.extend(other.failures);
        Self {
            runs: self.runs + other.runs,
            steps: self.steps + other.steps,
            virtual_us: self.virtual_us + other.virtual_us,
            points: self.points,
            failures: self.failures,
            elapsed: Duration::ZERO,
        }
    }
}

/// Looks for the least part of a failing plan that still fails: fault by fault, then jobs and nodes by halves. Any failure counts.
pub fn shrink(seed: u64, reduction: &Reduction) -> (Reduction, Report) {
    let mut least = reduction.clone();
    let mut report = run(Plan::draw(seed, &least), false);
    for fault in report.plan.faults.clone() {
        let mut candidate = least.clone();
        candidate.without.push(fault);
        keep_if_fails(seed, candidate, &mut least, &mut report);
    }
    loop {
        let halved = |count: u32| (count / 2).max(1);
        let (jobs, nodes) = (report.plan.jobs, report.plan.nodes);
        let fewer_jobs = Reduction { jobs_max: Some(halved(jobs)), ..least.clone() };
        let fewer_nodes = Reduction { nodes_max: Some(halved(nodes)), ..least.clone() };
        let shrank = (jobs > 1 && keep_if_fails(seed, fewer_jobs, &mut least, &mut report))
            || (nodes > 1 && keep_if_fails(seed, fewer_nodes, &mut least, &mut report));
        if !shrank {
            return (least, report);
        }
    }
}

fn keep_if_fails(seed: u64, candidate: Reduction, least: &mut Reduction, report: &mut Report) -> bool {
    let tried = run(Plan::draw(seed, &candidate), false);
    let fails = tried.failure.is_some();
    if fails {
        (*least, *report) = (candidate, tried);
    }
    fails
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_the_runs_are_is_told_by_time_and_once_each_time() {
        let pace = Pace::default();
        let told: Vec<u64> = (0..45).chain([44, 90, 90]).filter(|seconds| pace.is_due(Duration::from_secs(*seconds))).collect();
        assert_eq!(told, [10, 20, 30, 40, 90]);
    }
}
