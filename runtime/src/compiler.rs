//! Compilation as the supervisor sees it: one compile worker per module, and never two for the same.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use adit_protocol::Digest;
use adit_protocol::limits::MODULE_BYTES_MAX;
use rustix::process::Signal;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use crate::cache::ModuleCache;
use crate::ipc::{CompileOrder, FromCompiler};
use crate::process::{Role, WorkerProcess, WorkerProgram};
use crate::walls::Need;
use crate::worker::WORKER_FAILED;

/// Time that a compilation may take for each [`COMPILE_UNIT_BYTES`] of module, or part of it: on the clock, and of all cores together.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(10);
/// A large application: what Cranelift compiles in some seconds on one core of a small machine.
const COMPILE_UNIT_BYTES: u64 = 8 << 20;
/// Compilations at once. Each uses every core; one more hides the time that a small module waits for a large one.
const COMPILES_MAX: usize = 2;

/// How a module came to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileReport {
    /// Whether its code was in the cache.
    pub cached: bool,
    /// Microseconds of compilation, 0 where it was cached.
    pub compile_us: u64,
}

/// A module that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// It is not one that runs on any node.
    #[error("{0}")]
    Invalid(String),
    /// This node could not do its part.
    #[error("compilation failed on this node: {0}")]
    Node(String),
}

impl From<io::Error> for CompileError {
    fn from(error: io::Error) -> Self {
        Self::Node(error.to_string())
    }
}

type Compilation = Arc<OnceCell<Result<CompileReport, CompileError>>>;

/// Compiles modules into the cache.
#[derive(Debug)]
pub(crate) struct Compiler {
    program: WorkerProgram,
    need: Need,
    cache: Arc<ModuleCache>,
    running: Mutex<HashMap<Digest, Compilation>>,
    permits: Semaphore,
}

impl Compiler {
    pub(crate) fn new(program: WorkerProgram, need: Need, cache: Arc<ModuleCache>) -> Self {
        Self { program, need, cache, running: Mutex::default(), permits: Semaphore::new(COMPILES_MAX) }
    }

    /// Makes `module` ready. Calls for one module while it compiles share the compilation and its report; where the caller that
    /// drives it is dropped, another goes on.
    pub(crate) async fn compile(&self, module: Digest, wasm: &Path) -> Result<CompileReport, CompileError> {
        if self.cache.get(module).is_some() {
            return Ok(CompileReport { cached: true, compile_us: 0 });
        }
        let compilation = Arc::clone(self.lock().entry(module).or_default());
        let report = compilation.get_or_init(|| self.compile_alone(module, wasm)).await.clone();
        // The next call looks in the cache, or tries again where this node failed. A newer compilation is left alone.
        let mut running = self.lock();
        if running.get(&module).is_some_and(|current| Arc::ptr_eq(current, &compilation)) {
            running.remove(&module);
        }
        report
    }

    async fn compile_alone(&self, module: Digest, wasm: &Path) -> Result<CompileReport, CompileError> {
        let cache = Arc::clone(&self.cache);
        if off_thread(move || cache.load(module)).await?.is_some() {
            return Ok(CompileReport { cached: true, compile_us: 0 });
        }
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let started = Instant::now();
        self.compile_in_worker(module, wasm).await?;
        let compile_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(%module, compile_us, "module compiled");
        Ok(CompileReport { cached: false, compile_us })
    }

    async fn compile_in_worker(&self, module: Digest, wasm: &Path) -> Result<(), CompileError> {
        let wasm = File::open(wasm)?;
        let wasm_bytes = wasm.metadata()?.len();
        if wasm_bytes > MODULE_BYTES_MAX {
            return Err(CompileError::Invalid(format!("larger than {MODULE_BYTES_MAX} bytes")));
        }
        let code = self.cache.temp_file()?;
        let mut worker = WorkerProcess::spawn(&self.program, Role::Compile, self.need)?;
        let limit = time_limit(wasm_bytes);
        worker.limit_cpu(limit)?;
        let answer = timeout(limit, async {
            worker.sender.send_with_fds(&CompileOrder { module }, &[wasm.as_fd(), code.as_file().as_fd()]).await?;
            worker.receiver.recv::<FromCompiler>().await
        });
        match answer.await {
            Ok(Ok(Some(FromCompiler::Compiled))) => {
                let cache = Arc::clone(&self.cache);
                off_thread(move || cache.store(module, code)).await??;
                Ok(())
            }
            Ok(Ok(Some(FromCompiler::Invalid(reason)))) => Err(CompileError::Invalid(reason)),
            Ok(Ok(Some(FromCompiler::Failed(reason)))) => Err(CompileError::Node(reason)),
            Ok(Ok(None) | Err(_)) => Err(death(worker, limit).await),
            Err(_) => Err(CompileError::Invalid(format!("compilation took over {} s", limit.as_secs()))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Compilation>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn time_limit(wasm_bytes: u64) -> Duration {
    let units = wasm_bytes.div_ceil(COMPILE_UNIT_BYTES).max(1);
    COMPILE_TIME_MAX * u32::try_from(units).expect("a module within its limit has few units")
}

/// What to make of a compile worker that went without an answer.
async fn death(worker: WorkerProcess, limit: Duration) -> CompileError {
    match worker.kill().await {
        Ok(status) if status.signal() == Some(Signal::XCPU.as_raw()) => {
            CompileError::Invalid(format!("compilation took over {} s of processor time", limit.as_secs()))
        }
        // Only the kernel, short of memory, or somebody on this machine kills in this way.
        Ok(status) if status.signal() == Some(Signal::KILL.as_raw()) => {
            CompileError::Node("the compile worker was killed".to_owned())
        }
        // No module is to blame for that: either our list lacks a call that this machine's libraries make, or somebody broke in.
        Ok(status) if status.signal() == Some(Signal::SYS.as_raw()) => {
            CompileError::Node("the compile worker was killed for a system call that is not allowed".to_owned())
        }
        Ok(status) if status.code() == Some(WORKER_FAILED) => CompileError::Node("the compile worker failed".to_owned()),
        Ok(status) => CompileError::Invalid(format!("the compiler died of it, probably over its memory limit ({status})")),
        Err(error) => error.into(),
    }
}

/// Runs what may read or hash megabytes where it holds up nobody.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| CompileError::Node(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn worker_over_its_processor_time_is_the_modules_fault() {
        // `yes` takes no order and never rests.
        let worker = WorkerProcess::spawn(&WorkerProgram::at("/usr/bin/yes"), Role::Compile, Need::Strong);
        let mut worker = worker.unwrap();
        let limit = Duration::from_secs(1);
        worker.limit_cpu(limit).unwrap();
        assert!(worker.receiver.recv::<FromCompiler>().await.is_ok_and(|told| told.is_none()));
        let error = death(worker, limit).await;
        assert_eq!(error, CompileError::Invalid("compilation took over 1 s of processor time".to_owned()));
    }

    #[test]
    fn time_grows_with_the_module() {
        for (bytes, seconds) in [(0, 10), (1, 10), (8 << 20, 10), ((8 << 20) + 1, 20), (MODULE_BYTES_MAX, 80)] {
            assert_eq!(time_limit(bytes).as_secs(), seconds, "{bytes}");
        }
    }
}
