//! The time of a decision, and of a job's whole life, at growing numbers of nodes of which half are busy; and what a node takes in memory.

use std::time::Instant;

use adit_dispatch::{Action, Config, Dispatcher, Event, Report, Request, Tick};
use adit_protocol::{Attempt, Fuel, JobId, PublicKey, Usage};
use anyhow::{Context, Result, ensure};

use crate::figure::{Figure, Goal, Rounds, Title};
use crate::fleet::Fleet;

/// What a decision may take at the median, in microseconds.
const DECISION_MAX_US: f64 = 20.0;

/// What a node may take, in bytes.
const NODE_BYTES_MAX: f64 = 2_048.0;

const SIZES: [(usize, &str, &str); 3] =
    [(1_000, "decide_1k", "life_1k"), (10_000, "decide_10k", "life_10k"), (100_000, "decide_100k", "life_100k")];

/// Microseconds, one each per job.
#[derive(Debug, Default)]
struct Times {
    decide: Vec<f64>,
    life: Vec<f64>,
}

/// All figures of decisions.
pub(crate) fn measure(decisions: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut medians = Vec::new();
    for (nodes, decide, life) in SIZES {
        let before = resident_bytes()?;
        let mut fleet = Fleet::new();
        let (mut dispatcher, keys) = fill(&mut fleet, nodes);
        let memory = resident_bytes()?.saturating_sub(before) as f64 / nodes as f64;
        occupy(&mut fleet, &mut dispatcher, nodes)?;
        let times = run(&mut fleet, &mut dispatcher, &keys, decisions)?;
        medians.push(part(&times.decide, 500));
        figures.push(figure(decide, &times.decide, Goal::Within(DECISION_MAX_US)));
        figures.push(figure(life, &times.life, Goal::None));
        if nodes == SIZES[SIZES.len() - 1].0 {
            let title = Title { name: "node_memory", unit: "byte", reference: "2 KiB", goal: Goal::Within(NODE_BYTES_MAX) };
            figures.push(one(title, memory, NODE_BYTES_MAX));
        }
    }
    let grown = (SIZES[2].0 as f64).ln() / (SIZES[0].0 as f64).ln();
    let title = Title { name: "decide_growth", unit: "us", reference: "1k nodes, times log n", goal: Goal::AtMost(1.0) };
    figures.push(one(title, medians[2], medians[0] * grown));
    Ok(figures)
}

/// Decisions at one number of nodes.
pub(crate) fn measure_at(nodes: usize, decisions: usize) -> Result<Figure> {
    let mut fleet = Fleet::new();
    let (mut dispatcher, keys) = fill(&mut fleet, nodes);
    occupy(&mut fleet, &mut dispatcher, nodes)?;
    let times = run(&mut fleet, &mut dispatcher, &keys, decisions)?;
    Ok(figure("decide", &times.decide, Goal::Within(DECISION_MAX_US)))
}

/// A dispatcher with so many nodes.
fn fill(fleet: &mut Fleet, nodes: usize) -> (Dispatcher, Vec<PublicKey>) {
    let mut dispatcher = Dispatcher::new(Config::default());
    let mut keys = Vec::with_capacity(nodes);
    for _ in 0..nodes {
        let key = fleet.key();
        let (event, machine) = fleet.node(key);
        dispatcher.handle(Tick(0), event);
        dispatcher.handle(Tick(0), Event::NodePath { node: key, rtt_us: machine.rtt_us, spread_us: machine.rtt_us / 10 });
        keys.push(key);
    }
    (dispatcher, keys)
}

/// Gives jobs to nodes until half of them have no room.
fn occupy(fleet: &mut Fleet, dispatcher: &mut Dispatcher, nodes: usize) -> Result<()> {
    for _ in 0..20 * nodes {
        let (job, request, _) = fleet.job();
        dispatcher.handle(Tick(1), Event::Submitted { job, request: Box::new(request) });
        let mut full = None;
        while let Some(action) = dispatcher.poll_action() {
            if let Action::Start { decision, .. } = action {
                full = Some(decision.full as usize);
            }
        }
        if full.is_some_and(|full| full >= nodes / 2) {
            return Ok(());
        }
    }
    anyhow::bail!("half of {nodes} nodes did not fill")
}

/// Times jobs that come and end one after another, so that as many nodes stay busy.
fn run(fleet: &mut Fleet, dispatcher: &mut Dispatcher, keys: &[PublicKey], decisions: usize) -> Result<Times> {
    let mut times = Times::default();
    for n in 0..decisions as u64 {
        let (job, request, fuel) = fleet.job();
        let request = Box::new(request);
        let path = fleet.chance().pick(keys);
        let now = Tick(1_000_000 + n * 50);
        let begun = Instant::now();
        let started = decide(dispatcher, now, job, request);
        let decided = begun.elapsed();
        let Some((node, attempt)) = started else { continue };
        let usage = Usage { fuel: Fuel(fuel), ..Usage::default() };
        let report = Report { usage, ..Report::default() };
        let ended = Instant::now();
        dispatcher.handle(Tick(now.0 + 40), Event::AttemptFinished { node, job, attempt, report });
        dispatcher.handle(Tick(now.0 + 41), Event::NodePath { node: path, rtt_us: 20_000 + n % 1_000, spread_us: 500 });
        while dispatcher.poll_action().is_some() {}
        times.decide.push(decided.as_secs_f64() * 1e6);
        times.life.push((decided + ended.elapsed()).as_secs_f64() * 1e6);
    }
    ensure!(times.decide.len() > decisions / 2, "most jobs found no node: the fleet does not fit them");
    Ok(times)
}

/// One decision, under a name that a profiler finds.
#[inline(never)]
fn decide(dispatcher: &mut Dispatcher, now: Tick, job: JobId, request: Box<Request>) -> Option<(PublicKey, Attempt)> {
    dispatcher.handle(now, Event::Submitted { job, request });
    drain(dispatcher, job)
}

/// Where a job was started.
fn drain(dispatcher: &mut Dispatcher, of: JobId) -> Option<(PublicKey, Attempt)> {
    let mut started = None;
    while let Some(action) = dispatcher.poll_action() {
        if let Action::Start { job, node, attempt, .. } = action
            && job == of
        {
            started = Some((node, attempt));
        }
    }
    started
}

/// The median beside the 99th of a hundred.
fn figure(name: &'static str, times: &[f64], goal: Goal) -> Figure {
    one(Title { name, unit: "us", reference: "its own p99", goal }, part(times, 500), part(times, 990))
}

fn one(title: Title, ours: f64, theirs: f64) -> Figure {
    let mut rounds = Rounds::default();
    rounds.push(ours, theirs);
    rounds.figure(title)
}

/// The value below which so many of a thousand are.
fn part(values: &[f64], permille: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * permille / 1_000]
}

/// The memory that this process has, by the system's word: with all that the allocator needs beside.
fn resident_bytes() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status").context("memory is read from /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    let kib: usize = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1_024)
}
