//! `adit receipts`: what was paid for.

use std::path::PathBuf;

use adit_client::Client;
use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{Answer, Microcredits, Query, Receipt, SignedReceipt};
use adit_tlog::LogProof;
use clap::Args;
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::exit::{Exit, ProofError};
use crate::gpu::{GpuRunReport, show_gpu_time};
use crate::link::{self, ask, unexpected};
use crate::proof::Proof;
use crate::quantity::{show_bytes, show_micros};
use crate::reactor::block_on;
use crate::report::short;
use crate::screen::{Screen, show_error};
use crate::table::{Table, print_json};

/// List the receipts that you paid for, each checked, and what they cost in all
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit receipts
  adit receipts --json | jq -s 'map(.price_microcredits) | add'
  adit receipts --save receipts && adit verify receipts/*.receipt

A job has a receipt for each attempt that was paid. The one that settled it is its last.")]
pub(crate) struct ReceiptsArgs {
    /// Start at this index of the gateway's ledger
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Show at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write each to DIR/JOB.receipt as well, with the proof that it is in the gateway's log; one that did not settle its job to
    /// DIR/JOB.attempt-N.receipt
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
        let mut list = List::new(args);
        let mut next = Some(args.from);
        while let Some(from) = next.filter(|_| !list.is_full()) {
            let rows;
            (rows, next) = page(&client, from).await?;
            list.take(&client, rows).await?;
        }
        client.close().await;
        list.finish(&mut Screen::new(common.quiet))
    })
}

async fn page(client: &Client, from: u64) -> anyhow::Result<(Vec<(u64, SignedReceipt)>, Option<u64>)> {
    match ask(client, Query::Receipts { from, limit: ANSWER_ROWS_MAX as u32 }).await? {
        // An answer that does not get ahead would be asked for for ever.
        Answer::Receipts { rows, next } => Ok((rows, next.filter(|next| *next > from))),
        other => Err(unexpected(&other)),
    }
}

/// Receipts as they come in: objects are printed at once, a table at the end.
#[derive(Debug)]
struct List<'a> {
    args: &'a ReceiptsArgs,
    table: Table<9>,
    seen: usize,
    bad: usize,
    cost: u64,
}

impl<'a> List<'a> {
    fn new(args: &'a ReceiptsArgs) -> Self {
        let table = Table::new(["index", "job", "node", "outcome", "fuel", "peak", "GPU", "ran", "price"]);
        Self { args, table, seen: 0, bad: 0, cost: 0 }
    }

    fn is_full(&self) -> bool {
        self.args.limit.is_some_and(|limit| self.seen >= limit)
    }

    async fn take(&mut self, client: &Client, rows: Vec<(u64, SignedReceipt)>) -> anyhow::Result<()> {
        for (index, signed) in rows {
            if self.is_full() {
                break;
            }
            self.seen += 1;
            let verdict = signed.clone().verify();
            if let Err(error) = &verdict {
                self.bad += 1;
                show_error(&ProofError(format!("ledger index {index}: {error}")).into());
            }
            self.cost = self.cost.saturating_add(signed.receipt.cost.0);
            self.show(index, &signed, verdict.is_ok())?;
            if let Some(dir) = &self.args.save {
                let log = link::log_proof(client, signed.receipt.job).await;
                let (name, log) = file(index, &signed.receipt, log);
                Proof { receipt: signed, settlement: None, log }.save(&dir.join(name))?;
            }
        }
        Ok(())
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

    fn finish(&self, screen: &mut Screen) -> anyhow::Result<Exit> {
        if !self.args.json {
            self.table.print()?;
            screen.note(format!("{} receipts, {} invalid, {} in all", self.seen, self.bad, Microcredits(self.cost)));
        }
        Ok(if self.bad == 0 { Exit::Success } else { Exit::BadProof })
    }
}

/// The name of the file for the receipt at `index`, and the proof that belongs into it, of the `proof` that the gateway has for its job: that
/// is the settlement's.
fn file(index: u64, receipt: &Receipt, proof: Option<String>) -> (String, Option<String>) {
    let job = receipt.job;
    let settled = proof.as_ref().and_then(|text| LogProof::from_bytes(text.as_bytes()).ok()).map(|proof| proof.index);
    // Where the gateway has none, a later receipt of the job takes the place.
    let is_other = receipt.outcome.is_interim() || settled.is_some_and(|settled| settled != index);
    if is_other { (format!("{job}.attempt-{}.receipt", receipt.attempt), None) } else { (format!("{job}.receipt"), proof) }
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
    fn each_paid_attempt_has_a_file_of_its_own_and_no_others_proof() {
        let (settled, cut) = (good().receipt.receipt, partial().receipt.receipt);
        let proof = || Some(log_proof(&good().receipt, 7));
        let names = [format!("{}.receipt", settled.job), format!("{}.attempt-1.receipt", settled.job)];
        assert_eq!(file(7, &settled, proof()), (names[0].clone(), proof()));
        assert_eq!(file(7, &settled, None), (names[0].clone(), None));
        // It came second, and another attempt settled the job.
        assert_eq!(file(6, &settled, proof()), (names[1].clone(), None));
        let name = format!("{}.attempt-2.receipt", cut.job);
        assert_eq!((file(6, &cut, proof()), file(6, &cut, None)), ((name.clone(), None), (name, None)));
    }
}
