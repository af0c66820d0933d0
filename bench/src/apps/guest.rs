//! The guest's side: a job of the runtime that nodes use, in a sandbox worker.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{BlobRef, ByteCount, Fuel, InputName, JobLimits, JobSpec, PublicKey, SecretKey};
use adit_runtime::lab::process_time;
use adit_runtime::{CompileLimits, Input, RunEvent, RunRequest, Runtime, RuntimeConfig};
use anyhow::{Context, Result, bail, ensure};

use super::Run;
use super::case::Case;
use crate::guest;

/// More than any application takes, also where it gets a tenth of a processor.
const LIMITS: (Fuel, ByteCount, u64) = (Fuel(1_000_000_000_000), ByteCount(1 << 30), 600_000);

/// More than a module's compilation takes, also on a machine that is busy with other things.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(300);

/// A guest that is compiled, with a worker of its own.
#[derive(Debug)]
pub(super) struct Guest {
    runtime: Runtime,
    tenant: PublicKey,
    spec: Arc<JobSpec>,
    input: PathBuf,
    /// In the order of the specification.
    named: Vec<PathBuf>,
    /// The worker's process, and what it had taken when its last run ended; nothing before the first.
    worker: Option<(u32, Duration)>,
}

impl Guest {
    /// Compiles a case's guest over a cache in `folder`.
    pub(super) async fn open(case: &Case, folder: &Path) -> Result<Self> {
        let module = guest::built(case.module)?;
        let compile_limits = CompileLimits { wall: COMPILE_TIME_MAX, cpu: COMPILE_TIME_MAX, ..CompileLimits::default() };
        // Optimised code alone is what is measured.
        let config = RuntimeConfig { baseline_code: false, compile_limits, ..RuntimeConfig::new(folder.join("cache")) };
        let runtime = Runtime::new(config)?;
        let (spec, named) = order(case, &module)?;
        runtime.compile(spec.module.digest, &module).await?;
        let (tenant, input) = (SecretKey::generate().public(), case.input.clone());
        Ok(Self { runtime, tenant, spec: Arc::new(spec), input, named, worker: None })
    }

    /// Runs it. Its time is what its worker took since the run before ended: so what a run leaves to be cleared away counts as well. That
    /// of the first run has the worker's start in it.
    pub(super) async fn run(&mut self) -> Result<Run> {
        let open = |path: &PathBuf| File::open(path).map(Input::File).with_context(|| format!("cannot read {}", path.display()));
        let (input, named) = (open(&self.input)?, self.named.iter().map(open).collect::<Result<_>>()?);
        let mut run = self.runtime.start(RunRequest { tenant: self.tenant, spec: Arc::clone(&self.spec), input, named }).await?;
        ensure!(run.is_optimised(), "the guest runs in code that is not optimised");
        let worker = run.worker_pid().context("a run has a worker")?;
        let before = match self.worker {
            None => Duration::ZERO,
            Some((known, spent)) if known == worker => spent,
            Some(_) => bail!("the worker ended, and another one took its place"),
        };
        let (mut output, mut log) = (Vec::new(), Vec::new());
        loop {
            match run.next().await? {
                RunEvent::Output(piece) => output.extend(piece),
                RunEvent::Log(piece) => log.extend(piece),
                RunEvent::Progress { .. } => {}
                RunEvent::Ended(report) => {
                    let spent = process_time(worker).context("the worker ended")?;
                    let log = String::from_utf8_lossy(&log);
                    ensure!(report.outcome.is_success(), "the guest {}: {} {log}", report.outcome, report.reason);
                    output.extend(report.output.into_iter().flatten());
                    self.worker = Some((worker, spent));
                    return Ok(Run { output, cpu: spent.saturating_sub(before) });
                }
            }
        }
    }
}

/// The job, and the files of its named inputs in its order.
fn order(case: &Case, module: &Path) -> Result<(JobSpec, Vec<PathBuf>)> {
    let blob = |path: &Path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(BlobRef::of(&bytes))
    };
    let (fuel, memory, wall_ms) = LIMITS;
    let limits = JobLimits { fuel, memory, wall_ms, ..JobLimits::default() };
    let mut spec = JobSpec { args: case.guest_args.clone(), limits, ..JobSpec::new(blob(module)?, blob(&case.input)?) };
    for (name, path) in &case.named {
        spec.add_input(name.parse::<InputName>()?, blob(path)?);
    }
    Ok((spec, case.named.iter().map(|(_, path)| path.clone()).collect()))
}
