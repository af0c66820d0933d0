//! One job, one result: whichever process runs it, beside whatever else, and wherever its code came from.

use std::collections::HashSet;
use std::sync::Arc;

use adit_protocol::{Digest, PublicKey};
use adit_runtime::{CompileError, RunReport};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::golden::{Case, programs};
use crate::support::{Host, Job, finish};

/// Jobs at once, and tenants, in the passes that have several.
const MANY: usize = 8;

/// What a job told, and the worker that ran it; neither where its module is refused.
#[derive(Clone, Default)]
struct Told {
    /// All that a receipt holds of it, or why it is refused.
    text: String,
    worker: Option<u32>,
}

/// Every program once, `slots` at a time, each slot with a tenant of its own. The modules are `cached` or compiled.
async fn pass(slots: usize, folder: &Arc<TempDir>, cached: bool) -> Vec<Told> {
    let host = Arc::new(Host::over(Arc::clone(folder), slots));
    let mut jobs = JoinSet::new();
    for (n, case) in programs().enumerate() {
        let host = Arc::clone(&host);
        // The runtime lets so many run at once as it has slots; the others wait.
        jobs.spawn(async move { (n, run(&host, case, PublicKey([(n % slots) as u8; 32]), cached).await) });
    }
    let mut told = vec![Told::default(); programs().count()];
    while let Some(ended) = jobs.join_next().await {
        let (n, ended) = ended.unwrap();
        told[n] = ended;
    }
    told
}

async fn run(host: &Host, case: &Case, tenant: PublicKey, cached: bool) -> Told {
    match host.compile(&case.wasm).await {
        // Programs of one module are compiled once.
        Ok(report) => assert!(report.cached == cached || case.is_guest, "{}: {report:?}", case.name),
        Err(CompileError::Invalid(reason)) => return Told { text: reason, worker: None },
        Err(error) => panic!("{}: {error}", case.name),
    }
    let job =
        Job { wasm: case.wasm.clone(), spec: case.spec.clone(), input: case.input.clone(), named: case.named.clone(), tenant };
    let run = host.runtime.start(job.request()).await.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let worker = run.worker_pid();
    let ended = finish(run).await.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let RunReport { outcome, reason, usage, .. } = &ended.report;
    let (output, log) = (Digest::of(&ended.output), Digest::of(&ended.log));
    Told { text: format!("{outcome:?} {reason} {usage:?} {output} {log}"), worker }
}

#[tokio::test]
async fn job_ends_and_is_billed_the_same_in_every_worker() {
    let folders = [(); 2].map(|()| Arc::new(tempfile::tempdir().unwrap()));
    let wanted = pass(1, &folders[0], false).await;
    let passes = [
        ("compiled, many at once", pass(MANY, &folders[1], false).await),
        ("from the cache, many at once", pass(MANY, &folders[0], true).await),
        ("from the cache, one at a time", pass(1, &folders[1], true).await),
    ];
    for (pass, told) in &passes {
        for ((case, wanted), told) in programs().zip(&wanted).zip(told) {
            assert_eq!(told.text, wanted.text, "{}: {pass}", case.name);
            assert!(told.worker.is_none() || told.worker != wanted.worker, "{}: {pass}: the same worker", case.name);
        }
    }
    let workers: HashSet<_> = passes[0].1.iter().filter_map(|told| told.worker).collect();
    let ran = wanted.iter().filter(|told| told.worker.is_some()).count();
    assert!(workers.len() >= MANY && ran >= 150, "{ran} ran, in {} workers", workers.len());
}
