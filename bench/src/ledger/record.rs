//! How fast receipts become durable, many and one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use adit_ledger::{Applied, Batch, Entry, Ledger, Operation, Writer};
use anyhow::{Context, Result, anyhow, bail};

use super::receipts::{Receipts, hold, leaf_bytes};
use super::store::{Bare, Counted, Counts};
use crate::echo::{IN_FLIGHT, micros};
use crate::figure::{Figure, Goal, Rounds, Title, median};
use crate::net::scratch_folder;
use crate::plan::Plan;

/// Receipts, each with its hold, through the gateway's writer.
const GROUPED: Title =
    Title { name: "ledger_settle", unit: "/s", reference: "bare redb, 1,000 leaves a commit", goal: Goal::AtLeast(0.5) };
/// The same rate against the store as it is used without group commit.
const SINGLY: Title =
    Title { name: "ledger_singly", unit: "/s", reference: "bare redb, 1 leaf a commit", goal: Goal::AtLeast(20.0) };
/// What keeps [`GROUPED`] from its goal: with 64 in flight no commit has more.
const IN_SIXTY_FOURS: Title =
    Title { name: "ledger_settle_64", unit: "/s", reference: "bare redb, 64 leaves a commit", goal: Goal::None };
/// How often the disk is waited for: where all that are in flight share a commit, twice for them together.
const GROUPED_SYNCS: Title =
    Title { name: "ledger_syncs", unit: "", reference: "for 64 receipts; bare redb, 64 leaves", goal: Goal::None };
/// What is written for a receipt, by which pages have to be.
const GROUPED_BYTES: Title =
    Title { name: "ledger_written", unit: "KiB", reference: "for 1 receipt; bare redb, 64 leaves", goal: Goal::None };
/// One receipt whose hold is there already, from the call to the writer's word.
const LONE: Title =
    Title { name: "ledger_lone", unit: "us", reference: "write of a leaf and fdatasync", goal: Goal::AtMost(1.5) };
/// The same against the least that the store can do.
const LONE_STORE: Title =
    Title { name: "ledger_lone_store", unit: "us", reference: "bare redb, 1 leaf a commit", goal: Goal::None };
const LONE_SYNCS: Title =
    Title { name: "ledger_lone_syncs", unit: "", reference: "of bare redb, 1 leaf a commit", goal: Goal::None };
const LONE_WRITES: Title =
    Title { name: "ledger_lone_writes", unit: "", reference: "of bare redb, 1 leaf a commit", goal: Goal::None };
const LONE_BYTES: Title =
    Title { name: "ledger_lone_bytes", unit: "KiB", reference: "of bare redb, 1 leaf a commit", goal: Goal::None };

/// Rows of a large commit.
const LARGE_ROWS: usize = 1_000;
/// Commits of the reference in a round, at most.
const REFERENCE_COMMITS: usize = 200;

/// Receipts per second, durable, with 64 on their way at any time.
pub(super) fn measure_settled(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    let mut receipts = Receipts::from(0);
    let (ours, counts) = Recorder::open(&folder.path().join("ledger"), &receipts)?;
    let (backend, bare_counts) = Counted::create(&folder.path().join("bare"))?;
    let mut bare = Bare::open(backend)?;
    let mut rounds = [(); 5].map(|()| Rounds::default());
    for round in 0..=plan.rounds {
        let entries = receipts.entries(plan.receipts)?;
        let rows: Vec<Vec<u8>> = entries.iter().map(leaf_bytes).collect();
        let (mut calls, mut bare_calls) = ([0; 3], [0; 3]);
        let before = counts.read();
        let rate = plan.receipts as f64 / ours.settle(entries)?.as_secs_f64();
        add(&mut calls, &counts, before);
        let before = bare_counts.read();
        let in_middle = rows_per_second(&mut bare, &rows, IN_FLIGHT)?;
        add(&mut bare_calls, &bare_counts, before);
        let in_large = rows_per_second(&mut bare, &rows, LARGE_ROWS)?;
        let one_by_one = rows_per_second(&mut bare, &rows, 1)?;
        // The first round grows the files.
        if round > 0 {
            rounds[0].push(rate, in_large);
            rounds[1].push(rate, in_middle);
            rounds[2].push(rate, one_by_one);
            let (each, theirs) = (plan.receipts as f64, rows.len().min(IN_FLIGHT * REFERENCE_COMMITS) as f64);
            let groups = |rows: f64| rows / IN_FLIGHT as f64;
            rounds[3].push(calls[0] as f64 / groups(each), bare_calls[0] as f64 / groups(theirs));
            rounds[4].push(calls[2] as f64 / 1024.0 / each, bare_calls[2] as f64 / 1024.0 / theirs);
        }
    }
    let titles = [GROUPED, IN_SIXTY_FOURS, SINGLY, GROUPED_SYNCS, GROUPED_BYTES];
    Ok(rounds.into_iter().zip(titles).map(|(rounds, title)| rounds.figure(title)).collect())
}

fn rows_per_second(bare: &mut Bare, rows: &[Vec<u8>], size: usize) -> Result<f64> {
    let rows = &rows[..rows.len().min(size * REFERENCE_COMMITS)];
    let start = Instant::now();
    for commit in rows.chunks(size) {
        bare.commit(commit)?;
    }
    Ok(rows.len() as f64 / start.elapsed().as_secs_f64())
}

/// The latency of one receipt while nothing else is recorded, and what the disk is called for.
pub(super) fn measure_lone(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    let mut receipts = Receipts::from(0);
    let (ours, counts) = Recorder::open(&folder.path().join("ledger"), &receipts)?;
    let (backend, bare_counts) = Counted::create(&folder.path().join("bare"))?;
    let (mut bare, mut file) = (Bare::open(backend)?, appended(&folder.path().join("file"))?);
    let mut rounds = [(); 5].map(|()| Rounds::default());
    for round in 0..=plan.rounds {
        let (mut lone, mut stored, mut added) = (Vec::new(), Vec::new(), Vec::new());
        let (mut calls, mut bare_calls, mut commits) = ([0; 3], [0; 3], 0u64);
        let start = Instant::now();
        while start.elapsed() < plan.round {
            let entry = receipts.entries(1)?.remove(0);
            let leaf = vec![leaf_bytes(&entry)];
            ours.submit(hold(&entry))?;
            ours.committed()?;
            let operation = Operation::Settle(Box::new(entry));
            let before = counts.read();
            lone.push(timed(|| ours.submit(operation).and_then(|()| ours.committed().map(drop)))?);
            add(&mut calls, &counts, before);
            let before = bare_counts.read();
            stored.push(timed(|| bare.commit(&leaf))?);
            add(&mut bare_calls, &bare_counts, before);
            added.push(timed(|| append(&mut file, &leaf[0]))?);
            commits += 1;
        }
        if round > 0 {
            let (lone, per_commit) = (median(lone), |calls: [u64; 3]| calls.map(|count| count as f64 / commits as f64));
            rounds[0].push(lone, median(added));
            rounds[1].push(lone, median(stored));
            let ([syncs, writes, bytes], theirs) = (per_commit(calls), per_commit(bare_calls));
            rounds[2].push(syncs, theirs[0]);
            rounds[3].push(writes, theirs[1]);
            rounds[4].push(bytes / 1024.0, theirs[2] / 1024.0);
        }
    }
    let titles = [LONE, LONE_STORE, LONE_SYNCS, LONE_WRITES, LONE_BYTES];
    Ok(rounds.into_iter().zip(titles).map(|(rounds, title)| rounds.figure(title)).collect())
}

/// Adds what was counted since `before`.
fn add(calls: &mut [u64; 3], counts: &Counts, before: [u64; 3]) {
    for ((calls, now), before) in calls.iter_mut().zip(counts.read()).zip(before) {
        *calls += now - before;
    }
}

fn appended(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().append(true).create_new(true).open(path)?)
}

fn append(file: &mut File, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)?;
    Ok(file.sync_data()?)
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(micros(start.elapsed()))
}

/// The gateway's writer, with somebody who waits for it.
struct Recorder {
    writer: Writer,
    /// How many receipts each batch settled.
    done: Receiver<Result<usize>>,
}

impl Recorder {
    fn open(path: &Path, receipts: &Receipts) -> Result<(Self, std::sync::Arc<Counts>)> {
        let (backend, counts) = Counted::create(path)?;
        let mut ledger = Ledger::open_with(backend, receipts.gateway().public())?;
        receipts.begin(&mut ledger)?;
        let (sender, done) = channel();
        let writer = Writer::spawn(ledger, move |batch| {
            // Nobody waits any more where the measurement has failed.
            let _ = sender.send(settled(batch));
        })?;
        Ok((Self { writer, done }, counts))
    }

    fn submit(&self, operation: Operation) -> Result<()> {
        Ok(self.writer.submit(operation)?)
    }

    /// Waits for a batch. How many receipts it settled.
    fn committed(&self) -> Result<usize> {
        self.done.recv().context("the writer is gone")?
    }

    /// Settles all, each with its hold, [`IN_FLIGHT`] on their way at any time.
    fn settle(&self, entries: Vec<Entry>) -> Result<Duration> {
        let (mut entries, mut in_flight) = (entries.into_iter(), 0);
        let start = Instant::now();
        loop {
            for entry in entries.by_ref().take(IN_FLIGHT - in_flight) {
                self.submit(hold(&entry))?;
                self.submit(Operation::Settle(Box::new(entry)))?;
                in_flight += 1;
            }
            if in_flight == 0 {
                return Ok(start.elapsed());
            }
            in_flight -= self.committed()?;
        }
    }
}

/// How many receipts a batch settled, all of which must be new.
fn settled(batch: Batch) -> Result<usize> {
    let outcomes = batch.result.map_err(|error| anyhow!(error))?;
    let mut settled = 0;
    for outcome in outcomes {
        match outcome? {
            Applied::Settled(_) => settled += 1,
            Applied::Held => {}
            other => bail!("{other:?} of a receipt"),
        }
    }
    Ok(settled)
}
