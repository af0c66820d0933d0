//! `cargo xtask bench`: what a job costs beside the bare parts that it is made of. Ours and its reference are measured in alternating rounds of
//! one run, so that what the machine does beside hits both; each figure is a ratio of medians.
// One call of Wasmtime's, in `cold`, is unsafe by its nature.
#![deny(unsafe_code)]

mod bulk;
mod cold;
mod echo;
mod figure;
mod guest;
mod net;
mod plan;
mod reference;
mod serve;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use crate::figure::Figure;
use crate::plan::Plan;

/// Measures Adit against the bare parts that it is made of.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything where nothing is named.
    name: Option<Name>,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// Some twenty seconds instead of one and a half minutes; noisier.
    #[arg(long)]
    quick: bool,
    /// Be the bare QUIC server that ours is compared with, and write its address to this file.
    #[arg(long, hide = true, value_name = "READY_FILE")]
    reference_server: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    /// The time of one small job: until its output, and until its receipt is stored.
    EchoP50,
    /// Small jobs per second, 64 at once.
    EchoThroughput,
    /// The same against HTTP requests per second of `wasmtime serve`.
    WasmtimeServe,
    /// A large input into the gateway's store.
    BulkIn,
    /// The first run of a known module after the node's restart.
    ColdStart,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(ready) = &args.reference_server {
        return reference::serve(ready).await;
    }
    tokio::select! {
        measured = measure(&args) => measured,
        signal = terminated() => bail!("ended by {}", signal?),
    }
}

async fn measure(args: &Args) -> Result<()> {
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let names = args.name.map_or_else(|| Name::value_variants().to_vec(), |name| vec![name]);
    if !args.json {
        println!("{:<17} {:>16} {:>17} {:>7}  {:<15}", "figure", "ours", "reference", "ratio", "goal");
    }
    for name in names {
        if let Some(obstacle) = name.obstacle() {
            eprintln!("{}: skipped: {obstacle}", name.text());
            continue;
        }
        let measured = tokio::time::timeout(plan.limit, name.measure(&plan)).await;
        let figures = measured.map_err(|_| anyhow::anyhow!("not done after {} s", plan.limit.as_secs()));
        for figure in figures.flatten().with_context(|| name.text())? {
            print(&figure, args.json)?;
        }
    }
    Ok(())
}

/// Waits for a signal that ends the bench. Returning from it, and not dying of it, takes along the processes and folders that were made.
async fn terminated() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted.map(|()| "SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}

impl Name {
    async fn measure(self, plan: &Plan) -> Result<Vec<Figure>> {
        match self {
            Self::EchoP50 => echo::measure_p50(plan).await,
            Self::EchoThroughput => echo::measure_throughput(plan).await,
            Self::WasmtimeServe => serve::measure(plan).await,
            Self::BulkIn => bulk::measure_in(plan).await,
            Self::ColdStart => cold::measure(plan).await,
        }
    }

    /// Why it cannot be measured here.
    fn obstacle(self) -> Option<String> {
        match self {
            Self::WasmtimeServe => serve::obstacle(),
            _ => None,
        }
    }

    fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

fn print(figure: &Figure, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figure)?);
    } else {
        println!("{figure}");
    }
    Ok(())
}
