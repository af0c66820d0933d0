//! `adit receipts`: what was paid for.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adit_client::Client;
use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{Answer, Leaf, Microcredits, Query, SignedReceipt};
use adit_tlog::LogProof;
use clap::Args;
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::exit::Exit;
use crate::gpu::{GpuRunReport, show_gpu_time};
use crate::link::{self, ask, unexpected};
use crate::proof::{Proof, second_name};
use crate::quantity::{show_bytes, show_micros};
use crate::reactor::block_on;
use crate::report::short;
use crate::screen::{Screen, show_error};
use crate::statement::{Told, next_page, wrong};
use crate::table::{Table, print_json};
use crate::verify;

/// How long --save waits in all for proofs in vain. A gateway with witnesses signs a checkpoint about once a second.
const PROOFS_PATIENCE: Duration = Duration::from_secs(5);

/// List the receipts that you paid for, each checked, and what they cost in all
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit receipts
  adit receipts --json | jq -s 'map(select(.valid).price_microcredits) | add'
  adit receipts --save receipts && adit verify receipts/*.receipt

A job has a receipt for each attempt that was paid. The one that settled it is its last. With --save
the proof of the newest is waited for a few seconds, and what has none yet is told: the same command
adds it later. What a file has is never lost: neither the promise that `adit run` kept, nor a proof,
nor another receipt. What does not hold is not saved. Exit code 23 where something does not hold.")]
pub(crate) struct ReceiptsArgs {
    /// Start at this index of the gateway's ledger
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Show at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write each to DIR/JOB.receipt as well, with the proof that it is in the gateway's log; one that did not settle its job to
    /// DIR/JOB.attempt-N.receipt, with that proof too. Where that holds another, to DIR/JOB.leaf-INDEX.receipt
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

pub(crate) fn run(args: &ReceiptsArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let mut list = List::new(args, Told::of(&client), Screen::new(common.quiet));
        let mut next = Some(args.from);
        while let Some(from) = next.filter(|_| !list.is_full()) {
            let rows;
            (rows, next) = page(&client, from).await?;
            list.take(&client, from, rows).await?;
        }
        client.close().await;
        list.finish()
    })
}

async fn page(client: &Client, from: u64) -> anyhow::Result<(Vec<(u64, SignedReceipt)>, Option<u64>)> {
    match ask(client, Query::Receipts { from, limit: ANSWER_ROWS_MAX as u32 }).await? {
        Answer::Receipts { rows, next } => {
            let next = next_page(rows.last().map(|(index, _)| *index), next)?;
            Ok((rows, next))
        }
        other => Err(unexpected(&other)),
    }
}

/// Receipts as they come in: objects are printed at once, a table at the end.
#[derive(Debug)]
struct List<'a> {
    args: &'a ReceiptsArgs,
    screen: Screen,
    told: Told,
    table: Table<9>,
    seen: usize,
    bad: usize,
    /// Of those that hold.
    cost: u64,
    /// Left to wait for proofs.
    patience: Duration,
    /// Files without a proof.
    unproven: Vec<PathBuf>,
}

impl<'a> List<'a> {
    fn new(args: &'a ReceiptsArgs, told: Told, screen: Screen) -> Self {
        let table = Table::new(["index", "job", "node", "outcome", "fuel", "peak", "GPU", "ran", "price"]);
        Self { args, screen, told, table, seen: 0, bad: 0, cost: 0, patience: PROOFS_PATIENCE, unproven: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.args.limit.is_some_and(|limit| self.seen >= limit)
    }

    async fn take(&mut self, client: &Client, from: u64, rows: Vec<(u64, SignedReceipt)>) -> anyhow::Result<()> {
        for (index, signed) in rows {
            if self.is_full() {
                break;
            }
            self.seen += 1;
            self.told.take_index(index, from).map_err(|error| wrong(index, error))?;
            let verdict = self.told.take_receipt(&signed);
            self.show(index, &signed, verdict.is_ok())?;
            match verdict {
                Err(error) => self.blame(index, error),
                Ok(()) => {
                    self.cost = self.cost.saturating_add(signed.receipt.cost.0);
                    if let Some(dir) = &self.args.save {
                        self.save(client, dir, index, signed).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn blame(&mut self, index: u64, error: impl Display) {
        self.bad += 1;
        show_error(&wrong(index, error));
    }

    fn show(&mut self, index: u64, signed: &SignedReceipt, valid: bool) -> anyhow::Result<()> {
        let receipt = &signed.receipt;
        if self.args.json {
            return print_json(&ReceiptReport::of(index, signed, valid));
        }
        self.table.push([
            index.to_string(),
            short(receipt.job),
            short(receipt.node),
            if valid { receipt.outcome.to_string() } else { format!("INVALID: {}", receipt.outcome) },
            receipt.usage.fuel.to_string(),
            show_bytes(receipt.usage.memory_peak),
            receipt.gpu.as_ref().map_or_else(|| "-".to_owned(), |_| show_gpu_time(receipt.usage.gpu_ns)),
            show_micros(receipt.times.run_us),
            receipt.cost.to_string(),
        ]);
        Ok(())
    }

    /// Saves a receipt that holds, with its proof as far as that is to be had.
    async fn save(&mut self, client: &Client, dir: &Path, index: u64, receipt: SignedReceipt) -> anyhow::Result<()> {
        let (ends_job, log) = self.find(client, index, &receipt).await?;
        let proof = Proof { receipt, settlement: None, log };
        if let Some(fault) = verify::fault(&proof) {
            self.blame(index, format!("{fault}; it is not saved"));
            return Ok(());
        }
        let paths = names(index, &proof, ends_job).map(|name| dir.join(name));
        let Some((path, kept)) = put(&proof, &paths)? else {
            self.blame(index, "the files that it belongs into hold others; it is not saved: --save another folder");
            return Ok(());
        };
        if path != paths[0] {
            self.screen.note(format!(
                "{} holds another and is left as it is; this one is in {}",
                paths[0].display(),
                path.display()
            ));
        }
        let elsewhere = proof.leaf().filter(|leaf| *leaf != index).map(|leaf| format!("it is proven as leaf {leaf}"));
        if let Some(fault) = verify::fault(&kept).or(elsewhere) {
            self.blame(index, format!("{fault}; what shows it is in {}", path.display()));
        }
        if kept.log.is_none() {
            self.unproven.push(path);
        }
        Ok(())
    }

    /// Whether a receipt ended its job, and the proof that it is in the log.
    async fn find(&mut self, client: &Client, index: u64, signed: &SignedReceipt) -> anyhow::Result<(bool, Option<String>)> {
        let begun = Instant::now();
        let attempt = Query::AttemptProof { job: signed.receipt.job, attempt: signed.receipt.attempt };
        let log = link::log_proof_within(client, attempt, self.patience).await;
        let leaf = match log.as_deref().and_then(proven_leaf) {
            Some(leaf) => leaf,
            None => {
                self.patience = self.patience.saturating_sub(begun.elapsed());
                leaf_at(client, index).await?
            }
        };
        let is_its_own = leaf.paid().is_some_and(|paid| paid.receipt == signed.public());
        Ok((is_its_own && matches!(leaf, Leaf::Settlement(_)), log))
    }

    fn finish(mut self) -> anyhow::Result<Exit> {
        if !self.args.json {
            self.table.print()?;
            self.screen.note(format!("{} receipts, {} invalid, {} in all", self.seen, self.bad, Microcredits(self.cost)));
        }
        for path in &self.unproven {
            self.screen
                .note(format!("{} has no proof yet that it is in the log; the same command again adds it", path.display()));
        }
        Ok(if self.bad == 0 { Exit::Success } else { Exit::BadProof })
    }
}

/// The leaf of which a proof is, believed by nobody yet.
fn proven_leaf(text: &str) -> Option<Leaf> {
    Leaf::from_bytes(&LogProof::from_bytes(text.as_bytes()).ok()?.extra).ok()
}

/// The leaf at `index`, as the gateway tells it.
async fn leaf_at(client: &Client, index: u64) -> anyhow::Result<Leaf> {
    match ask(client, Query::Statement { from: index, limit: 1 }).await? {
        Answer::Statement { rows, .. } => match rows.as_slice() {
            [(at, bytes)] if *at == index => Leaf::from_bytes(&bytes.0).map_err(|error| wrong(index, error)),
            _ => Err(wrong(index, "the gateway has a receipt of it, and no leaf")),
        },
        other => Err(unexpected(&other)),
    }
}

/// The names of the file for the receipt at `index`: of the second where the first one holds another.
fn names(index: u64, proof: &Proof, ends_job: bool) -> [String; 2] {
    let (job, attempt) = (proof.receipt.receipt.job, proof.receipt.receipt.attempt);
    let first = if ends_job { format!("{job}.receipt") } else { format!("{job}.attempt-{attempt}.receipt") };
    [first, second_name(job, index)]
}

/// Puts a receipt into the first of these files that can have it, beside what it has already; which that was, and what it then has.
fn put(proof: &Proof, paths: &[PathBuf]) -> anyhow::Result<Option<(PathBuf, Proof)>> {
    for path in paths {
        if let Some(kept) = proof.clone().save_joined(path)? {
            return Ok(Some((path.clone(), kept)));
        }
    }
    Ok(None)
}

/// The object of `adit receipts --json`.
#[derive(Debug, Serialize)]
struct ReceiptReport {
    index: u64,
    valid: bool,
    job: String,
    attempt: u32,
    node: String,
    outcome: &'static str,
    fuel: u64,
    memory_peak_bytes: u64,
    memory_fuel: u128,
    bytes_in: u64,
    bytes_out: u64,
    host_calls: u64,
    gpu_ns: u64,
    gpu: Option<GpuRunReport>,
    run_ms: f64,
    meter_id: String,
    price_microcredits: u64,
    output_digest: String,
    receipt: String,
}

impl ReceiptReport {
    fn of(index: u64, signed: &SignedReceipt, valid: bool) -> Self {
        let receipt = &signed.receipt;
        let usage = &receipt.usage;
        Self {
            index,
            valid,
            job: receipt.job.to_string(),
            attempt: receipt.attempt.0,
            node: receipt.node.to_string(),
            outcome: receipt.outcome.name(),
            fuel: usage.fuel.0,
            memory_peak_bytes: usage.memory_peak.0,
            memory_fuel: usage.memory_fuel,
            bytes_in: usage.bytes_in.0,
            bytes_out: usage.bytes_out.0,
            host_calls: usage.host_calls,
            gpu_ns: usage.gpu_ns,
            gpu: receipt.gpu.as_ref().map(|run| GpuRunReport::of(run, usage)),
            run_ms: receipt.times.run_us as f64 / 1e3,
            meter_id: receipt.meter.to_string(),
            price_microcredits: receipt.cost.0,
            output_digest: receipt.output.to_string(),
            receipt: hex::encode(signed.to_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::tests::{good, log_proof, partial};

    #[test]
    fn each_paid_attempt_has_a_file_of_its_own() {
        let (settled, cut) = (good(), partial());
        let job = settled.receipt.receipt.job;
        let leaf = format!("{job}.leaf-7.receipt");
        assert_eq!(names(7, &settled, true), [format!("{job}.receipt"), leaf.clone()]);
        assert_eq!(names(7, &settled, false), [format!("{job}.attempt-1.receipt"), leaf.clone()]);
        assert_eq!(names(7, &cut, false), [format!("{job}.attempt-2.receipt"), leaf]);
    }

    /// A proof was written over the promise that `adit run` had kept, and a stranger's receipt over either.
    #[test]
    fn what_a_file_has_is_never_lost() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["job.receipt", "job.leaf-8.receipt"].map(|name| dir.path().join(name));
        Proof { log: None, ..good() }.save(&paths[0]).unwrap();
        let proven = Proof { settlement: None, ..good() };
        let put = |proof: &Proof| put(proof, &paths).unwrap();
        assert_eq!(put(&proven), Some((paths[0].clone(), good())));
        // No checkpoint yet: nothing is taken away.
        assert_eq!(put(&Proof { log: None, ..proven.clone() }), Some((paths[0].clone(), good())));
        // Another receipt of the job, and the same at another leaf.
        for other in [partial(), Proof { log: Some(log_proof(&good().receipt, 8)), ..proven }] {
            assert_eq!(put(&other), Some((paths[1].clone(), other.clone())));
            assert_eq!(Proof::load(&paths[0]).unwrap(), good());
            std::fs::remove_file(&paths[1]).unwrap();
        }
        std::fs::write(&paths[1], "something else").unwrap();
        assert_eq!(put(&partial()), None);
        assert_eq!(std::fs::read(&paths[1]).unwrap(), b"something else");
    }

    #[test]
    fn leaf_of_a_proof_says_what_it_pays() {
        let leaf = proven_leaf(&log_proof(&good().receipt, 7)).unwrap();
        assert_eq!(leaf.paid().unwrap().receipt, good().receipt.public());
        assert_eq!(proven_leaf("no proof"), None);
    }
}
