//! The runtime: slots, and the workers, compiler and cache behind them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_protocol::limits::MEMORY_BYTES_MAX;
use adit_protocol::{ByteCount, Digest, GpuNeed, GpuOffer, UnfitReason};
use tokio::sync::Semaphore;

use crate::admission::MODULE_BYTES_DEFAULT;
use crate::cache::ModuleCache;
use crate::compiler::{Code, CompileError, CompileLimits, CompileReport, Compiler};
use crate::engine::{Room, baseline_engine, compatibility, compiling_engine};
use crate::gpu::hangs::Whose;
use crate::gpu::keeper::{GpuConfig, Keeper};
use crate::gpu::lent::Lent;
use crate::gpu::session::SandboxEnds;
use crate::gpu::shaders::Shaders;
use crate::inputs::Inputs;
use crate::pool::Pool;
use crate::process::{Priority, WorkerProgram, WorkerSetup, probe_walls};
use crate::run::{Bounds, Run, RunError, RunRequest};
use crate::share::CpuShare;
use crate::speed::kernel;
use crate::strikes::Strikes;
use crate::walls::{Need, SandboxReport};

/// Compiled code that is kept unless the owner says otherwise.
const CACHE_BYTES_DEFAULT: u64 = 4 << 30;

/// Where compiled modules are, in the cache's folder, whose functions tell of themselves.
const PROFILE_FOLDER: &str = "profile";

/// How a runtime is set up.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Jobs at once; at least 1.
    pub slots: usize,
    /// Where compiled modules are kept, with the key that vouches for them. Several processes of one user may share it.
    pub cache_dir: PathBuf,
    /// Bytes of compiled modules that are kept.
    pub cache_bytes_max: u64,
    /// Linear memory that one job may have.
    pub memory_max: ByteCount,
    /// Bytes of a module; at most [`adit_protocol::limits::MODULE_BYTES_MAX`].
    pub module_bytes_max: u64,
    /// What is started as a worker.
    pub worker_program: WorkerProgram,
    /// Whether to work even where the kernel lacks a part of the wall around workers (see [`Runtime::sandbox`]).
    pub allow_weak_sandbox: bool,
    /// Whether a large module that is new here may begin under a baseline compiler, while the optimising one works.
    pub baseline_code: bool,
    /// Whether guests are looked at while they run, for [`RunReport::profile`](crate::RunReport::profile). They run some times slower, and come to
    /// the same bill; code is kept apart from other runtimes'. Not together with baseline code.
    pub profile: bool,
    /// Whom workers leave the processor to.
    pub priority: Priority,
    /// Processor time for each slot, and for each compilation as much. A job's limit on time on the wall stays what it is.
    pub cpu_share: CpuShare,
    /// The GPU that is lent to guests; nothing where none is.
    pub gpu: Option<GpuConfig>,
    /// What a compilation may use.
    #[doc(hidden)]
    pub compile_limits: CompileLimits,
    /// By which a module that is refused for a day is admitted again.
    #[doc(hidden)]
    pub wall_clock: fn() -> SystemTime,
}

impl RuntimeConfig {
    /// One slot, 4 GiB of cache, all the memory that a guest can address, modules of 8 MiB, this binary as the worker, and no weak
    /// sandbox.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            slots: 1,
            cache_dir: cache_dir.into(),
            cache_bytes_max: CACHE_BYTES_DEFAULT,
            memory_max: ByteCount(MEMORY_BYTES_MAX),
            module_bytes_max: MODULE_BYTES_DEFAULT,
            worker_program: WorkerProgram::default(),
            allow_weak_sandbox: false,
            baseline_code: true,
            profile: false,
            priority: Priority::Normal,
            cpu_share: CpuShare::WHOLE,
            gpu: None,
            compile_limits: CompileLimits::default(),
            wall_clock: SystemTime::now,
        }
    }
}

/// A runtime that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The engine does not run here.
    #[error("the engine does not start: {0:#}")]
    Engine(wasmtime::Error),
    /// The cache's folder cannot be used.
    #[error("the module cache in {} cannot be used: {error}", folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No worker can be started.
    #[error("a sandbox worker cannot be started: {0}")]
    Worker(io::Error),
    /// The kernel lacks a part of the wall around workers, and [`RuntimeConfig::allow_weak_sandbox`] is not set.
    #[error(
        "the sandbox would be weak, because this kernel lacks {}; use a kernel that has it, or accept the risk with --allow-weak-sandbox",
        .0.missing().join(" and ")
    )]
    WeakSandbox(SandboxReport),
}

/// What runs guests. A cheap handle; the workers end when the last one and the last [`Run`] are gone.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: Pool,
    pub(crate) slots_max: usize,
    pub(crate) cpu_share: CpuShare,
    memory_max: ByteCount,
    slots: Arc<Semaphore>,
    pub(crate) cache: Arc<ModuleCache>,
    compiler: Arc<Compiler>,
    sandbox: SandboxReport,
    gpu: Option<Keeper>,
    shaders: Arc<Shaders>,
    /// Whether workers tell where fuel went.
    pub(crate) is_profiling: bool,
}

impl Runtime {
    /// Sets up a runtime and starts a worker for each slot. Must be called within a tokio runtime with I/O and time. Workers die with
    /// the thread that started them, so neither this nor [`Self::start`] may be called on a thread that ends before the runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(config: RuntimeConfig) -> Result<Self, StartError> {
        let RuntimeConfig { slots, cache_dir, cache_bytes_max, memory_max, module_bytes_max, worker_program, .. } = config;
        let allow_weak_sandbox = config.allow_weak_sandbox;
        let cache_dir = if config.profile { cache_dir.join(PROFILE_FOLDER) } else { cache_dir };
        let slots = slots.max(1);
        let sandbox = probe_walls(&worker_program).map_err(StartError::Worker)?;
        tracing::debug!(?sandbox, "the wall around workers");
        if !sandbox.is_strong() && !allow_weak_sandbox {
            return Err(StartError::WeakSandbox(sandbox));
        }
        let need = if allow_weak_sandbox { Need::Weak } else { Need::Strong };
        let room = Room::here().map_err(StartError::Engine)?;
        if let Some(remark) = room.remark() {
            tracing::warn!("{remark}");
        }
        // The supervisor's engine compiles and runs nothing; it only knows what code it would accept.
        let compatibility = compatibility(&compiling_engine().map_err(StartError::Engine)?);
        let open = |compatibility| {
            let cache = ModuleCache::new(&cache_dir, compatibility, cache_bytes_max);
            cache.map_err(|error| StartError::Cache { folder: cache_dir.clone(), error })
        };
        let cache = Arc::new(open(compatibility)?);
        // One folder, under other names.
        let baseline_cache = match config.baseline_code && !config.profile && room.has_baseline() {
            true => Some(open(self::compatibility(&baseline_engine().map_err(StartError::Engine)?))?),
            false => None,
        };
        let strikes = Strikes::new(&cache, config.wall_clock);
        let setup = WorkerSetup { program: worker_program, need, priority: config.priority };
        let gpu = config.gpu.map(|gpu| Keeper::start(setup.clone(), gpu));
        let shaders = Arc::new(Shaders::new(setup.clone()));
        let (limits, share) = (config.compile_limits, config.cpu_share);
        let code = Arc::clone(&cache);
        let compiler = Compiler::new(setup.clone(), share, code, strikes, module_bytes_max, limits, baseline_cache);
        let compiler = compiler.profiling(config.profile);
        let pool = Pool::new(setup, memory_max, share, slots).map_err(StartError::Worker)?;
        let shared = Shared {
            pool,
            slots_max: slots,
            cpu_share: share,
            memory_max,
            slots: Arc::new(Semaphore::new(slots)),
            cache,
            compiler: Arc::new(compiler),
            sandbox,
            gpu,
            shaders,
            is_profiling: config.profile,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the wall around this machine's workers is made of.
    pub fn sandbox(&self) -> &SandboxReport {
        &self.shared.sandbox
    }

    /// Makes a module ready to run: compiles the file `wasm`, whose digest is `module`, unless the cache has its code. Calls for
    /// one module at once share one compilation. A large module is ready as soon as its baseline code is; the optimised code follows
    /// by itself, and jobs that still run then go on in it. Cancel-safe.
    ///
    /// # Errors
    /// [`CompileError::Invalid`] where no node would run the module, [`CompileError::Node`] where this one could not tell, and
    /// [`CompileError::TooLarge`] where it keeps no code as large.
    pub async fn compile(&self, module: Digest, wasm: &Path) -> Result<CompileReport, CompileError> {
        self.shared.compiler.compile(module, wasm).await
    }

    /// The modules whose optimised code is in the cache, those that were used last first; at most `most`.
    ///
    /// # Errors
    /// Where the cache's folder cannot be read.
    pub async fn cached_modules(&self, most: usize) -> io::Result<Vec<Digest>> {
        let cache = Arc::clone(&self.shared.cache);
        // One more, for the kernel by which the machine is measured, which is nobody's job.
        let mut modules = tokio::task::spawn_blocking(move || cache.modules(most + 1)).await??;
        modules.retain(|module| *module != kernel().digest);
        modules.truncate(most);
        Ok(modules)
    }

    /// Waits until a module that is ready has its optimised code, or until it is known that it will have none.
    pub async fn optimised(&self, module: Digest) {
        if let Some(mut optimised) = self.shared.compiler.baseline(module).and_then(|code| code.optimised) {
            // Nothing is ever sent: the sender goes when the work is done.
            let _ = optimised.changed().await;
        }
    }

    /// Ends what is compiled now, so that nothing works for others on this machine. Who waits for a module makes it ready again later;
    /// code that only was to be optimised stays as it is until the next job needs it.
    pub fn stop_compiling(&self) {
        self.shared.compiler.stop();
    }

    /// How many worker processes wait for a job.
    pub fn idle_workers(&self) -> usize {
        self.shared.pool.idle_workers()
    }

    /// Has a fresh worker in place of one that has run jobs and waited for so long since, where there is one: what it keeps of its modules'
    /// memory is given back. To be called now and then.
    ///
    /// # Errors
    /// Where no process can be started; the next job tries again.
    pub fn renew_worker(&self, rest: Duration) -> io::Result<()> {
        self.shared.pool.renew(rest)
    }

    /// Bytes of compiled modules on the disk. Reads the cache's folder.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn cache_bytes_used(&self) -> io::Result<u64> {
        self.shared.cache.bytes_used()
    }

    /// Waits for a free slot and starts a job in it.
    ///
    /// # Errors
    /// [`RunError`]; [`RunError::NotCompiled`] where [`Self::compile`] must come (again) first.
    pub async fn start(&self, request: RunRequest) -> Result<Run, RunError> {
        let bounds = Bounds::of(&request.spec.limits);
        self.start_within(request, bounds).await
    }

    /// The same within other bounds than the job asks for, of which its guest learns nothing.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_within(&self, request: RunRequest, bounds: Bounds) -> Result<Run, RunError> {
        let (asked, offered) = (request.spec.limits.memory, self.shared.memory_max);
        if asked > offered {
            return Err(RunError::MemoryOverOffer { asked, offered });
        }
        let RunRequest { tenant, spec, input, named } = request;
        let inputs = Inputs::new(&spec, input, named)?;
        let whose = Whose { client: tenant, module: Some(spec.module.digest) };
        if let Some(need) = &spec.gpu {
            self.check_gpu(need, &whose).await?;
            // The job's work on the GPU cannot begin again in better code, so it waits for that.
            self.optimised(spec.module.digest).await;
        }
        let permit = Arc::clone(&self.shared.slots).acquire_owned().await.expect("the semaphore is never closed");
        let module = spec.module.digest;
        // Reads the file only where no call of `compile` did in this process.
        let optimised = self.shared.cache.get(module).or_else(|| self.shared.cache.load(module)).map(Code::optimised);
        let code = optimised.or_else(|| self.shared.compiler.baseline(module)).ok_or(RunError::NotCompiled(module))?;
        let (code, gpu) = match spec.gpu {
            Some(need) => (Code { optimised: None, ..code }, Some(self.lend(whose, need, bounds.gpu_ns).await?)),
            None => (code, None),
        };
        let worker = self.shared.pool.take(tenant)?;
        let run = Run::start(Arc::clone(&self.shared), (tenant, spec, bounds, inputs), code, gpu, worker, permit).await?;
        // Now that the worker is busy there is time to start the next tenant's.
        if let Err(error) = self.shared.pool.top_up() {
            tracing::warn!(%error, "no fresh sandbox worker could be started");
        }
        Ok(run)
    }

    /// The GPU that may be offered now; nothing where none is lent, it was lost and starts anew, or its owner has it back.
    pub fn gpu(&self) -> Option<GpuOffer> {
        Some(self.shared.gpu.as_ref()?.report()?.offer.clone())
    }

    /// Waits until the GPU is there that the configuration names, and says what is offered of it; nothing where it names none.
    ///
    /// # Errors
    /// Why it is not there, in words for its owner.
    pub async fn gpu_settled(&self) -> Result<Option<GpuOffer>, String> {
        match &self.shared.gpu {
            Some(keeper) => Ok(Some(keeper.settled().await?.offer.clone())),
            None => Ok(None),
        }
    }

    /// Why the GPU that the configuration names is not lent, and will not be in another moment; nothing where it is, or is about to be.
    pub fn gpu_withdrawn(&self) -> Option<String> {
        self.shared.gpu.as_ref()?.withdrawn()
    }

    /// Takes the GPU back from guests, or lends it again. Taken back, the jobs that have it are preempted, and its process ends.
    pub fn set_gpu(&self, is_lent: bool) {
        if let Some(keeper) = &self.shared.gpu {
            keeper.switch(is_lent);
        }
    }

    /// The process that holds the GPU.
    #[doc(hidden)]
    pub fn gpu_pid(&self) -> Option<u32> {
        self.shared.gpu.as_ref()?.pid()
    }

    /// Refuses a job that the GPU does not fit.
    async fn check_gpu(&self, need: &GpuNeed, whose: &Whose) -> Result<(), RunError> {
        if let Some(why) = self.shared.gpu.as_ref().and_then(|keeper| keeper.refusal(whose)) {
            return Err(RunError::KeptFromGpu(why));
        }
        match self.gpu_settled().await.map_err(RunError::NoGpu)? {
            Some(offer) if offer.fits(need) => Ok(()),
            Some(offer) => Err(RunError::NoGpu(lacking(need, &offer))),
            None => Err(RunError::NoGpu("this node lends none".to_owned())),
        }
    }

    /// A session for a job, with its sandbox's ends.
    async fn lend(&self, whose: Whose, need: GpuNeed, gpu_ns_max: u64) -> Result<(Lent, SandboxEnds), RunError> {
        let keeper = self.shared.gpu.as_ref().ok_or_else(|| RunError::NoGpu("this node lends none".to_owned()))?;
        let (session, ends) = keeper.open(whose, need, gpu_ns_max).await.map_err(RunError::NoGpu)?;
        Ok((Lent::new(session, need, Arc::clone(&self.shared.shaders)), ends))
    }
}

/// The limit of a job's GPU that an offer does not fit.
fn lacking(need: &GpuNeed, offer: &GpuOffer) -> String {
    let (what, asked, offered) = match offer.unfit(need) {
        Some(UnfitReason::GpuMemory) => ("bytes of GPU memory", need.memory.0, offer.memory.0),
        Some(UnfitReason::GpuBuffer) => ("bytes in one buffer", need.buffer.0, offer.buffer.0),
        Some(UnfitReason::GpuInvocations) => ("invocations in a workgroup", need.invocations.into(), offer.invocations.into()),
        _ => ("bytes that a workgroup shares", need.workgroup_memory.into(), offer.workgroup_memory.into()),
    };
    format!("it needs {asked} {what}, and this node's gives {offered}")
}
