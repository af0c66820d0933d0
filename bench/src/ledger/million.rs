//! What a log of a million receipts costs: its bytes, a proof out of it, opening it after its writer was killed, and checking all of it.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_ledger::Ledger;
use adit_tlog::{DirSource, HttpServer, HttpSource, LogProof, LogService, Source, export, fsck, sign_checkpoint};
use anyhow::{Context, Result, ensure};

use super::audit::{ServiceSource, fill, mirror_rules, publish};
use super::receipts::Receipts;
use crate::echo::micros;
use crate::figure::{Figure, Goal, Rounds, Title};
use crate::net::{Process, scratch_folder};
use crate::plan::Plan;

/// The hidden flag that makes this program a writer that is killed.
const WRITER_FLAG: &str = "--ledger-writer";

/// Per receipt: the database's file, with all indexes and what the gateway alone keeps, against leaf and hashes as they are served.
const BYTES: Title = Title { name: "ledger_bytes", unit: "B", reference: "bundles and tiles of the log", goal: Goal::None };
/// A proof as `adit` writes it to a receipt's file, without the leaf, which is the receipt.
const PROOF_BYTES: Title =
    Title { name: "ledger_proof", unit: "B", reference: "with the leaf as extra data", goal: Goal::Within(2_048.0) };
/// Finding the hashes of a proof.
const PROOF_TIME: Title = Title { name: "ledger_prove", unit: "us", reference: "checking the proof", goal: Goal::None };
/// Opening after the writing process was killed.
const REOPEN: Title =
    Title { name: "ledger_reopen", unit: "ms", reference: "after the ledger was closed", goal: Goal::Within(5_000.0) };
/// The whole check.
const FSCK: Title = Title { name: "ledger_fsck", unit: "s", reference: "over HTTP from the gateway's service", goal: Goal::None };

/// Proofs in a round.
const PROOFS: u64 = 2_000;
/// Receipts in one of the killed writer's commits.
const COMMIT_RECEIPTS: usize = 64;
/// How long the writer that is killed has written before.
const WRITES: Duration = Duration::from_millis(300);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(1);

/// All figures of one log.
pub(crate) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    let path = folder.path().join("ledger");
    let mut receipts = Receipts::from(0);
    let count = plan.log_receipts;
    let mut ledger = Ledger::open(&path, receipts.gateway().public())?;
    receipts.begin(&mut ledger)?;
    let start = Instant::now();
    fill(&mut ledger, &mut receipts, count)?;
    eprintln!("ledger_million: {count} receipts are settled after {:.1} s, their making included", start.elapsed().as_secs_f64());
    let mut figures = proofs(plan, &ledger, &receipts)?;
    let (log, service) = (folder.path().join("log"), publish(&ledger, &receipts));
    let start = Instant::now();
    let exported = export(&ServiceSource(Arc::new(service.clone())), &log, &mirror_rules(&receipts), |_, _| {})?;
    eprintln!("ledger_million: the log is copied to a folder after {:.1} s", start.elapsed().as_secs_f64());
    figures.push(audits(plan, &log, service, &receipts)?);
    drop(ledger);
    let mut bytes = Rounds::default();
    bytes.push(fs::metadata(&path)?.len() as f64 / count as f64, exported.bytes as f64 / count as f64);
    figures.push(bytes.figure(BYTES));
    fs::remove_dir_all(&log)?;
    figures.push(reopened(plan, &path, folder.path(), &receipts)?);
    Ok(figures)
}

fn proofs(plan: &Plan, ledger: &Ledger, receipts: &Receipts) -> Result<Vec<Figure>> {
    let (reader, head) = (ledger.reader(), ledger.tree());
    let checkpoint = sign_checkpoint(receipts.gateway(), &head);
    let (mut bytes, mut times) = (Rounds::default(), Rounds::default());
    for round in 0..plan.rounds as u64 {
        let (mut proving, mut checking) = (Duration::ZERO, Duration::ZERO);
        for number in 0..PROOFS {
            // A prime stride: proofs from all over the log.
            let index = (round * PROOFS + number) * 611_953 % head.size;
            let start = Instant::now();
            let hashes = reader.prove_leaf(index, head.size)?.context("a leaf has a proof")?;
            proving += start.elapsed();
            let leaf = reader.leaf(index)?.context("the log has the leaf")?;
            let proof = LogProof { extra: Vec::new(), index, hashes, checkpoint: checkpoint.clone() };
            let start = Instant::now();
            ensure!(proof.verify(&leaf)? == head, "a proof of another tree");
            checking += start.elapsed();
            bytes.push(proof.to_bytes().len() as f64, LogProof { extra: leaf, ..proof }.to_bytes().len() as f64);
        }
        times.push(micros(proving) / PROOFS as f64, micros(checking) / PROOFS as f64);
    }
    Ok(vec![bytes.figure(PROOF_BYTES), times.figure(PROOF_TIME)])
}

/// Of a folder and over HTTP, in seconds.
fn audits(plan: &Plan, log: &Path, service: LogService, receipts: &Receipts) -> Result<Figure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server = HttpServer::spawn("log", listener, move |request| service.answer(&request))?;
    let (folder, http) = (DirSource::new(log), HttpSource::new(&format!("http://{}", server.address()))?);
    let audit = |source: &dyn Source| -> Result<f64> {
        let start = Instant::now();
        let report = fsck(source, &receipts.gateway().public(), |_, _| {})?;
        ensure!(report.is_sound(), "our own log is not sound: {:?} {:?}", report.faults, report.unread);
        ensure!(report.receipts_verified == plan.log_receipts as u64, "{} receipts hold", report.receipts_verified);
        Ok(start.elapsed().as_secs_f64())
    };
    let mut rounds = Rounds::default();
    for _ in 0..plan.long_rounds {
        rounds.push(audit(&folder)?, audit(&http)?);
    }
    Ok(rounds.figure(FSCK))
}

fn reopened(plan: &Plan, path: &Path, folder: &Path, receipts: &Receipts) -> Result<Figure> {
    let gateway = receipts.gateway().public();
    let open = || -> Result<(f64, u64)> {
        let start = Instant::now();
        let ledger = Ledger::open(path, gateway)?;
        Ok((micros(start.elapsed()) / 1e3, ledger.tree().size))
    };
    let mut rounds = Rounds::default();
    for round in 0..plan.long_rounds {
        let (closed, before) = open()?;
        let acknowledged = write_and_kill(path, &folder.join(format!("written-{round}")), folder)?;
        let (killed, after) = open()?;
        ensure!(after >= before + acknowledged, "{acknowledged} receipts were acknowledged, and {} are there", after - before);
        rounds.push(killed, closed);
    }
    Ok(rounds.figure(REOPEN))
}

/// Has another process settle receipts, and kills it amid that. How many it was told are durable.
fn write_and_kill(path: &Path, written: &Path, folder: &Path) -> Result<u64> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    let mut writer = Process::spawn("writer", Command::new(program).arg(WRITER_FLAG).arg(path).arg(written), folder)?;
    let acknowledged = || fs::metadata(written).map_or(0, |file| file.len());
    while acknowledged() == 0 {
        writer.expect_running()?;
        std::thread::sleep(POLL);
    }
    std::thread::sleep(WRITES);
    writer.expect_running()?;
    drop(writer);
    Ok(acknowledged())
}

/// Is the writer: settles receipts, and appends a byte to `written` for each that is durable.
pub(crate) fn write_until_killed(path: &Path, written: &Path) -> Result<()> {
    // Whoever started it is its standard input.
    std::thread::spawn(|| {
        // An error is an end too.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let gateway = Receipts::from(0).gateway().public();
    let mut ledger = Ledger::open(path, gateway)?;
    // Behind all that any process before has made.
    let mut receipts = Receipts::from(ledger.tree().size << 20);
    let mut acknowledged = fs::File::create_new(written)?;
    loop {
        fill(&mut ledger, &mut receipts, COMMIT_RECEIPTS)?;
        std::io::Write::write_all(&mut acknowledged, &[0; COMMIT_RECEIPTS])?;
    }
}
