//! Checks blocks on an Adit network: cuts chains into batches, has each checked by a job, and joins what they say.
#![forbid(unsafe_code)]

mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use adit_client::{Job, Source};
use adit_example_blockchain::{Batch, Verdict, collection};
use adit_example_network::{Finished, Invoice, Network, NetworkArgs};
use adit_guest::{Decode, Encode};
use adit_protocol::Fuel;
use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;

use crate::verdict::Chains;

/// Checks Bitcoin's headers, blocks and signatures on an Adit network, a batch a job, and checks the bill.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// The checker, compiled to wasm.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// The folder with the chains: blocks.json, main-headers.bin, regtest-headers.bin.
    #[arg(long, value_name = "FOLDER", default_value = "examples/blockchain/data")]
    data: PathBuf,
    /// Headers in a batch, or blocks where they are in no chain.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// The most fuel that one batch may use.
    #[arg(long, default_value = "10G")]
    fuel: Fuel,
    /// Flip this bit of the input of the first batch, to see how it is refused.
    #[arg(long, value_name = "BIT")]
    spoil: Option<usize>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let batches = args.batches()?;
    let module = Source::file(&args.module).with_context(|| format!("module {}", args.module.display()))?;
    let jobs = batches.iter().map(|batch| args.job(&module, batch)).collect::<Result<Vec<_>>>()?;
    let network = Network::connect(&args.network).await?;
    let finished = network.run_all("batches", jobs).await?;
    network.close().await;

    let chains = Chains::join(&batches, verdicts(&finished)?);
    let invoice = Invoice::of(&finished)?;
    if args.network.json {
        println!("{}", json!({ "chains": chains.to_json(), "invoice": invoice.to_json() }));
    } else {
        print!("{chains}{invoice}");
        println!("{0} receipts verified, {0} settlements verified", finished.len());
    }
    Ok(if chains.are_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Args {
    fn batches(&self) -> Result<Vec<Batch>> {
        let mut batches = collection::read(&self.data, self.batch as usize)?;
        if let (Some(bit), Some(first)) = (self.spoil, batches.first_mut()) {
            let byte = first.headers.get_mut(bit / 8).context("the first batch has no such bit")?;
            *byte ^= 1 << (bit % 8);
        }
        Ok(batches)
    }

    fn job(&self, module: &Source, batch: &Batch) -> Result<Job> {
        let mut job = Job::new(module.clone(), Source::bytes(batch.encode()?));
        job.spec.limits.fuel = self.fuel;
        Ok(job)
    }
}

fn verdicts(finished: &[Finished]) -> Result<Vec<Verdict>> {
    let verdict = |finished: &Finished| Verdict::decode(finished.output.clone());
    finished.iter().map(verdict).collect::<Result<_, _>>().context("a job's output is no verdict")
}
