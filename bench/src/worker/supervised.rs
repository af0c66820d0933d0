//! Jobs through the runtime's public interface, as a node runs them: the supervisor in this process, the worker in another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::{JobSpec, PublicKey, SecretKey};
use adit_runtime::{CompileLimits, Input, RunEvent, RunRequest, Runtime, RuntimeConfig};
use anyhow::{Context, Result, ensure};

use super::spec;
use crate::echo::micros;
use crate::figure::median;

/// No figure takes as long.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(120);

/// A runtime of one slot, and a client's key.
pub(super) struct Supervised {
    runtime: Runtime,
    cache: PathBuf,
    tenant: PublicKey,
}

/// A module on disk, and the job that it is for.
pub(super) struct Program {
    file: PathBuf,
    spec: Arc<JobSpec>,
}

impl Program {
    /// Writes `wasm` to `folder` as `name`.
    pub(super) fn write(wasm: &[u8], folder: &Path, name: &str) -> Result<Self> {
        let file = folder.join(name);
        std::fs::write(&file, wasm)?;
        Ok(Self { file, spec: Arc::new(spec(wasm)) })
    }

    /// Where the module is.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

impl Supervised {
    /// A runtime over the cache in `folder`.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let cache = folder.join("cache");
        // A machine that is busy with other things would make a time limit of a slow figure.
        let compile_limits = CompileLimits { wall: COMPILE_TIME_MAX, cpu: COMPILE_TIME_MAX, ..CompileLimits::default() };
        let runtime = Runtime::new(RuntimeConfig { compile_limits, ..RuntimeConfig::new(&cache) })?;
        Ok(Self { runtime, cache, tenant: SecretKey::generate().public() })
    }

    /// Compiles a module, and tells where its code is.
    pub(super) async fn compile(&self, program: &Program) -> Result<PathBuf> {
        self.runtime.compile(program.spec.module.digest, &program.file).await?;
        self.settle(program).await;
        let entries = std::fs::read_dir(&self.cache)?.collect::<Result<Vec<_>, _>>()?;
        let code = entries.into_iter().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "cwasm"));
        code.context("the cache holds no code")
    }

    /// Waits until a program's optimised code is there, and the compiler rests.
    pub(super) async fn settle(&self, program: &Program) {
        self.runtime.optimised(program.spec.module.digest).await;
    }

    /// Runs a job, from the request to its report; its output, and what the module's compilation took.
    pub(super) async fn run(&self, program: &Program) -> Result<(Vec<u8>, Duration)> {
        let compiled = self.runtime.compile(program.spec.module.digest, &program.file).await?;
        let request = RunRequest {
            tenant: self.tenant,
            spec: Arc::clone(&program.spec),
            input: Input::Inline(Vec::new()),
            named: Vec::new(),
        };
        let mut run = self.runtime.start(request).await?;
        loop {
            if let RunEvent::Ended(report) = run.next().await? {
                ensure!(report.outcome.is_success(), "the guest {}: {}", report.outcome, report.reason);
                return Ok((report.output.unwrap_or_default(), Duration::from_micros(compiled.compile_us)));
            }
        }
    }

    /// The median microseconds of jobs one after another, for so long.
    pub(super) async fn latency(&self, program: &Program, time: Duration) -> Result<f64> {
        let (mut latencies, started) = (Vec::new(), Instant::now());
        while started.elapsed() < time {
            let asked = Instant::now();
            self.run(program).await?;
            latencies.push(micros(asked.elapsed()));
        }
        Ok(median(latencies))
    }
}
