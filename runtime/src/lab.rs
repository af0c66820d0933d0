//! The runtime without its processes: the same engine profile, meter and host functions, in the caller's own thread. For measurements,
//! for the golden corpus and for conformance suites. Strangers' guests belong behind both walls, which this has not.

mod frames;

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::{ByteCount, FRAME_HEADER_BYTES, JobSpec, decode_frame, encode_frame};
use tokio::net::UnixStream;
use wasmparser::Validator;
use wasmtime::{Config, Engine, Module};

pub use self::frames::{Reader, Received, receive};
pub use crate::engine::Tier;
pub use crate::meter::{
    Class, DEPTH_MAX, Facts, GlobalFacts, MeterError, Metered, Options, Pending, PendingError, ProfileFacts, Stop,
    UNITS_PER_FUEL, Weights, class, description, fuel, instrument, loop_waits, units,
};
pub use crate::unchecked::process_time;
pub use wasmtime::{OptLevel, Strategy};

use crate::account::Account;
use crate::admission::{FUNCTIONS, MODULE_BYTES_DEFAULT, ModuleLimits};
use crate::engine::{self, FEATURES, config as profile};
use crate::ipc::{FromSandbox, InputOrder, IpcError, Receiver, RunOrder, ToSandbox, connection};
use crate::live::Live;
use crate::meter::{weights, words};
use crate::process::Role;
use crate::run::{Bounds, RunReport};
use crate::walls::{Layers, Need, Walls};
use crate::worker::{self, Executor, Input, NamedInputs, Outbox, Program as Ready, Supplies, Watchdog, prepare_optimised};

/// Where the counter stands in the meter's memory, in bytes.
pub const COUNTER_AT: u64 = words::COUNTER;
/// Where the limit stands.
pub const LIMIT_AT: u64 = words::LIMIT;
/// Where the depth of calls stands; whoever calls an export writes 0 there before.
pub const DEPTH_AT: u64 = words::DEPTH;
/// Where the most pages stand that the guest's memory may have.
pub const PAGES_MAX_AT: u64 = words::PAGES_MAX;

/// Units for each byte that is copied within memory or into it.
pub const COPIED_BYTE_UNITS: i64 = weights::COPIED_BYTE_UNITS;
/// Units for each byte that is filled.
pub const FILLED_BYTE_UNITS: i64 = weights::FILLED_BYTE_UNITS;
/// Units for each page that a memory grows by.
pub const GROW_PAGE_UNITS: i64 = weights::GROW_PAGE_UNITS;

/// Frames of a guest that are told of after a trap.
pub const BACKTRACE_FRAMES_MAX: usize = engine::BACKTRACE_FRAMES_MAX.get();

/// The engine's profile `core-1` under a compiler.
pub fn config(strategy: Strategy, opt_level: OptLevel) -> Config {
    profile(strategy, opt_level)
}

/// The same on a machine whose address space is small: accesses far behind a memory are checked, where elsewhere they fault.
pub fn small_config() -> Config {
    engine::small_config()
}

/// The engine of compile workers, in which no guest runs.
///
/// # Errors
/// Where the machine lacks what the engine needs.
pub fn compiling_engine() -> wasmtime::Result<Engine> {
    engine::compiling_engine()
}

/// The engine of baseline code, as nodes have it.
///
/// # Errors
/// As [`compiling_engine`].
pub fn baseline_engine() -> wasmtime::Result<Engine> {
    engine::baseline_engine()
}

/// What the store of a guest holds it to that may have so much memory, each with its name.
pub fn store_limits(memory: ByteCount) -> [(&'static str, u64); 5] {
    worker::store_limits(memory.0)
}

/// The tier that an engine's code is of: modules are rewritten for it.
pub fn tier_of(engine: &Engine) -> Tier {
    if engine.get_strategy() == Some(Strategy::Winch) { Tier::Baseline } else { Tier::Optimised }
}

/// What a guest may be made of, before the meter is put in.
pub fn features() -> wasmparser::WasmFeatures {
    FEATURES
}

/// Admits a module as a compile worker does for an owner who has not chosen other limits, and makes it count.
///
/// # Errors
/// Why it is not one that runs here, in the words that its author reads.
pub fn admit(wasm: &[u8]) -> Result<Metered, String> {
    prepare_optimised(wasm, &ModuleLimits { module_bytes_max: MODULE_BYTES_DEFAULT })
}

/// A function that a guest may import: its module, its name, and its parameters and results, `i` for i32 and `I` for i64.
pub type HostFunction = (&'static str, &'static str, &'static str, &'static str);

/// All that a guest may import.
pub fn host_functions() -> &'static [HostFunction] {
    &FUNCTIONS
}

/// Runs guests in this thread.
#[derive(Debug)]
pub struct Lab {
    engine: Engine,
    executor: Executor,
    receiver: Receiver,
    tokio: tokio::runtime::Runtime,
    runs: u64,
}

/// A module that a [`Lab`] has compiled.
#[derive(Debug)]
pub struct Program(Ready);

impl Lab {
    /// A laboratory with an engine of `config`.
    ///
    /// # Errors
    /// Where the machine lacks what the engine needs.
    pub fn new(config: &Config) -> wasmtime::Result<Self> {
        Self::over(Engine::new(config)?)
    }

    fn over(engine: Engine) -> wasmtime::Result<Self> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let _entered = tokio.enter();
        let (ours, theirs) = UnixStream::pair()?;
        let (outbox, (_, receiver)) = (Arc::new(Outbox::new(connection(ours).0)), connection(theirs));
        let watchdog = Watchdog::start(Live::create()?, Arc::clone(&outbox))?;
        let executor = Executor::new(engine.clone(), outbox, watchdog)?;
        drop(_entered);
        Ok(Self { engine, executor, receiver, tokio, runs: 0 })
    }

    /// Validates, meters and compiles a module.
    ///
    /// # Errors
    /// Where the module is none of the profile, or imports what no guest has.
    pub fn compile(&self, wasm: &[u8], options: &Options) -> wasmtime::Result<Program> {
        Validator::new_with_features(FEATURES).validate_all(wasm)?;
        let options = Options { tier: tier_of(&self.engine), ..options.clone() };
        let Metered { wasm, pending, facts } = instrument(wasm, &options)?;
        let module = Module::new(&self.engine, &wasm)?;
        Ok(Program(self.executor.take(&module, facts, pending)?))
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// Where the machine fails.
    pub fn run(&mut self, program: &Program, spec: &JobSpec, input: &[u8]) -> wasmtime::Result<Report> {
        self.run_with(program, spec, input, &[])
    }

    /// As [`Self::run`], with the bytes of the specification's named inputs.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with(&mut self, program: &Program, spec: &JobSpec, input: &[u8], named: &[&[u8]]) -> wasmtime::Result<Report> {
        self.runs += 1;
        let (run, input, named) = (self.runs, Input::memory(input.to_vec()), NamedInputs::memory(&spec.inputs, named));
        let executor = &self.executor;
        let work = async {
            let (ending, _remains) =
                executor.run(run, spec, Bounds::of(&spec.limits), Supplies { input, named, gpu: None }, &program.0).await?;
            executor.outbox().sender().push(&FromSandbox::Ended(Box::new(ending)))?;
            wasmtime::Result::Ok(executor.outbox().sender().drain().await?)
        };
        let receiver = &mut self.receiver;
        let ((), report) = self.tokio.block_on(async { tokio::try_join!(work, collect(receiver, spec)) })?;
        Ok(report)
    }
}

/// How a run ended, with all that it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended and what it used.
    pub run: RunReport,
    /// Its whole output.
    pub output: Vec<u8>,
    /// Its log, up to the limit.
    pub log: Vec<u8>,
}

async fn collect(receiver: &mut Receiver, spec: &JobSpec) -> wasmtime::Result<Report> {
    let mut account = Account::new(Arc::new(spec.clone()), Bounds::of(&spec.limits)).profiling(true);
    let (mut output, mut log) = (Vec::new(), Vec::new());
    loop {
        match receiver.recv().await?.ok_or(IpcError::Io(std::io::ErrorKind::UnexpectedEof.into()))? {
            FromSandbox::Log(piece) => log.extend(piece),
            FromSandbox::Progress { .. } => {}
            FromSandbox::Profile(piece) => account.add_profile(&piece)?,
            FromSandbox::Output(piece) => {
                account.add_piece(&piece)?;
                output.extend(piece);
            }
            FromSandbox::Ended(ending) => {
                output.extend(ending.output.iter().flatten());
                return Ok(Report { run: account.close(*ending, None)?, output, log });
            }
            FromSandbox::Unusable(reason) => wasmtime::bail!("{reason}"),
            FromSandbox::Pipeline { .. } => wasmtime::bail!("a guest without a GPU asked for a pipeline"),
        }
    }
}

/// A sandbox worker without its supervisor: behind a worker's walls, and with one module ready.
#[derive(Debug)]
pub struct Cell {
    lab: Lab,
    program: Program,
}

impl Cell {
    /// Makes this process one, whose module is in `code`, a file of a cache of this node's. To be called first in `main`, while the
    /// process has one thread, with a socket of the parent's as standard input.
    ///
    /// # Errors
    /// Where the walls are not what they should be, and where the file is not what it should be.
    pub fn enter(code: File) -> wasmtime::Result<Self> {
        let engine = engine::engine()?;
        let walls = Walls::enter(Role::Sandbox, Need::Strong, Layers::ALL)?;
        let lab = Lab::over(engine)?;
        let program = Program(lab.executor.load(code, Tier::Optimised)?);
        walls.seal()?;
        Ok(Self { lab, program })
    }

    /// Does a job again and again until `time` is over: all that a worker does between the bytes of an order, as they lie in its
    /// buffer, and the bytes of the answer. How often, and how long that took.
    ///
    /// # Errors
    /// Where the machine fails, or the guest does.
    pub fn work(&mut self, spec: &JobSpec, input: &[u8], time: Duration) -> wasmtime::Result<(u64, Duration)> {
        let input = InputOrder::Inline(input.to_vec());
        let order = ToSandbox::Run(Box::new(RunOrder {
            run: 1,
            slot: 0,
            load: false,
            tier: Tier::Optimised,
            spec: spec.clone(),
            bounds: Bounds::of(&spec.limits),
            input,
            has_gpu: false,
        }));
        let (mut frame, mut answer) = (Vec::new(), Vec::new());
        encode_frame(&order, &mut frame)?;
        let (executor, program) = (&self.lab.executor, &self.program.0);
        self.lab.tokio.block_on(async {
            let (mut jobs, started) = (0, Instant::now());
            while started.elapsed() < time {
                let ToSandbox::Run(order) = decode_frame(&frame[FRAME_HEADER_BYTES..])? else { wasmtime::bail!("no order") };
                let InputOrder::Inline(input) = order.input else { wasmtime::bail!("no inline input") };
                let supplies = Supplies { input: Input::memory(input), named: NamedInputs::default(), gpu: None };
                let (ending, remains) = executor.run(order.run, &order.spec, order.bounds, supplies, &program.clone()).await?;
                wasmtime::ensure!(ending.outcome.is_success(), "the guest {}: {}", ending.outcome, ending.reason);
                answer.clear();
                encode_frame(&FromSandbox::Ended(Box::new(ending)), &mut answer)?;
                drop(remains);
                jobs += 1;
            }
            Ok((jobs, started.elapsed()))
        })
    }
}
