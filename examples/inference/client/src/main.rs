//! Embeds a folder of texts on an Adit network and answers questions with the passages that are nearest, and with the bill.
#![forbid(unsafe_code)]

mod model;
mod nearest;
mod passages;

use std::path::PathBuf;

use adit_client::{Job, Source};
use adit_example_inference::from_bytes;
use adit_example_network::{Finished, Invoice, Network, NetworkArgs};
use adit_protocol::{ByteCount, Fuel};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};

use crate::model::Model;
use crate::nearest::{Nearest, nearest};
use crate::passages::Passage;

/// The most memory that a job may hold: MiniLM's layers take 43 MB, and a batch that goes through them 10.
const MEMORY: ByteCount = ByteCount(256 << 20);
/// How long a job may take on its node: some seconds are enough on one that is free, and a slow or busy one gets its chance.
const WALL_MS: u64 = 300_000;

/// Embeds a folder of texts on an Adit network and answers questions with the passages that are nearest.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// The guest, compiled to wasm.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// Folder of the model: `config.json`, `vocab.txt` and `model.safetensors`.
    #[arg(long, value_name = "FOLDER")]
    model: PathBuf,
    /// Folder of the texts: its files `*.md` and `*.txt`, and those of folders in it.
    #[arg(long, value_name = "FOLDER")]
    texts: PathBuf,
    /// What to look for; repeat for more.
    #[arg(long, value_name = "TEXT", required = true)]
    question: Vec<String>,
    /// How many passages are shown for a question.
    #[arg(long, value_name = "N", default_value_t = 3)]
    top: usize,
    /// Passages that a job embeds.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// The most fuel that one job may use.
    #[arg(long, default_value = "60G")]
    fuel: Fuel,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let passages = passages::read(&args.texts)?;
    let model = Model::read(&args.model)?;
    let network = Network::connect(&args.network).await?;
    let jobs = jobs(&args, &model, &passages)?;
    if !args.network.json {
        println!("{} passages in {} jobs, {} numbers for each", passages.len(), jobs.len(), model.width());
    }
    let finished = network.run_all("batches", jobs).await?;
    network.close().await;

    let mut embeddings = finished.iter().map(|finished| from_bytes(&finished.output));
    let questions = embeddings.next().unwrap_or_default();
    let embeddings: Vec<f32> = embeddings.flatten().collect();
    ensure!(embeddings.len() == passages.len() * model.width(), "the jobs made other embeddings than were asked for");
    model.check(&args.question, &questions)?;

    let answers: Vec<_> =
        questions.chunks_exact(model.width()).map(|question| nearest(question, &embeddings, args.top)).collect();
    report(&args, &passages, &answers, &finished)
}

/// The questions' job, and one for each batch of passages.
fn jobs(args: &Args, model: &Model, passages: &[Passage]) -> Result<Vec<Job>> {
    if let Some(question) = args.question.iter().find(|question| question.contains('\n')) {
        bail!("a question is one line, and {question:?} is more");
    }
    let module = Source::file(&args.module).with_context(|| format!("module {}", args.module.display()))?;
    let passages: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    let questions: Vec<&str> = args.question.iter().map(String::as_str).collect();
    let batches = std::iter::once(&questions[..]).chain(passages.chunks(args.batch.into()));
    Ok(batches.map(|texts| job(args, &module, model, texts)).collect())
}

/// A job that embeds `texts`, a line each.
fn job(args: &Args, module: &Source, model: &Model, texts: &[&str]) -> Job {
    let lines: String = texts.iter().flat_map(|text| [text, "\n"]).collect();
    let mut job = Job::new(module.clone(), Source::bytes(lines.into_bytes()));
    job.spec.limits.fuel = args.fuel;
    job.spec.limits.memory = MEMORY;
    job.spec.limits.wall_ms = WALL_MS;
    model.give_to(job)
}

fn report(args: &Args, passages: &[Passage], answers: &[Vec<Nearest>], finished: &[Finished]) -> Result<()> {
    let invoice = Invoice::of(finished)?;
    if args.network.json {
        let answers: Vec<Value> =
            args.question.iter().zip(answers).map(|(question, found)| to_json(question, found, passages)).collect();
        println!("{}", json!({ "answers": answers, "invoice": invoice.to_json() }));
        return Ok(());
    }
    for (question, found) in args.question.iter().zip(answers) {
        println!("\n{question}");
        for Nearest { at, cosine } in found {
            let Passage { place, text } = &passages[*at];
            println!("  {cosine:.3}  {place}\n         {}", passages::excerpt(text));
        }
    }
    println!("\nthe questions' embeddings are those of this machine, to the last bit");
    print!("{invoice}");
    println!("{0} receipts verified, {0} settlements verified", finished.len());
    Ok(())
}

fn to_json(question: &str, found: &[Nearest], passages: &[Passage]) -> Value {
    let found = found.iter().map(|Nearest { at, cosine }| {
        let Passage { place, text } = &passages[*at];
        json!({ "cosine": cosine, "place": place, "text": text })
    });
    json!({ "question": question, "nearest": found.collect::<Vec<_>>() })
}
