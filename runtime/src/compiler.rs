//! Compilation as the supervisor sees it: one compile worker per module, and never two for the same and one tier.
//!
//! A large module that is new begins in baseline code, which is there in a seventh of the time, while its optimised code is made. That
//! the meter counts the same under both compilers makes them one to whoever pays.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit_protocol::Digest;
use adit_protocol::limits::MODULE_BYTES_MAX;
use humantime::format_rfc3339_seconds;
use rustix::process::Signal;
use tempfile::NamedTempFile;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::timeout;

use crate::admission::{MODULE_BYTES_DEFAULT, ModuleLimits};
use crate::backoff::Backoff;
use crate::cache::ModuleCache;
use crate::engine::Tier;
use crate::ipc::{CompileOrder, FromCompiler, IpcError, ToCompiler};
use crate::process::{Role, WorkerProcess, WorkerSetup, memory_limit_is_the_least};
use crate::share::{Accounts, CpuShare};
use crate::strikes::Strikes;
use crate::unchecked::process_time;
use crate::worker::{WORKER_FAILED, words};

/// Time that a compilation may take for each [`COMPILE_UNIT_BYTES`] of module, or part of it: of the wall's, and of processors'.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(10);
/// A large application: what Cranelift compiles in some seconds on one core of a small machine.
const COMPILE_UNIT_BYTES: u64 = MODULE_BYTES_DEFAULT;
/// Time that a worker has to write its code once more, where room was made for it: on a disk that is full, and maybe slow.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);
/// Memory that a compile worker may hold.
const COMPILE_MEMORY_MAX: u64 = 1 << 30;
/// A worker that had less than this part of the time that it was given was kept waiting by the machine.
const BUSY_PART: u32 = 2;
/// Compilations of one tier at once. Each uses every core; one more hides the time that a small module waits for a large one.
const COMPILES_MAX: usize = 2;
/// Modules of fewer bytes are compiled once: their optimised code is there within a tenth of a second.
const BASELINE_BYTES_MIN: u64 = 128 << 10;
/// Modules that may have baseline code at a time. More are compiled once, and wait their turn.
const BASELINES_MAX: usize = 16;

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
    /// This node could not do its part, for want of room on its disk or of memory, too.
    #[error("compilation failed on this node: {0}")]
    Node(String),
    /// Its code is more than this node's owner has it keep of compiled modules.
    #[error("{0}")]
    TooLarge(String),
}

impl From<io::Error> for CompileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::TooLarge(error.to_string()),
            _ => Self::Node(error.to_string()),
        }
    }
}

/// What a compile worker may use. Not for owners: it is the same everywhere, and tests shorten it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Wall time for each 8 MiB of module.
    pub wall: Duration,
    /// Processor time for each 8 MiB of module; whole seconds, at least one.
    pub cpu: Duration,
    /// Bytes of memory.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { wall: COMPILE_TIME_MAX, cpu: COMPILE_TIME_MAX, memory: COMPILE_MEMORY_MAX }
    }
}

/// The code of a module.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) file: Arc<File>,
    pub(crate) tier: Tier,
    /// There for baseline code: the sender goes when the optimised code is in the cache, or will not be.
    pub(crate) optimised: Option<watch::Receiver<()>>,
}

impl Code {
    /// Optimised code from the cache.
    pub(crate) fn optimised(file: Arc<File>) -> Self {
        Self { file, tier: Tier::Optimised, optimised: None }
    }
}

type Compilation = Arc<OnceCell<Result<CompileReport, CompileError>>>;

/// A caller's part in a compilation that others may wait for, too.
struct Part<'a> {
    compiler: &'a Compiler,
    module: Digest,
    /// There until it is given up.
    compilation: Option<Compilation>,
}

/// Compiles modules into the cache.
#[derive(Debug)]
pub(crate) struct Compiler {
    setup: WorkerSetup,
    /// What compilations took ahead of their share, which is a slot's.
    accounts: Arc<Accounts>,
    cache: Arc<ModuleCache>,
    strikes: Arc<Strikes>,
    /// Modules whose compile worker somebody killed.
    backoff: Backoff,
    module_limits: ModuleLimits,
    limits: CompileLimits,
    running: Mutex<HashMap<Digest, Compilation>>,
    permits: Semaphore,
    /// Where baseline code is kept until the optimised code is there; not on every machine.
    baseline_cache: Option<Arc<ModuleCache>>,
    /// Modules whose optimised code is on its way.
    baselines: Mutex<HashMap<Digest, Code>>,
    baseline_permits: Semaphore,
    /// Tells those that optimise to give up.
    stopped: watch::Sender<()>,
    /// Whether functions tell of themselves.
    profile: bool,
}

impl Compiler {
    pub(crate) fn new(
        setup: WorkerSetup,
        share: CpuShare,
        cache: Arc<ModuleCache>,
        strikes: Strikes,
        module_bytes_max: u64,
        limits: CompileLimits,
        baseline_cache: Option<ModuleCache>,
    ) -> Self {
        let module_limits = ModuleLimits { module_bytes_max: module_bytes_max.min(MODULE_BYTES_MAX) };
        let strikes = Arc::new(strikes);
        Self {
            setup,
            accounts: Accounts::new(share, 2 * COMPILES_MAX),
            cache,
            strikes,
            backoff: Backoff::default(),
            module_limits,
            limits,
            running: Mutex::default(),
            permits: Semaphore::new(COMPILES_MAX),
            baseline_cache: baseline_cache.map(Arc::new),
            baselines: Mutex::default(),
            baseline_permits: Semaphore::new(COMPILES_MAX),
            stopped: watch::Sender::new(()),
            profile: false,
        }
    }

    /// The same, for modules whose functions tell of themselves where `profile` says so. The cache must hold no others.
    pub(crate) fn profiling(self, profile: bool) -> Self {
        Self { profile, ..self }
    }

    /// The baseline code of a module whose optimised code is on its way.
    pub(crate) fn baseline(&self, module: Digest) -> Option<Code> {
        self.baselines().get(&module).cloned()
    }

    /// Ends the compilations that nobody waits for; the others end with those who wait.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(());
    }

    /// Makes `module` ready. Calls for one module while it compiles share the compilation and its report; where the caller that
    /// drives it is dropped, another goes on.
    pub(crate) async fn compile(self: &Arc<Self>, module: Digest, wasm: &Path) -> Result<CompileReport, CompileError> {
        if self.cache.get(module).is_some() || self.baselines().contains_key(&module) {
            return Ok(CompileReport { cached: true, compile_us: 0 });
        }
        let part = Part::of(self, module);
        part.compilation().get_or_init(|| self.compile_alone(module, wasm)).await.clone()
    }

    async fn compile_alone(self: &Arc<Self>, module: Digest, wasm: &Path) -> Result<CompileReport, CompileError> {
        let (cache, strikes) = (Arc::clone(&self.cache), Arc::clone(&self.strikes));
        match off_thread(move || cache.load(module).ok_or_else(|| strikes.refused_until(module))).await? {
            Ok(_) => return Ok(CompileReport { cached: true, compile_us: 0 }),
            Err(Some(until)) => {
                return Err(CompileError::Invalid(format!("refused until {}: {STRUCK}", format_rfc3339_seconds(until))));
            }
            Err(None) => {}
        }
        let started = Instant::now();
        if let Some(left) = self.backoff.left(module, started) {
            return Err(CompileError::Node(format!(
                "its compile worker was killed here; not tried again for {} s",
                left.as_secs() + 1
            )));
        }
        let begun = self.begin_with_baseline(module, wasm).await?;
        if begun == Begun::Not {
            self.optimise(module, File::open(wasm)?).await?;
        }
        let cached = begun == Begun::Cached;
        let compile_us = if cached { 0 } else { u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX) };
        tracing::debug!(%module, ?begun, compile_us, "module compiled");
        Ok(CompileReport { cached, compile_us })
    }

    /// Makes baseline code where that is worth while and possible, and lets the optimised code follow. What is wrong with a compiler or
    /// a module, but that it is not valid, is left to the optimising one.
    async fn begin_with_baseline(self: &Arc<Self>, module: Digest, wasm: &Path) -> Result<Begun, CompileError> {
        let is_large = std::fs::metadata(wasm)?.len() >= BASELINE_BYTES_MIN;
        let Some(cache) = self.baseline_cache.clone().filter(|_| is_large && self.baselines().len() < BASELINES_MAX) else {
            return Ok(Begun::Not);
        };
        // Opened now, because the file may be gone later.
        let again = File::open(wasm)?;
        let known = Arc::clone(&cache);
        let (file, begun) = match off_thread(move || known.load(module)).await? {
            Some(file) => (file, Begun::Cached),
            None => {
                let permit = self.baseline_permits.acquire().await.expect("the semaphore is never closed");
                let answer = self.ask_worker(module, File::open(wasm)?, Tier::Baseline).await?;
                drop(permit);
                match answer {
                    Answer::Code(code) => match off_thread(move || cache.store(module, code)).await? {
                        Ok(file) => (file, Begun::Compiled),
                        Err(error) => {
                            tracing::debug!(%module, %error, "no baseline code");
                            return Ok(Begun::Not);
                        }
                    },
                    Answer::Invalid(reason) => return Err(CompileError::Invalid(reason)),
                    Answer::Died(Death::Killed(reason)) => return Err(self.back_off(module, &reason)),
                    Answer::Unsuited(reason)
                    | Answer::Failed(reason)
                    | Answer::Died(Death::Node(reason) | Death::Module(reason)) => {
                        tracing::debug!(%module, reason, "no baseline code");
                        return Ok(Begun::Not);
                    }
                }
            }
        };
        let (done, optimised) = watch::channel(());
        self.baselines().insert(module, Code { file, tier: Tier::Baseline, optimised: Some(optimised) });
        let (this, mut stopped) = (Arc::clone(self), self.stopped.subscribe());
        tokio::spawn(async move {
            tokio::select! {
                optimised = this.optimise(module, again) => if let Err(error) = optimised {
                    tracing::warn!(%module, %error, "a module that began in baseline code has no optimised code");
                },
                _ = stopped.changed() => tracing::debug!(%module, "not optimised: the owner took the machine back"),
            }
            this.baselines().remove(&module);
            drop(done);
        });
        Ok(begun)
    }

    /// Puts optimised code into the cache, in place of the baseline code.
    async fn optimise(&self, module: Digest, wasm: File) -> Result<(), CompileError> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        match self.ask_worker(module, wasm, Tier::Optimised).await? {
            Answer::Code(code) => {
                let cache = Arc::clone(&self.cache);
                let baseline = self.baseline_cache.clone();
                off_thread(move || {
                    cache.store(module, code)?;
                    baseline.map_or(Ok(()), |baseline| baseline.remove(module))
                })
                .await??;
                Ok(())
            }
            Answer::Invalid(reason) => Err(CompileError::Invalid(reason)),
            Answer::Unsuited(reason) | Answer::Failed(reason) => Err(CompileError::Node(reason)),
            Answer::Died(death) => self.blame(module, death).await,
        }
    }

    /// Has a worker of its own compile a module.
    async fn ask_worker(&self, module: Digest, wasm: File, tier: Tier) -> Result<Answer, CompileError> {
        let wasm_bytes = wasm.metadata()?.len();
        self.module_limits.check_bytes(wasm_bytes).map_err(|refusal| CompileError::Invalid(refusal.to_string()))?;
        let limits = self.limits.of(wasm_bytes);
        let order = CompileOrder { module, tier, limits: self.module_limits, profile: self.profile };
        let mut code = self.cache.new_code()?;
        let mut worker = self.setup.spawn(Role::Compile)?;
        worker.limit_processor(limits.cpu)?;
        worker.limit_memory(limits.memory)?;
        let _hold = worker.pid().map(|pid| self.accounts.hold(pid)).transpose()?;
        // The time is the compiler's to use; when it was stopped it had none.
        let wall = self.accounts.share().wall_for(limits.wall);
        let order = ToCompiler::Compile(order);
        let mut answer = timeout(wall, ask(&mut worker, &order, &[wasm.as_fd(), code.as_file().as_fd()])).await;
        if let Ok(Ok(Some(FromCompiler::Full(bytes)))) = answer {
            if tier == Tier::Baseline {
                // It is needed for a moment; for that nothing makes way.
                return Ok(Answer::Unsuited("the disk has no room for baseline code".to_owned()));
            }
            if bytes > limits.memory {
                return Ok(Answer::Failed(format!(
                    "the compile worker says that it has {bytes} bytes of code, and may have less memory"
                )));
            }
            // The worker waits, and has compiled in time: what it writes for too long is not the module's doing.
            let cache = Arc::clone(&self.cache);
            code = off_thread(move || cache.make_room(&code, bytes).map(|()| code)).await??;
            let wall = self.accounts.share().wall_for(WRITE_TIME_MAX);
            answer = timeout(wall, ask(&mut worker, &ToCompiler::WriteAgain, &[])).await;
            if answer.is_err() {
                return Ok(Answer::Failed(format!("the compile worker did not write its code in {} s", wall.as_secs())));
            }
        }
        Ok(match answer {
            Ok(Ok(Some(FromCompiler::Compiled))) => Answer::Code(code),
            Ok(Ok(Some(FromCompiler::Invalid(reason)))) => Answer::Invalid(words(&reason)),
            Ok(Ok(Some(FromCompiler::Unsuited(reason)))) => Answer::Unsuited(words(&reason)),
            Ok(Ok(Some(FromCompiler::Failed(reason)))) => Answer::Failed(words(&reason)),
            Ok(Ok(Some(FromCompiler::Full(_)))) => Answer::Failed("the compile worker asks for room twice".to_owned()),
            Ok(Ok(None) | Err(IpcError::Io(_))) => Answer::Died(death(&mut worker, limits).await?),
            Ok(Err(error)) => Answer::Failed(error.to_string()),
            Err(_) => Answer::Died(timed_out(&worker, limits)),
        })
    }

    /// Lets a module be for a while whose worker somebody killed.
    fn back_off(&self, module: Digest, reason: &str) -> CompileError {
        tracing::warn!(%module, reason, "a compile worker was killed");
        let time = self.backoff.add(module, Instant::now());
        CompileError::Node(format!("{reason}; not tried again here for {} s", time.as_secs()))
    }

    /// Makes a worker's death an error, and where it was the module's doing a strike against it.
    async fn blame(&self, module: Digest, death: Death) -> Result<(), CompileError> {
        let reason = match death {
            Death::Node(reason) => return Err(CompileError::Node(reason)),
            Death::Killed(reason) => return Err(self.back_off(module, &reason)),
            Death::Module(reason) => reason,
        };
        let strikes = Arc::clone(&self.strikes);
        let until = off_thread(move || strikes.add(module)).await?;
        tracing::warn!(%module, reason, struck_out = until.is_some(), "a module killed its compile worker");
        Err(match until {
            Some(until) => CompileError::Invalid(format!("{reason}; refused until {}: {STRUCK}", format_rfc3339_seconds(until))),
            None => CompileError::Invalid(reason),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Compilation>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn baselines(&self) -> MutexGuard<'_, HashMap<Digest, Code>> {
        self.baselines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Part<'a> {
    fn of(compiler: &'a Compiler, module: Digest) -> Self {
        let compilation = Arc::clone(compiler.lock().entry(module).or_default());
        Self { compiler, module, compilation: Some(compilation) }
    }

    fn compilation(&self) -> &Compilation {
        self.compilation.as_ref().expect("it is there until it is given up")
    }
}

impl Drop for Part<'_> {
    /// Clears the entry of a compilation that is over, as the next call looks in the cache, or tries again where this node failed; and of
    /// one that nobody waits for any more. A newer compilation is left alone.
    fn drop(&mut self) {
        let mut running = self.compiler.lock();
        let Some(current) = running.get(&self.module) else { return };
        let is_over = Arc::ptr_eq(current, self.compilation()) && current.initialized();
        // Given up under the lock, so that of two who leave at once the second sees that it is the last.
        drop(self.compilation.take());
        if is_over || Arc::strong_count(current) == 1 {
            running.remove(&self.module);
        }
    }
}

/// Whether a module begins in baseline code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// It does not.
    Not,
    /// It does, and the cache had it.
    Cached,
    /// It does, and it was compiled for that.
    Compiled,
}

/// What came of a compile worker.
enum Answer {
    Code(NamedTempFile),
    Unsuited(String),
    Invalid(String),
    Failed(String),
    Died(Death),
}

/// Why a module is refused without another try.
const STRUCK: &str = "it killed the compile worker twice";

impl CompileLimits {
    /// What the compilation of a module of `wasm_bytes` may use.
    fn of(self, wasm_bytes: u64) -> Self {
        let units = wasm_bytes.div_ceil(COMPILE_UNIT_BYTES).max(1);
        let units = u32::try_from(units).expect("a module within its limit has few units");
        let cpu = (self.cpu * units).max(Duration::from_secs(1));
        Self { wall: self.wall * units, cpu, ..self }
    }
}

/// Says something to a compile worker, and hears what it answers.
async fn ask(worker: &mut WorkerProcess, message: &ToCompiler, fds: &[BorrowedFd<'_>]) -> Result<Option<FromCompiler>, IpcError> {
    worker.sender.send_with_fds(message, fds).await?;
    worker.receiver.recv().await
}

/// Who is to blame for a compile worker that went without an answer.
///
/// The module is, for what it surely did and does again wherever it is compiled: processor time or memory over the limits, a crash or a
/// panic of the compiler. The node is, for what may happen to any module: a worker that could not do its part, one that had to wait for a
/// processor, one whose pages could not be read, and one that somebody killed.
///
/// It is the kernel that kills with SIGKILL, mostly, where memory is short, and it ends compile workers first. If that were the module's to
/// answer for, whoever fills a machine's memory could have another's module refused. But as it may be a dear one on a small machine, it is
/// let be for a while.
#[derive(Debug, PartialEq, Eq)]
enum Death {
    Module(String),
    Killed(String),
    Node(String),
}

/// What to make of a compile worker that ended without an answer.
async fn death(worker: &mut WorkerProcess, limits: CompileLimits) -> Result<Death, CompileError> {
    let cpu = worker.cpu_until_end().await.ok().flatten();
    let status = worker.kill().await?;
    Ok(cause(status, limits, cpu, memory_limit_is_the_least(limits.memory)))
}

/// Why a worker ended that had so much processor time; `is_ours` where no limit of its memory was lower than the one that it was given.
fn cause(status: ExitStatus, limits: CompileLimits, cpu: Option<Duration>, is_ours: bool) -> Death {
    let over_time = || Death::Module(format!("compilation took over {} s of processor time", limits.cpu.as_secs()));
    match (status.signal().map(Signal::from_named_raw), status.code()) {
        // What is left of the limit once SIGXCPU did nothing, which only a worker that was taken over can bring about.
        (Some(Some(Signal::KILL)), _) if cpu.is_some_and(|cpu| cpu >= limits.cpu) => over_time(),
        (Some(Some(Signal::KILL)), _) => {
            Death::Killed("the compile worker was killed, which the system does where memory is short".to_owned())
        }
        (Some(Some(Signal::XCPU)), _) => over_time(),
        // What the allocator does where there is no more memory.
        (Some(Some(Signal::ABORT)), _) if is_ours => {
            Death::Module(format!("the compiler died of it, probably over its limit of {} bytes of memory", limits.memory))
        }
        (Some(Some(Signal::ABORT)), _) => Death::Killed("the compile worker had less memory here than it may have".to_owned()),
        // A page of a file that the disk does not give.
        (Some(Some(Signal::BUS)), _) => Death::Node("the compile worker could not read its own memory".to_owned()),
        // No module is to blame for that: either our list lacks a call that this machine's libraries make, or somebody broke in.
        (Some(Some(Signal::SYS)), _) => {
            Death::Node("the compile worker was killed for a system call that is not allowed".to_owned())
        }
        (_, Some(0 | WORKER_FAILED)) => Death::Node("the compile worker failed".to_owned()),
        _ => Death::Module(format!("the compiler died of it ({status})")),
    }
}

/// What to make of a compile worker that did not answer in time, and is killed when dropped.
fn timed_out(worker: &WorkerProcess, limits: CompileLimits) -> Death {
    let wall = limits.wall.as_secs_f64();
    match worker.pid().and_then(process_time) {
        Some(used) if used < limits.wall / BUSY_PART => {
            Death::Node(format!("the compile worker got {:.1} s of processor time in {wall:.1} s", used.as_secs_f64()))
        }
        _ => Death::Module(format!("compilation took over {wall:.1} s")),
    }
}

/// Runs what may read or hash megabytes where it holds up nobody.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| CompileError::Node(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::future::poll_fn;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::task::Poll;
    use std::time::SystemTime;

    use adit_protocol::encode_frame;
    use rustix::process::{Pid, kill_process};

    use super::*;
    use crate::process::{Priority, WorkerProgram};
    use crate::walls::Need;

    /// A compiler whose workers do not start.
    fn compiler(folder: &Path) -> Arc<Compiler> {
        with_workers(folder, WorkerProgram::at("/no/such/program"))
    }

    fn with_workers(folder: &Path, program: WorkerProgram) -> Arc<Compiler> {
        let setup = WorkerSetup { program, need: Need::Strong, priority: Priority::Normal };
        let cache = Arc::new(ModuleCache::new(folder, Digest::of(b"engine"), 1 << 20).unwrap());
        let strikes = Strikes::new(&cache, SystemTime::now);
        let limits = CompileLimits::default();
        Arc::new(Compiler::new(setup, CpuShare::WHOLE, cache, strikes, MODULE_BYTES_DEFAULT, limits, None))
    }

    /// An entry stayed for ever where its only caller was withdrawn while the module compiled.
    #[tokio::test]
    async fn compilation_that_nobody_waits_for_any_more_leaves_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = compiler(folder.path());
        let (module, wasm) = (Digest::of(b"module"), folder.path().join("module"));
        std::fs::write(&wasm, b"module").unwrap();
        // So that none of them comes further than to wait for its turn.
        let _permits = compiler.permits.acquire_many(COMPILES_MAX as u32).await.unwrap();
        let mut first = Box::pin(compiler.compile(module, &wasm));
        let mut second = Box::pin(compiler.compile(module, &wasm));
        for caller in [&mut first, &mut second] {
            assert!(poll_fn(|context| Poll::Ready(caller.as_mut().poll(context).is_pending())).await);
        }
        drop(first);
        assert_eq!(compiler.lock().len(), 1, "another one waits");
        drop(second);
        assert!(compiler.lock().is_empty());
    }

    /// A worker that does what a script says; it takes no order.
    fn scripted(folder: &Path, script: &str) -> WorkerProcess {
        let program = folder.join("worker");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
        let setup = WorkerSetup { program: WorkerProgram::at(program), need: Need::Strong, priority: Priority::Normal };
        setup.spawn(Role::Compile).unwrap()
    }

    /// Waits for the end of a worker.
    async fn death_of(worker: &mut WorkerProcess, limits: CompileLimits) -> Death {
        let told = timeout(Duration::from_secs(60), worker.receiver.recv::<FromCompiler>()).await;
        assert!(told.expect("it ends").is_ok_and(|told| told.is_none()));
        death(worker, limits).await.unwrap()
    }

    #[tokio::test]
    async fn worker_over_its_processor_time_is_the_modules_fault() {
        let limits = CompileLimits { cpu: Duration::from_secs(1), ..CompileLimits::default() };
        // The second is one that was taken over: it dies of the last of the limit, by SIGKILL.
        for script in ["while :; do :; done", "trap '' XCPU; while :; do :; done"] {
            let folder = tempfile::tempdir().unwrap();
            let mut worker = scripted(folder.path(), script);
            worker.limit_processor(limits.cpu).unwrap();
            worker.limit_memory(limits.memory).unwrap();
            let death = death_of(&mut worker, limits).await;
            assert_eq!(death, Death::Module("compilation took over 1 s of processor time".to_owned()), "{script}");
        }
    }

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn worker_that_somebody_kills_is_not_the_modules_fault() {
        let folder = tempfile::tempdir().unwrap();
        let mut worker = scripted(folder.path(), "while :; do :; done");
        let pid = Pid::from_raw(worker.pid().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        let death = death_of(&mut worker, CompileLimits::default()).await;
        assert!(matches!(&death, Death::Killed(reason) if reason.starts_with("the compile worker was killed")), "{death:?}");
    }

    /// A control group of so much memory, where this process may make one.
    struct Group(PathBuf);

    impl Group {
        fn new(bytes: u64) -> Option<Self> {
            let name = format!("adit-test-{}", std::process::id());
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")].into_iter().find_map(
                |(root, limit)| {
                    let group = Self(Path::new(root).join(&name));
                    std::fs::create_dir(&group.0).ok()?;
                    // One of another kind is removed.
                    std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
                    // Nor may it swap, by whichever of these is there.
                    let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
                    let _ = std::fs::write(group.0.join("memory.swappiness"), "0");
                    Some(group)
                },
            )
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    /// It had taken as much as a worker of its own may have, and was to blame for that once: so were strangers' modules.
    #[tokio::test]
    async fn worker_that_the_kernel_ends_for_its_memory_is_not_the_modules_fault() {
        let Some(group) = Group::new(64 * MIB) else {
            return println!("not tried: this process may make no control group");
        };
        // `dd` closes its standard input, which is the socket.
        let dd = "exec dd if=/dev/zero of=/dev/null bs=100M count=1 3<&0";
        let script = format!("echo $$ >{}/cgroup.procs && {dd}", group.0.display());
        let folder = tempfile::tempdir().unwrap();
        let mut worker = scripted(folder.path(), &script);
        let death = death_of(&mut worker, CompileLimits { memory: 100 * MIB, ..CompileLimits::default() }).await;
        assert!(matches!(&death, Death::Killed(reason) if reason.contains("memory is short")), "{death:?}");
    }

    #[tokio::test]
    async fn module_whose_worker_was_killed_is_left_alone_for_a_while_and_gets_no_strike() {
        let folder = tempfile::tempdir().unwrap();
        let (starts, program) = (folder.path().join("starts"), folder.path().join("worker"));
        std::fs::write(&program, format!("#!/bin/sh\necho >>{}; kill -KILL $$\n", starts.display())).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
        let compiler = with_workers(folder.path(), WorkerProgram::at(program));
        let compile = async |name: &str| {
            let wasm = folder.path().join(name);
            std::fs::write(&wasm, name).unwrap();
            let error = compiler.compile(Digest::of(name.as_bytes()), &wasm).await.unwrap_err();
            let CompileError::Node(reason) = error else { panic!("{name}: {error:?}") };
            (reason, std::fs::metadata(&starts).unwrap().len())
        };
        let (reason, starts) = compile("dear").await;
        assert!(reason.starts_with("the compile worker was killed") && reason.ends_with("for 300 s") && starts == 1, "{reason}");
        let (reason, starts) = compile("dear").await;
        assert!(
            reason.starts_with("its compile worker was killed here; not tried again for") && starts == 1,
            "{reason} {starts}"
        );
        let (reason, starts) = compile("another").await;
        assert!(reason.starts_with("the compile worker was killed") && starts == 2, "{reason} {starts}");
        assert!(!folder.path().join("strikes").exists());
    }

    /// What a worker says as often as it likes.
    fn frames(messages: &[FromCompiler]) -> Vec<u8> {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| encode_frame(message, &mut bytes).unwrap());
        bytes
    }

    /// One word of it emptied the cache, on a disk with room for all.
    #[tokio::test]
    async fn compile_worker_that_was_taken_over_evicts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (frames_at, program) = (folder.path().join("frames"), folder.path().join("worker"));
        let script = format!("#!/bin/sh\ncat {} >&0; exec cat >/dev/null\n", frames_at.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
        let compiler = with_workers(folder.path(), WorkerProgram::at(program));
        let (kept, module, wasm) = (Digest::of(b"kept"), Digest::of(b"module"), folder.path().join("module"));
        compiler.cache.store(kept, compiler.cache.new_code().unwrap()).unwrap();
        std::fs::write(&wasm, b"module").unwrap();
        let full = FromCompiler::Full;
        for (says, want) in [
            (
                frames(&[full(u64::MAX)]),
                "compilation failed on this node: the compile worker says that it has 18446744073709551615 bytes",
            ),
            (frames(&[full(1 << 30)]), "the module's code has 1073741856 bytes, and the cache holds 1048576"),
            (
                frames(&[full(MIB - 32), full(MIB - 32)]),
                "compilation failed on this node: the compile worker asks for room twice",
            ),
            (vec![0; 64], "compilation failed on this node: "),
        ] {
            std::fs::write(&frames_at, says).unwrap();
            let error = compiler.compile(module, &wasm).await.unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
            assert_eq!(compiler.cache.modules(9).unwrap(), [kept], "{error}");
        }
    }

    /// It had what was left of the module's time, and the module a strike where that was too little.
    #[tokio::test]
    async fn code_that_is_written_too_slowly_to_a_full_disk_is_not_the_modules_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (full, program) = (folder.path().join("full"), folder.path().join("worker"));
        std::fs::write(&full, frames(&[FromCompiler::Full(MIB / 2)])).unwrap();
        // Busy all the time: one that rests is not blamed anyway.
        let script = format!("#!/bin/sh\ncat {} >&0; while :; do :; done\n", full.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
        let compiler = Arc::into_inner(with_workers(folder.path(), WorkerProgram::at(program))).unwrap();
        let limits = CompileLimits { wall: Duration::from_secs(1), cpu: Duration::from_secs(60), ..CompileLimits::default() };
        let compiler = Arc::new(Compiler { limits, ..compiler });
        let wasm = folder.path().join("module");
        std::fs::write(&wasm, b"module").unwrap();
        let error = compiler.compile(Digest::of(b"module"), &wasm).await.unwrap_err();
        assert_eq!(error, CompileError::Node("the compile worker did not write its code in 5 s".to_owned()));
        assert!(!folder.path().join("strikes").exists());
    }

    #[test]
    fn time_grows_with_the_module() {
        for (bytes, seconds) in [(0, 10), (1, 10), (8 << 20, 10), ((8 << 20) + 1, 20), (MODULE_BYTES_MAX, 80)] {
            let limits = CompileLimits::default().of(bytes);
            assert_eq!((limits.wall.as_secs(), limits.cpu.as_secs()), (seconds, seconds), "{bytes}");
        }
    }

    #[test]
    fn only_what_the_module_does_again_is_its_fault() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let signal = |signal: Signal| ExitStatus::from_raw(signal.as_raw());
        let limits = CompileLimits::default();
        let long = Some(limits.cpu);
        for (status, cpu, is_ours, blamed) in [
            (signal(Signal::KILL), Some(limits.cpu / 2), true, "nobody"),
            (signal(Signal::KILL), None, true, "nobody"),
            (signal(Signal::KILL), long, false, "module"),
            (signal(Signal::SYS), long, true, "node"),
            (signal(Signal::BUS), long, true, "node"),
            (exit(WORKER_FAILED), long, true, "node"),
            (exit(0), None, true, "node"),
            (signal(Signal::XCPU), None, false, "module"),
            (signal(Signal::ABORT), None, true, "module"),
            (signal(Signal::ABORT), long, false, "nobody"),
            (signal(Signal::SEGV), None, false, "module"),
            // A panic.
            (exit(101), None, false, "module"),
        ] {
            let found = match cause(status, limits, cpu, is_ours) {
                Death::Module(_) => "module",
                Death::Killed(_) => "nobody",
                Death::Node(_) => "node",
            };
            assert_eq!(found, blamed, "{status} {cpu:?} {is_ours}");
        }
    }
}
