//! How fast somebody who trusts nobody checks a log.

use std::sync::Arc;
use std::time::Instant;

use adit_ledger::Ledger;
use adit_protocol::SignedReceipt;
use adit_protocol::limits::BATCH_LEAVES_MAX;
use adit_tlog::{
    DirSource, HttpMethod, HttpRequest, LogService, MirrorRules, Published, PublishedCheckpoint, Source, SourceError, export,
    fsck, sign_checkpoint,
};
use anyhow::{Result, ensure};
use bytes::Bytes;
use redb::backends::InMemoryBackend;
use rustix::time::{ClockId, clock_gettime};

use super::receipts::{Receipts, operations};
use crate::figure::{Figure, Goal, Rounds, Title};
use crate::net::scratch_folder;
use crate::plan::Plan;

/// The whole check of a log in a folder, on all cores: tree, tiles, books and receipts, whose nodes signed 64 at a time.
const AUDIT: Title =
    Title { name: "ledger_audit", unit: "/s", reference: "one receipt, one signature, on a core", goal: Goal::AtLeast(20.0) };

/// The same in processor time of all threads, which no other process' work is part of.
const AUDIT_TIME: Title =
    Title { name: "ledger_audit_cpu", unit: "us", reference: "one receipt, one signature", goal: Goal::AtMost(0.1) };

/// Receipts in one commit while a log is made: whole batches of the nodes'.
const COMMIT_RECEIPTS: usize = 8 * BATCH_LEAVES_MAX;
/// Receipts with a signature of their own.
const UNBATCHED: usize = 8_000;

/// Receipts checked per second, and what each costs.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    let mut receipts = Receipts::from(0);
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), receipts.gateway().public())?;
    receipts.begin(&mut ledger)?;
    fill(&mut ledger, &mut receipts, plan.audit_receipts)?;
    export(&ServiceSource(Arc::new(publish(&ledger, &receipts))), folder.path(), &mirror_rules(&receipts), |_, _| {})?;
    drop(ledger);
    let (source, gateway) = (DirSource::new(folder.path()), receipts.gateway().public());
    let unbatched = receipts.signed(UNBATCHED, 1);
    let (mut rates, mut costs) = (Rounds::default(), Rounds::default());
    for round in 0..=plan.rounds {
        let ours = Spent::on(plan.audit_receipts, || {
            let report = fsck(&source, &gateway, |_, _| {})?;
            ensure!(report.is_sound(), "our own log is not sound: {:?} {:?}", report.faults, report.unread);
            ensure!(report.receipts_verified == plan.audit_receipts as u64, "{} receipts hold", report.receipts_verified);
            Ok(())
        })?;
        let copies: Vec<SignedReceipt> = unbatched.iter().map(SignedReceipt::public).collect();
        let theirs = Spent::on(UNBATCHED, || {
            for receipt in copies {
                receipt.verify()?;
            }
            Ok(())
        })?;
        if round > 0 {
            rates.push(ours.per_second, theirs.per_second);
            costs.push(ours.cpu_micros, theirs.cpu_micros);
        }
    }
    Ok(vec![rates.figure(AUDIT), costs.figure(AUDIT_TIME)])
}

/// What work took: how much of it is done in a second, and this process' time on its processors for each.
struct Spent {
    per_second: f64,
    cpu_micros: f64,
}

impl Spent {
    fn on(count: usize, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (start, cpu) = (Instant::now(), cpu_micros());
        work()?;
        let count = count as f64;
        Ok(Self { per_second: count / start.elapsed().as_secs_f64(), cpu_micros: (cpu_micros() - cpu) / count })
    }
}

fn cpu_micros() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Settles `count` receipts.
pub(super) fn fill(ledger: &mut Ledger, receipts: &mut Receipts, count: usize) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let entries = receipts.entries(left.min(COMMIT_RECEIPTS))?;
        left -= entries.len();
        ensure!(ledger.apply(&operations(entries))?.iter().all(Result::is_ok), "the ledger refuses a receipt");
    }
    Ok(())
}

/// The log as the gateway serves it.
pub(super) fn publish(ledger: &Ledger, receipts: &Receipts) -> LogService {
    let (published, head) = (Published::default(), ledger.tree());
    published.set(PublishedCheckpoint { head, note: sign_checkpoint(receipts.gateway(), &head).into() });
    LogService::new(ledger.reader().clone(), published)
}

/// How it is copied: checked against the gateway's key, whatever its size.
pub(super) fn mirror_rules(receipts: &Receipts) -> MirrorRules {
    MirrorRules { gateway: Some(receipts.gateway().public()), bytes_max: u64::MAX }
}

/// A log without a server between.
#[derive(Debug, Clone)]
pub(super) struct ServiceSource(pub(super) Arc<LogService>);

impl Source for ServiceSource {
    fn read(&self, path: &str, _bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let path = format!("/{path}");
        let request = HttpRequest { method: HttpMethod::Get, path, accepts_gzip: false, body: Bytes::new() };
        let response = self.0.answer(&request);
        Ok((response.status == 200).then(|| response.body.to_vec()))
    }
}
