//! `cargo xtask bench`: what a job costs beside the bare parts that it is made of. Ours and its reference are measured in alternating rounds of
//! one run, so that what the machine does beside hits both; each figure is a ratio of medians.
// One call of Wasmtime's, in `cold` and in `worker`, is unsafe by its nature.
#![deny(unsafe_code)]

mod apps;
mod bulk;
mod cold;
mod distance;
mod echo;
mod figure;
mod gpu;
mod guest;
mod ledger;
mod meter;
mod net;
mod peak;
mod plan;
mod reference;
mod serve;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::figure::Figure;
use crate::plan::Plan;

/// Measures Adit against the bare parts that it is made of.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; where nothing is named, all that takes seconds.
    name: Option<Name>,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// Some forty seconds instead of two and a half minutes; noisier.
    #[arg(long)]
    quick: bool,
    /// Be the bare QUIC server that ours is compared with, and write its address to this file.
    #[arg(long, hide = true, value_name = "READY_FILE")]
    reference_server: Option<PathBuf>,
    /// Be the ledger's writer that is killed, and say in the second file what is durable.
    #[arg(long, hide = true, num_args = 2, value_names = ["LEDGER", "WRITTEN"])]
    ledger_writer: Option<Vec<PathBuf>>,
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
    /// Jobs among twenty nodes at 2 to 200 ms, and a node whose path gets worse.
    Distance,
    /// Ten times the work that there is room for.
    Peak,
    /// Receipts that become durable, and a log that is checked.
    Ledger,
    /// A log of a million receipts.
    LedgerMillion,
    /// What a job costs on its node beside bare Wasmtime.
    Worker,
    /// What a guest's work on a GPU costs beside wgpu itself.
    Gpu,
    /// Metered guests of the five applications against the same code native.
    Apps,
    /// What counting costs a guest.
    Meter,
    /// No figure: the meter's weights against time.
    #[value(hide = true)]
    Calibrate,
    /// No figure: operators one by one against time.
    #[value(hide = true)]
    Operators,
}

fn main() -> Result<()> {
    // What measures the runtime is its supervisor, and so what is started as its workers.
    adit_runtime::run_if_worker();
    worker::run_if_cell();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(Args::parse()))
}

async fn run(args: Args) -> Result<()> {
    if let Some(ready) = &args.reference_server {
        return reference::serve(ready).await;
    }
    if let Some([path, written]) = args.ledger_writer.as_deref() {
        return ledger::write_until_killed(path, written);
    }
    tokio::select! {
        measured = measure(&args) => measured,
        signal = terminated() => bail!("ended by {}", signal?),
    }
}

async fn measure(args: &Args) -> Result<()> {
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let json = args.json;
    match args.name {
        Some(Name::Calibrate) => return on_thread(move || meter::calibrate(&plan, json)).await,
        Some(Name::Operators) => return on_thread(move || meter::scan_operators(&plan, json)).await,
        _ => {}
    }
    let names = args.name.map_or_else(Name::quick, |name| vec![name]);
    let mut titled = args.json;
    for name in names {
        if let Some(obstacle) = name.obstacle() {
            eprintln!("{}: skipped: {obstacle}", name.text());
            continue;
        }
        let limit = name.limit(&plan);
        let measured = tokio::time::timeout(limit, name.measure(&plan, args.json)).await;
        let figures = measured.map_err(|_| anyhow::anyhow!("not done after {} s", limit.as_secs()));
        for figure in figures.flatten().with_context(|| name.text())? {
            if !std::mem::replace(&mut titled, true) {
                println!("{:<17} {:>16} {:>17} {:>7} {:>12}  {:<15}", "figure", "ours", "reference", "ratio", "rounds", "goal");
            }
            print(&figure, args.json)?;
        }
    }
    Ok(())
}

/// Runs what computes for minutes on a thread of its own, which ends with the process: a signal need not wait for it.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (sender, done) = oneshot::channel();
    std::thread::Builder::new().spawn(move || sender.send(work()))?;
    done.await.context("the measuring thread panicked")?
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
    /// What is measured when nothing is named.
    fn quick() -> Vec<Self> {
        Self::value_variants()
            .iter()
            .copied()
            .filter(|name| {
                !matches!(
                    name,
                    Self::LedgerMillion
                        | Self::Worker
                        | Self::Gpu
                        | Self::Apps
                        | Self::Meter
                        | Self::Calibrate
                        | Self::Operators
                        | Self::Distance
                        | Self::Peak
                )
            })
            .collect()
    }

    /// How long it may take.
    fn limit(self, plan: &Plan) -> Duration {
        match self {
            Self::Meter | Self::Worker | Self::Gpu | Self::Apps | Self::LedgerMillion => plan.kernels_limit,
            // Three figures, each with references of its own.
            Self::Ledger => 3 * plan.limit,
            // Twenty nodes come one by one.
            Self::Distance | Self::Peak => 3 * plan.limit,
            _ => plan.limit,
        }
    }

    async fn measure(self, plan: &Plan, json: bool) -> Result<Vec<Figure>> {
        match self {
            Self::EchoP50 => echo::measure_p50(plan).await,
            Self::EchoThroughput => echo::measure_throughput(plan).await,
            Self::WasmtimeServe => serve::measure(plan).await,
            Self::BulkIn => bulk::measure_in(plan).await,
            Self::ColdStart => cold::measure(plan).await,
            Self::Ledger => {
                let plan = *plan;
                on_thread(move || ledger::measure(&plan)).await
            }
            Self::LedgerMillion => {
                let plan = *plan;
                on_thread(move || ledger::measure_million(&plan)).await
            }
            Self::Distance => distance::measure(plan).await,
            Self::Peak => peak::measure(plan).await,
            Self::Worker => worker::measure(plan).await,
            Self::Gpu => gpu::measure(plan).await,
            Self::Apps => apps::measure(plan).await,
            Self::Meter => {
                let plan = *plan;
                // The thread's processor time is what is measured, and a guest has no place where it could yield.
                on_thread(move || meter::measure(&plan, !json)).await
            }
            // They print by themselves.
            Self::Calibrate | Self::Operators => Ok(Vec::new()),
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
