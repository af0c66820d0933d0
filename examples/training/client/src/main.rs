//! Trains a network on an Adit network: nodes compute gradients, this program averages them, draws the curve and shows the bill.
#![forbid(unsafe_code)]

mod curve;
mod data;

use std::cell::RefCell;
use std::path::PathBuf;

use adit_client::{Job, Source};
use adit_example_network::{Finished, Invoice, Network, NetworkArgs, Progress};
use adit_example_training::{Answer, Course, Digits, Gradient, Plan, Task, Trainer};
use adit_guest::{Decode, Encode};
use adit_protocol::{Fuel, InputName};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::future::try_join_all;
use serde_json::json;

/// Trains a small network to read handwritten digits; the gradients are computed on an Adit network.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// The guest, compiled to wasm.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// The pictures: `digits.csv.gz` of scikit-learn.
    #[arg(long, value_name = "FILE")]
    digits: PathBuf,
    /// How often each picture is learned from.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1000))]
    epochs: u16,
    /// Jobs of a step, each with its part of 128 pictures.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=128))]
    shards: u8,
    /// Decides over the first parameters and the order of the pictures.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The most fuel that one job may use.
    #[arg(long, default_value = "2G")]
    fuel: Fuel,
    /// Where the curve goes, as SVG.
    #[arg(long, value_name = "FILE", default_value = "curve.svg")]
    out: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let digits = data::read(&args.digits)?;
    let trainer = Trainer::new(&digits, args.plan())?;
    let network = Network::connect(&args.network).await?;
    let nodes = Nodes::new(&args, &network, &digits)?;
    let mut progress = Progress::new("steps", trainer.steps() as u64, args.network.json);
    let course = trainer.run(async |tasks| nodes.compute(tasks).await, || progress.step()).await?;
    drop(progress);
    let finished = nodes.finished.into_inner();
    network.close().await;
    curve::write(&args.out, &course.points)?;
    report(&args, &course, &finished)
}

/// What computes gradients.
struct Nodes<'a> {
    network: &'a Network,
    module: Source,
    pictures: Source,
    name: InputName,
    fuel: Fuel,
    digits: &'a Digits,
    finished: RefCell<Vec<Finished>>,
}

impl<'a> Nodes<'a> {
    fn new(args: &Args, network: &'a Network, digits: &'a Digits) -> Result<Self> {
        let module = Source::file(&args.module).with_context(|| format!("module {}", args.module.display()))?;
        let (pictures, name) = (Source::bytes(digits.to_bytes()), "digits".parse()?);
        Ok(Self { network, module, pictures, name, fuel: args.fuel, digits, finished: RefCell::default() })
    }

    /// The gradients of a step's tasks, a job each. The first is computed here too: a node must have made the same bytes.
    async fn compute(&self, tasks: Vec<Task>) -> Result<Vec<Gradient>> {
        let jobs = tasks.iter().map(|task| self.job(task)).collect::<Result<Vec<_>>>()?;
        let finished = try_join_all(jobs.into_iter().map(|job| self.network.run(job))).await?;
        let answer = |finished: &Finished| anyhow::Ok(Answer::decode(finished.output.clone())?.gradient()?);
        let gradients = finished.iter().map(answer).collect::<Result<Vec<_>>>()?;
        if let (Some(task), Some(gradient)) = (tasks.first(), gradients.first()) {
            ensure!(task.run(self.digits)? == *gradient, "a node's gradient is not the one that is computed here");
        }
        self.finished.borrow_mut().extend(finished);
        Ok(gradients)
    }

    fn job(&self, task: &Task) -> Result<Job> {
        let mut job = Job::new(self.module.clone(), Source::bytes(task.encode()?));
        job.spec.limits.fuel = self.fuel;
        Ok(job.with_named(self.name.clone(), self.pictures.clone()))
    }
}

fn report(args: &Args, course: &Course, finished: &[Finished]) -> Result<()> {
    let invoice = Invoice::of(finished)?;
    let (accuracy, digest) = (course.accuracy(), course.digest());
    if args.network.json {
        let points =
            course.points.iter().map(|point| json!({ "loss": point.loss, "learned": point.learned, "held_out": point.held_out }));
        let points: Vec<_> = points.collect();
        println!("{}", json!({ "accuracy": accuracy, "digest": digest, "points": points, "invoice": invoice.to_json() }));
        return Ok(());
    }
    for (point, epoch) in course.points.iter().zip(1..) {
        let (learned, held_out) = (point.learned * 100.0, point.held_out * 100.0);
        println!("epoch {epoch:>3}  loss {:.4}  right {learned:6.2} %  right of those held out {held_out:6.2} %", point.loss);
    }
    println!("{:.2} % of the pictures that were held out are read right", accuracy * 100.0);
    println!("course {digest}, the same on every run");
    println!("curve {}", args.out.display());
    print!("{invoice}");
    println!("{0} receipts verified, {0} settlements verified", finished.len());
    Ok(())
}

impl Args {
    fn plan(&self) -> Plan {
        Plan { epochs: self.epochs.into(), shards: self.shards.into(), seed: self.seed }
    }
}
