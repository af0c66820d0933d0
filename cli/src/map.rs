//! `adit map`: one job for each of many inputs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adit_client::{Client, Job, JobError, JobHandle, Pauses, Settled, Source, Update};
use adit_protocol::{Digest, Fuel, IdempotencyKey, JobId, JobSpec, Microcredits, Outcome, Query, Refusal};
use adit_transport::TransferError;
use anyhow::Context;
use clap::Args;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

use crate::args::{Common, JobArgs, LinkArgs, RetryArgs};
use crate::config::Config;
use crate::exit::{Exit, InterruptedError, usage};
use crate::kept::{JobStore, KeptJob};
use crate::link;
use crate::manifest::{Manifest, Row};
use crate::named::NamedInputs;
use crate::quantity::show_micros;
use crate::reactor::{StopSignals, block_on};
use crate::report::{End, Report};
use crate::screen::show_note;
use crate::sink::Sink;
use crate::spec::{self, Input, Start, Terms};
use crate::spending::Spending;
use crate::table::print_json;
use crate::window::{Place, Window};

/// Failures that are told one by one; the manifest has them all.
const FAILURES_SHOWN: usize = 10;

/// Run one job for each of many inputs; a second run does only what is left
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit map wordcount.wasm books/*.txt --out counts
  adit map thumb.wasm photos/* --out thumbs --jobs 200 --fuel 5G -- --size 320

Each input's output is DIR/NAME.out, its receipt DIR/receipts/NAME.receipt, with NAME.job beside
it for `adit audit`; DIR/manifest.jsonl tells of each input in order. Run the same command again
to go on where it stopped: outputs that are there are kept, jobs that still run are attached to,
nothing is paid twice. Where the gateway has no room, jobs come to it again when it says, fewer at
once, each for as long as --retry-for allows.")]
pub(crate) struct MapArgs {
    /// The WebAssembly module
    module: PathBuf,
    /// The inputs, one job each
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The folder of the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Jobs in flight at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = parse_jobs)]
    jobs: usize,
    /// Arguments of each guest, after those of --arg
    #[arg(last = true, value_name = "ARGS")]
    trailing: Vec<String>,
    /// Print the manifest's rows at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    link: LinkArgs,
    #[command(flatten)]
    retry: RetryArgs,
}

/// More than this in flight would only wait in the gateway's queue.
fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=4096) => Ok(jobs),
        _ => Err("write a number from 1 to 4096".to_owned()),
    }
}

pub(crate) fn run(args: &MapArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let terms = Terms::read(&args.job, &config)?;
    let module = spec::module(&args.module)?;
    let items = plan(&args.inputs)?;
    let named = NamedInputs::open(&args.job.guest.with, &config.dirs.cache)?;
    let manifest = Manifest::open(&args.out)?;
    // The inputs are the user's and many; copies of them would drive out everything else.
    if let Err(error) = keep_shared(&module, &named, &args.module, &config) {
        tracing::warn!("no copy of what all jobs share is kept for `adit audit`: {error:#}");
    }
    let begun = Instant::now();
    let outputs: Vec<String> = items.iter().map(|item| item.output.clone()).collect();
    let (rows, kept) = block_on(async {
        let client = link::connect_for(&config, &args.link, args.retry.retry_for.unwrap_or(PATIENCE)).await?;
        let (stop, stopped) = watch::channel(false);
        let map = Map {
            client: &client,
            args,
            terms,
            module,
            named,
            spool: config.dirs.cache.clone(),
            manifest: RefCell::new(manifest),
            kept: Cell::new(0),
            asked: Cell::new(0),
            window: Window::new(args.jobs),
            waiting: Cell::new(0),
            told_of_room: Cell::new(false),
            stopped,
            lost: Cell::new(false),
            quiet: common.quiet,
            bar: progress_bar(items.len() as u64, common.quiet),
        };
        let worked = tokio::select! {
            // The map first, so that it has heard of the first Ctrl-C before the second ends it.
            biased;
            worked = map.work_off(items) => worked,
            left = stop_twice(stop, &client) => left,
        };
        map.bar.finish_and_clear();
        // Ordered even where the user left: what is there can be read, and gone on from.
        let rows = map.manifest.into_inner().finish(&outputs)?;
        let kept = map.kept.get();
        worked?;
        client.close().await;
        Ok((rows, kept))
    })?;
    let tally = Tally { inputs: outputs.len(), kept, took: begun.elapsed() };
    conclude(&rows, &tally, args, common)
}

/// Keeps copies of what every job of a map has.
fn keep_shared(module: &Source, named: &NamedInputs, path: &Path, config: &Config) -> anyhow::Result<()> {
    let store = JobStore::of_user(config)?;
    store.copy(module.blob(), File::open(path)?)?;
    named.inputs().try_for_each(|input| store.copy(input.source.blob(), input.reader()?))
}

/// How long each job is submitted again where the user does not say: a map is left alone for the night.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// How long a job waits for the credits that others hold.
const CREDIT_WAIT: Duration = Duration::from_millis(250);

/// How long a map that is left waits until the gateway has heard that its jobs are to stop. One that is there hears it in a round trip.
const HEARD_WITHIN: Duration = Duration::from_millis(500);

/// An input and the name of its output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    input: PathBuf,
    output: String,
}

/// Gives every input an output's name of its own: `NAME.out`, and `NAME-2.out` for the second input of that name.
fn plan(inputs: &[PathBuf]) -> anyhow::Result<Vec<Item>> {
    let mut taken = HashSet::new();
    let mut items = Vec::with_capacity(inputs.len());
    for input in inputs {
        let name = input.file_name().ok_or_else(|| usage(format!("input {}: not a file", input.display())))?;
        let name = name.to_string_lossy();
        let names = std::iter::once(format!("{name}.out")).chain((2..).map(|n| format!("{name}-{n}.out")));
        let output = names.into_iter().find(|n| taken.insert(n.clone())).context("there is always a next number")?;
        items.push(Item { input: input.clone(), output });
    }
    Ok(items)
}

/// What all jobs of a map share.
#[derive(Debug)]
struct Map<'a> {
    client: &'a Client,
    args: &'a MapArgs,
    terms: Terms,
    module: Source,
    named: NamedInputs,
    spool: PathBuf,
    manifest: RefCell<Manifest>,
    /// Results that earlier runs left.
    kept: Cell<usize>,
    /// Jobs that the gateway was asked for and that have not ended.
    asked: Cell<usize>,
    /// Lets jobs to the gateway.
    window: Window,
    /// Jobs that the gateway had no room for.
    waiting: Cell<usize>,
    /// Whether it was said that the gateway has no room.
    told_of_room: Cell<bool>,
    /// Whether the user wants it to end.
    stopped: watch::Receiver<bool>,
    /// Whether the gateway is lost, as far as it was said.
    lost: Cell<bool>,
    quiet: bool,
    bar: ProgressBar,
}

impl Map<'_> {
    /// Works off all items, so many at once.
    async fn work_off(&self, items: Vec<Item>) -> anyhow::Result<()> {
        let mut rows = futures_util::stream::iter(items).map(|item| self.work(item)).buffer_unordered(self.args.jobs);
        while let Some(row) = rows.next().await {
            if let Some(row) = row? {
                self.manifest.borrow_mut().record(row)?;
            }
            self.bar.inc(1);
        }
        Ok(())
    }

    /// One input's row; nothing where its row stands as it is, or where the map was stopped before.
    async fn work(&self, item: Item) -> anyhow::Result<Option<Row>> {
        if *self.stopped.borrow() {
            return Ok(None);
        }
        let (path, spool) = (item.input.clone(), self.spool.clone());
        // Hashing a large file would hold up every other job.
        let opened = spawn_blocking(move || Input::open(Some(&path), &spool)).await.context("an input was not read")?;
        let input = match opened {
            Ok(input) => input,
            Err(error) => {
                let (reason, outcome) = (error.to_string(), "refused".into());
                return Ok(Some(Row { reason, outcome, price_microcredits: Some(0), ..item.row() }));
            }
        };
        let job =
            self.client.salted(self.terms.job(&self.module, &input.source, &self.named, &self.args.trailing, Start::Epoch)?);
        let before = self.manifest.borrow().row(&item.output).cloned();
        let retry = before.as_ref().map_or(0, next_retry);
        let job = Job { key: derive_key(&job.spec.digest(), &item.output, retry), ..job };
        if before.is_some_and(|row| row.is_success() && row.key == job.key.to_string() && self.out(&item.output).is_file()) {
            self.kept.set(self.kept.get() + 1);
            return Ok(None);
        }
        match self.enter().await {
            Some(place) => Ok(Some(self.row(&item, job, retry, place).await)),
            None => Ok(None),
        }
    }

    /// Runs `job` and tells what became of it.
    async fn row(&self, item: &Item, job: Job, retry: u32, place: Place<'_>) -> Row {
        let mut tried = Try { job, retry };
        let ended = self.outcome(item, &mut tried, place).await;
        let Try { job, retry } = tried;
        let base =
            Row { key: job.key.to_string(), retry, job: JobId::derive(&self.client.key(), &job.key).to_string(), ..item.row() };
        match ended {
            Ok(Ended { end, trouble }) => {
                let row = Row {
                    outcome: end.outcome.name().into(),
                    exit_code: end.report().exit_code,
                    reason: end.reason.clone(),
                    fuel: end.usage.fuel.0,
                    price_microcredits: end.price().map(|price| price.0),
                    node: end.node.map(|n| n.to_string()),
                    output_digest: Some(end.output.to_string()),
                    ..base
                };
                match trouble {
                    // It ran and is paid, whether its result is here or not.
                    Some(error) => Row { price_microcredits: row.price_microcredits, exit_code: None, ..row.failed(&error) },
                    None => row,
                }
            }
            Err(error) => base.failed(&error),
        }
    }

    async fn outcome(&self, item: &Item, tried: &mut Try, mut place: Place<'_>) -> anyhow::Result<Ended> {
        let mut pauses = None;
        let mut passed_over = 0;
        loop {
            let mut handle = self.client.submit_once(tried.job.clone());
            let mut spending = Spending::of_submission(tried.job.spec.placement.hedge);
            self.asked.set(self.asked.get() + 1);
            let settled = self.settled(&mut handle, &mut spending).await;
            self.asked.set(self.asked.get() - 1);
            match settled {
                // What the others hold comes back when they end.
                Err(JobError::Refused { refusal: Refusal::InsufficientCredit { .. }, .. })
                    if self.asked.get() > 0 && !*self.stopped.borrow() =>
                {
                    sleep(CREDIT_WAIT).await;
                }
                Err(JobError::Refused { job, refusal }) => {
                    let pauses = pauses.get_or_insert_with(|| Pauses::within(self.patience()));
                    let Some(pause) = pauses.after(&refusal) else {
                        return Err(spending.with_others(JobError::Refused { job, refusal }.into()));
                    };
                    // Others may come meanwhile, as many as the gateway takes.
                    place.refused();
                    self.note_room(&refusal);
                    let cancelled = || spending.with_others(JobError::CancelledInQueue { job }.into());
                    place = self.come_again(pause).await.ok_or_else(cancelled)?;
                }
                Ok(Ending { was_over: true, settled })
                    if may_end_otherwise(&settled) && passed_over < PASSED_OVER_MAX && !*self.stopped.borrow() =>
                {
                    passed_over += 1;
                    tried.again(&item.output);
                }
                settled => {
                    let Ending { settled, .. } = settled.map_err(|error| spending.with_others(error.into()))?;
                    place.settled();
                    let end = End { others: spending.others(), ..End::of_settled(&settled) };
                    let trouble = self.take_results(item, &tried.job.spec, &settled, &end).await.err();
                    return Ok(Ended { end, trouble });
                }
            }
        }
    }

    /// How long each job is submitted again.
    fn patience(&self) -> Duration {
        self.args.retry.retry_for.unwrap_or(PATIENCE)
    }

    /// Waits for a place; nothing where the map is stopped before.
    async fn enter(&self) -> Option<Place<'_>> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            place = self.window.enter() => Some(place),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    /// Waits so long, and then for a place; nothing where the map is stopped before.
    async fn come_again(&self, pause: Duration) -> Option<Place<'_>> {
        self.waiting.set(self.waiting.get() + 1);
        self.show_waiting();
        let mut stopped = self.stopped.clone();
        let place = tokio::select! {
            () = sleep(pause) => self.enter().await,
            _ = stopped.wait_for(|stopped| *stopped) => None,
        };
        self.waiting.set(self.waiting.get() - 1);
        self.show_waiting();
        place
    }

    /// Waits until the outcome is final; cancels where the map is stopped meanwhile.
    async fn settled(&self, handle: &mut JobHandle, spending: &mut Spending) -> Result<Ending, JobError> {
        let mut stopped = self.stopped.clone();
        let mut asked = false;
        let mut was_over = true;
        loop {
            tokio::select! {
                update = handle.next() => {
                    let update = update?.ok_or_else(|| link::closed(handle))?;
                    spending.heed(&update);
                    match update {
                        Update::Settled(settled) => return Ok(Ending { settled: *settled, was_over }),
                        Update::Queued | Update::Started { .. } => was_over = false,
                        update => self.note_link(&update),
                    }
                }
                _ = stopped.wait_for(|stopped| *stopped), if !asked => {
                    asked = true;
                    handle.cancel();
                }
            }
        }
    }

    /// Says once in a map that the gateway has no room.
    fn note_room(&self, refusal: &Refusal) {
        if !self.told_of_room.replace(true) && !self.quiet {
            self.bar.suspend(|| show_note(link::describe_refusal(refusal)));
        }
    }

    fn show_waiting(&self) {
        match self.waiting.get() {
            0 => self.bar.set_message(""),
            waiting => self.bar.set_message(format!("; {waiting} wait for the gateway to have room")),
        }
    }

    /// Says once what every job in flight hears of the connection.
    fn note_link(&self, update: &Update) {
        if let Some(text) = link::describe(update) {
            let lost = matches!(update, Update::Reconnecting { .. });
            if self.lost.replace(lost) != lost && !self.quiet {
                self.bar.suspend(|| show_note(text));
            }
        }
    }

    async fn take_results(&self, item: &Item, spec: &JobSpec, settled: &Settled, end: &End) -> anyhow::Result<()> {
        if let Some(proof) = &end.proof {
            let name = item.output.strip_suffix(".out").unwrap_or(&item.output);
            let receipts = self.args.out.join("receipts");
            KeptJob::new(spec, &self.args.module, Some(&item.input), &self.args.job.guest.with)
                .save(&receipts.join(format!("{name}.job")))?;
            proof.save(&receipts.join(format!("{name}.receipt")))?;
        }
        if end.outcome.is_success() {
            Sink::File(self.out(&item.output)).write(&settled.done.output, self.client, &self.spool).await?;
        }
        Ok(())
    }

    fn out(&self, output: &str) -> PathBuf {
        self.args.out.join(output)
    }
}

/// An input's job under the key of so many retries.
#[derive(Debug)]
struct Try {
    job: Job,
    retry: u32,
}

impl Try {
    fn again(&mut self, output: &str) {
        self.retry = self.retry.saturating_add(1);
        self.job.key = derive_key(&self.job.spec.digest(), output, self.retry);
    }
}

/// A settled outcome.
#[derive(Debug)]
struct Ending {
    settled: Settled,
    /// Whether the job had ended before it was submitted here.
    was_over: bool,
}

/// A job that ran.
#[derive(Debug)]
struct Ended {
    end: End,
    /// Why its results are not there.
    trouble: Option<anyhow::Error>,
}

impl Item {
    fn row(&self) -> Row {
        Row { input: self.input.display().to_string(), output: self.output.clone(), ..Row::default() }
    }
}

/// The key of one input's job: the same command over the same bytes names the same job, wherever it is run from.
fn derive_key(spec: &Digest, output: &str, retry: u32) -> IdempotencyKey {
    let mut hasher = blake3::Hasher::new_derive_key("adit map key v1");
    hasher.update(&spec.0);
    hasher.update(&retry.to_le_bytes());
    hasher.update(output.as_bytes());
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    IdempotencyKey(key)
}

impl Row {
    fn failed(self, error: &anyhow::Error) -> Self {
        let report = Report::of_error(error, None);
        let outcome = if is_output_lost(error) { OUTPUT_LOST } else { report.outcome };
        Self { outcome: outcome.into(), reason: report.reason, price_microcredits: report.price_microcredits, ..self }
    }
}

/// The outcome of a job whose receipt is there and whose output is not: the gateway has dropped it to make room.
const OUTPUT_LOST: &str = "output_lost";

fn is_output_lost(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(TransferError::Refused(_))))
}

/// Whether a job could end otherwise the next time, as a clock or somebody ended it.
fn may_end_otherwise(settled: &Settled) -> bool {
    matches!(settled.done.receipt.receipt().outcome, Outcome::TimedOut | Outcome::Cancelled)
}

/// How many keys of jobs that had ended are passed over for an input. Every map that was left by a second Ctrl-C may have left one; a gateway
/// that says it of every key shall not be paid for ever.
const PASSED_OVER_MAX: u32 = 16;

/// How often an input was tried anew, counting the coming time. A job that ended by a clock or by hand, or whose output is gone, has
/// its receipt and would only be attached to under its old key; everything else either never ran, and may use the key again, or would
/// end the same way.
fn next_retry(before: &Row) -> u32 {
    match before.outcome.as_str() {
        "timed_out" | "cancelled" | OUTPUT_LOST => before.retry.saturating_add(1),
        _ => before.retry,
    }
}

/// Stops the map at the first Ctrl-C, and returns at the second.
async fn stop_twice(stop: watch::Sender<bool>, client: &Client) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    signals.next().await;
    show_note("cancelling what runs; Ctrl-C again to leave it");
    // The map is there: it is polled beside this.
    stop.send_replace(true);
    yield_now().await;
    signals.next().await;
    // Once it answers, the gateway has heard too that the jobs are to stop.
    let _ = timeout(HEARD_WITHIN, client.ask(Query::Account)).await;
    Err(InterruptedError("left; the same command goes on from here".into()).into())
}

fn progress_bar(total: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {pos}/{len}, {per_sec}, {eta} left{msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(total).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// What the rows of a map do not tell.
#[derive(Debug)]
struct Tally {
    inputs: usize,
    /// Results that earlier runs left.
    kept: usize,
    took: Duration,
}

fn conclude(rows: &[Row], tally: &Tally, args: &MapArgs, common: &Common) -> anyhow::Result<Exit> {
    if args.json {
        rows.iter().try_for_each(print_json)?;
    }
    let failed: Vec<&Row> = rows.iter().filter(|row| !row.is_success()).collect();
    for row in failed.iter().take(FAILURES_SHOWN) {
        show_note(format!("{}: {}", row.input, describe(row)));
    }
    if failed.len() > FAILURES_SHOWN {
        show_note(format!("and {} more", failed.len() - FAILURES_SHOWN));
    }
    if !common.quiet {
        show_note(summary(rows, tally, &args.out));
    }
    Ok(if rows.len() == tally.inputs && failed.is_empty() { Exit::Success } else { Exit::Incomplete })
}

fn describe(row: &Row) -> String {
    let outcome = match row.exit_code {
        Some(code) => format!("exit code {code}"),
        None => row.outcome.replace('_', " "),
    };
    if row.reason.is_empty() { outcome } else { format!("{outcome}: {}", row.reason) }
}

fn summary(rows: &[Row], tally: &Tally, out: &Path) -> String {
    let Tally { inputs, kept, took } = *tally;
    let mut failures: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.is_success()) {
        *failures.entry(if row.exit_code.is_some() { "exit code" } else { &row.outcome }).or_default() += 1;
    }
    let done = rows.iter().filter(|row| row.is_success()).count();
    let failures: String = failures.iter().map(|(outcome, n)| format!(", {n} {}", outcome.replace('_', " "))).collect();
    let kept = if kept > 0 { format!(" ({kept} of them before)") } else { String::new() };
    let left = if rows.len() < inputs { format!(", {} not tried", inputs - rows.len()) } else { String::new() };
    let fuel = Fuel(rows.iter().fold(0, |sum, row| sum.saturating_add(row.fuel)));
    let cost = Microcredits(rows.iter().filter_map(|row| row.price_microcredits).fold(0, u64::saturating_add));
    let unpriced = match rows.iter().filter(|row| row.price_microcredits.is_none()).count() {
        0 => String::new(),
        unpriced => format!(", and {unpriced} of unknown price"),
    };
    let took = show_micros(took.as_micros() as u64);
    format!(
        "{done} of {inputs} finished{kept}{failures}{left} · {fuel} · {cost}{unpriced} · {took} · results in {}",
        out.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: &str, exit_code: Option<i32>) -> Row {
        Row { outcome: outcome.into(), exit_code, fuel: 1_000, price_microcredits: Some(2), ..Row::default() }
    }

    #[test]
    fn every_input_gets_an_output_of_its_own() {
        let inputs = ["a/x.txt", "b/x.txt", "x.txt-2", "c/x.txt", "y"].map(PathBuf::from);
        let outputs: Vec<String> = plan(&inputs).unwrap().into_iter().map(|item| item.output).collect();
        assert_eq!(outputs, ["x.txt.out", "x.txt-2.out", "x.txt-2-2.out", "x.txt-3.out", "y.out"]);
        assert!(plan(&["..".into()]).is_err());
    }

    #[test]
    fn key_follows_specification_name_and_retry_alone() {
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        let key = derive_key(&a, "x.out", 0);
        assert_eq!(derive_key(&a, "x.out", 0), key);
        for other in [derive_key(&b, "x.out", 0), derive_key(&a, "y.out", 0), derive_key(&a, "x.out", 1)] {
            assert_ne!(other, key);
        }
    }

    #[test]
    fn only_what_may_end_otherwise_gets_a_new_key() {
        for outcome in ["timed_out", "cancelled", "output_lost"] {
            assert_eq!(next_retry(&row(outcome, None)), 1, "{outcome}");
        }
        for outcome in ["finished", "trapped", "out_of_fuel", "node_lost", "refused"] {
            assert_eq!(next_retry(&row(outcome, None)), 0, "{outcome}");
        }
    }

    #[test]
    fn price_that_nobody_knows_is_not_told_as_nothing() {
        let lost = JobError::GatewayLost { job: JobId([1; 16]), reason: "gone".into() };
        let row = row("", None).failed(&lost.into());
        assert_eq!((row.outcome.as_str(), row.price_microcredits), ("node_lost", None));
        let tally = Tally { inputs: 1, kept: 0, took: Duration::from_secs(2) };
        let line = summary(&[row], &tally, Path::new("out"));
        assert!(line.contains("· 0.000000 credits, and 1 of unknown price ·"), "{line}");
    }

    #[test]
    fn summary_counts_what_is_missing() {
        let rows = [row("finished", Some(0)), row("finished", Some(1)), row("out_of_fuel", None), row("out_of_fuel", None)];
        let tally = Tally { inputs: 5, kept: 1, took: Duration::from_secs(2) };
        let line = summary(&rows, &tally, Path::new("out"));
        assert!(
            line.starts_with(
                "1 of 5 finished (1 of them before), 1 exit code, 2 out of fuel, 1 not tried · 4.000 kfuel · 0.000008 credits"
            ),
            "{line}"
        );
    }
}
