//! A guest's run within a worker: from a module that is ready to how it ended.

use std::cell::OnceCell;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::JobSpec;
use tokio::task::unconstrained;
use wasmtime::{Engine, FrameInfo, InstancePre, Linker, Module, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::counters::{Counters, PAGE_BYTES};
use super::ending::{Circumstances, End, judge};
use super::gpu_client::{Gpu, SessionClosed};
use super::guest::{self, Guest};
use super::named::NamedInputs;
use super::outbox::{Outbox, Remainder};
use super::profiler::{self, Profiler};
use super::stdio::{Input, Unreadable};
use super::watchdog::Watchdog;
use crate::code::{CodeFile, Trailer};
use crate::engine::{Tier, baseline_engine};
use crate::ipc::{Ending, FromSandbox, OUTPUT_CHUNK_BYTES};
use crate::meter::{Facts, GlobalFacts, Pending, Stop, units};
use crate::profile::FuelProfile;
use crate::run::Bounds;
use crate::unchecked::{MeterGlobals, MeteredStore, load_code};

/// Runs modules, one at a time.
pub(crate) struct Executor {
    optimised: Linked,
    /// Made when the first baseline code comes: most workers never see any.
    baseline: OnceCell<Linked>,
    outbox: Arc<Outbox>,
    watchdog: Watchdog,
}

/// What a guest works with.
pub(crate) struct Supplies {
    pub(crate) input: Input,
    pub(crate) named: NamedInputs,
    /// There where its job was given one.
    pub(crate) gpu: Option<Gpu>,
}

/// An engine, with the host's functions for it.
struct Linked {
    engine: Engine,
    linker: Linker<Guest>,
}

impl Linked {
    fn new(engine: Engine) -> wasmtime::Result<Self> {
        Ok(Self { linker: guest::linker(&engine)?, engine })
    }
}

/// A module that is ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Program {
    module: InstancePre<Guest>,
    facts: Arc<Facts>,
    pending: Arc<PendingSource>,
}

/// Where a module's table of pending amounts is: it is read where a guest trapped, and only there.
enum PendingSource {
    File(File, Trailer),
    Table(Pending),
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl PendingSource {
    fn table(&self) -> wasmtime::Result<Pending> {
        match self {
            Self::Table(table) => Ok(table.clone()),
            Self::File(file, trailer) => {
                let mut bytes = vec![0; trailer.pending_bytes as usize];
                file.read_exact_at(&mut bytes, trailer.pending_at)?;
                Ok(Pending::from_bytes(&bytes)?)
            }
        }
    }
}

impl Program {
    fn new(linked: &Linked, module: &Module, facts: Facts, pending: PendingSource) -> wasmtime::Result<Self> {
        let module = linked.linker.instantiate_pre(module)?;
        Ok(Self { module, facts: Arc::new(facts), pending: Arc::new(pending) })
    }
}

/// What is left of a guest that ended. To drop it gives its memory back to the kernel, which takes long where there is much.
pub(crate) struct Remains(#[expect(dead_code, reason = "it is there to be dropped")] Option<MeteredStore<Guest>>);

/// How a call of a guest ended.
struct Called {
    end: End,
    /// The units that it came to.
    counted: u64,
    /// What was seen of them, where it is profiled.
    profiler: Option<Profiler>,
    remains: Remains,
}

impl Called {
    /// The end of a guest that never began.
    fn not(end: End, counted: u64) -> Self {
        Self { end, counted, profiler: None, remains: Remains(None) }
    }
}

impl Executor {
    pub(crate) fn new(engine: Engine, outbox: Arc<Outbox>, watchdog: Watchdog) -> wasmtime::Result<Self> {
        Ok(Self { optimised: Linked::new(engine)?, baseline: OnceCell::new(), outbox, watchdog })
    }

    /// Makes a module ready from the file that a compile worker wrote.
    pub(crate) fn load(&self, code: File, tier: Tier) -> wasmtime::Result<Program> {
        let CodeFile { facts, trailer } = CodeFile::read(&code)?;
        let pending = PendingSource::File(code.try_clone()?, trailer);
        let linked = self.linked(tier)?;
        Program::new(linked, &load_code(&linked.engine, code)?, facts, pending)
    }

    /// Makes a module ready that was compiled here.
    pub(crate) fn take(&self, module: &Module, facts: Facts, pending: Pending) -> wasmtime::Result<Program> {
        Program::new(&self.optimised, module, facts, PendingSource::Table(pending))
    }

    fn linked(&self, tier: Tier) -> wasmtime::Result<&Linked> {
        match tier {
            Tier::Optimised => Ok(&self.optimised),
            Tier::Baseline => match self.baseline.get() {
                Some(linked) => Ok(linked),
                None => {
                    let linked = Linked::new(baseline_engine()?)?;
                    Ok(self.baseline.get_or_init(|| linked))
                }
            },
        }
    }

    /// Where a guest's words go.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Runs the job number `run` to its end. What is left of it is to be dropped once its end was told.
    ///
    /// # Errors
    /// Where this worker cannot go on. What a guest does is never an error.
    pub(crate) async fn run(
        &self,
        run: u64,
        spec: &JobSpec,
        bounds: Bounds,
        supplies: Supplies,
        program: &Program,
    ) -> wasmtime::Result<(Ending, Remains)> {
        let started = Instant::now();
        self.outbox.open(&spec.limits);
        let counters = Arc::new(Counters::default());
        let Called { end, counted, profiler, remains } =
            self.call(run, (spec, bounds), supplies, program, &counters, started).await?;

        let budget = units(bounds.fuel);
        let seen = Circumstances {
            memory_denied: counters.is_memory_denied(),
            output_over: self.outbox.is_output_over(),
            over_budget: counted > budget,
        };
        let (outcome, reason) = judge(&end, seen, &bounds.within(spec.limits), program.facts.pieces.start);
        // The block in which the budget ended was entered, but nothing is owed beyond the limit.
        let used = counters.used(counted.min(budget));
        if program.facts.profile.is_some() {
            self.tell_profile(Profiler::finish(profiler, counted.min(budget)))?;
        }
        let Remainder { output, log_dropped } = self.outbox.close();
        let run_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok((Ending { outcome, reason, used, run_us, output, log_dropped }, remains))
    }

    /// Tells where fuel went, before the job's end.
    fn tell_profile(&self, profile: FuelProfile) -> wasmtime::Result<()> {
        for piece in profile.to_bytes().chunks(OUTPUT_CHUNK_BYTES) {
            self.outbox.sender().push(&FromSandbox::Profile(piece.to_vec()))?;
        }
        Ok(())
    }

    /// Instantiates and calls the guest.
    async fn call(
        &self,
        run: u64,
        (spec, bounds): (&JobSpec, Bounds),
        supplies: Supplies,
        program: &Program,
        counters: &Arc<Counters>,
        started: Instant,
    ) -> wasmtime::Result<Called> {
        let facts = &*program.facts;
        let fixed = facts.instantiation_units();
        let (memory_bytes, budget) = (facts.memory_pages.saturating_mul(PAGE_BYTES), units(bounds.fuel));
        if memory_bytes > spec.limits.memory.0 {
            return Ok(Called::not(End::MemoryTooSmall { needed: memory_bytes }, 0));
        }
        if fixed > budget {
            return Ok(Called::not(End::OverBudget(None), fixed));
        }
        let guest = Guest::new(spec, supplies, Arc::clone(&self.outbox), Arc::clone(counters));
        let mut store = Store::new(program.module.module().engine(), guest);
        store.limiter(Guest::limiter);
        let mut store = MeteredStore::new(store, Arc::clone(&counters.page));
        let instance = match program.module.instantiate_async(&mut *store).await {
            Ok(instance) => instance,
            // A segment that does not fit, into a memory that is there and paid for.
            Err(error) if error.is::<Trap>() => {
                counters.hold(memory_bytes);
                return Ok(Called::not(End::Itself(Err(error)), fixed));
            }
            Err(error) => return Err(error),
        };
        let meter = instance.get_memory(&mut *store, &facts.meter_export);
        let meter = meter.ok_or_else(|| wasmtime::format_err!("the module has no meter"))?;
        let globals = facts.globals.as_ref().map(|names| meter_globals(&mut store, instance, names)).transpose()?;
        store.attach(meter, globals)?;
        store.data_mut().instantiated(memory_bytes);
        if let Some(profile) = &facts.profile {
            profiler::attach(&mut store, instance, profile, fixed, budget)?;
        }
        store.start(fixed, budget, facts.memory_pages_max.min(spec.limits.memory.0 / PAGE_BYTES))?;

        let deadline = started + Duration::from_millis(bounds.wall_ms);
        let stopped = self.watchdog.arm(run, deadline, Arc::clone(counters));
        let result = tokio::select! {
            biased;
            result = unconstrained(enter(&mut store, instance, facts)) => Some(result),
            // A guest that computes hears of a stop by its limit, one that waits in a call of the host by this.
            () = stopped.notified() => None,
        };
        let stopped = self.watchdog.disarm();
        let result = match result {
            Some(Err(error)) if error.is::<guest::HostExhausted>() || error.is::<Unreadable>() => return Err(error),
            result => result,
        };
        let trapped = result.as_ref().and_then(|result| result.as_ref().err());
        let (lacking, stop) = trapped.map_or(Ok((0, None)), |error| place(error, program))?;
        store.settle();
        let counted = counters.page.counted(lacking);
        let over = counted > budget;
        let halted = stop == Some(Stop::Limit) || trapped.is_some_and(|error| error.is::<guest::Halted>());
        let too_deep = stop.is_some_and(|stop| stop.is_too_deep(counters.page.depth()));
        let end = match (result, stopped) {
            (None, stopped) => End::Stopped(stopped.expect("who waits for a stop hears only of one")),
            (Some(Err(_)), Some(stopped)) if halted && !over => End::Stopped(stopped),
            (Some(Err(error)), _) if halted && over => End::OverBudget(Some(error)),
            (Some(Err(error)), _) if too_deep => End::TooDeep(error),
            (Some(result), _) => End::Itself(result),
        };
        let profiler = store.data_mut().profiler.take();
        Ok(Called { end, counted, profiler, remains: Remains(Some(store)) })
    }
}

/// Calls the guest, and has what it left to the GPU done however it came to its own end: then what it used there is its own doing, and not that
/// of who was faster. Whoever is stopped from outside meanwhile waits for nothing.
async fn enter(store: &mut MeteredStore<Guest>, instance: wasmtime::Instance, facts: &Facts) -> wasmtime::Result<()> {
    let ended = call(store, instance, facts).await;
    if ended.as_ref().err().is_none_or(is_its_own)
        && let Some(gpu) = &mut store.data_mut().gpu
    {
        gpu.finish().await?;
    }
    ended
}

/// Whether a guest came to this end by itself, and not because this machine or its GPU failed it.
fn is_its_own(error: &wasmtime::Error) -> bool {
    !error.is::<guest::HostExhausted>() && !error.is::<Unreadable>() && !error.is::<SessionClosed>()
}

async fn call(store: &mut MeteredStore<Guest>, instance: wasmtime::Instance, facts: &Facts) -> wasmtime::Result<()> {
    if let Some(start) = &facts.start_export {
        instance.get_typed_func::<(), ()>(&mut **store, start)?.call_async(&mut **store, ()).await?;
    }
    store.begin_call()?;
    let entry = instance.get_typed_func::<(), ()>(&mut **store, "_start")?;
    entry.call_async(&mut **store, ()).await
}

/// The globals of the meter's in an instance of baseline code.
fn meter_globals(store: &mut Store<Guest>, instance: wasmtime::Instance, names: &GlobalFacts) -> wasmtime::Result<MeterGlobals> {
    let mut global = |name: &str| instance.get_global(&mut *store, name).ok_or_else(|| wasmtime::format_err!("no {name}"));
    Ok(MeterGlobals { counter: global(&names.counter)?, depth: global(&names.depth)? })
}

/// What the counter lacks where a guest trapped, and whether the trap was the meter's own.
fn place(error: &wasmtime::Error, program: &Program) -> wasmtime::Result<(i64, Option<Stop>)> {
    // At a call of the host nothing is pending, so an exit needs no table.
    if error.is::<I32Exit>() {
        return Ok((0, None));
    }
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], |trace| trace.frames());
    let offset = |frame: Option<&FrameInfo>| frame.and_then(FrameInfo::module_offset).map(u32::try_from).transpose();
    let table = program.pending.table()?;
    // What is lacking while the meter fills or copies for a guest is what its caller lacks.
    let lacks = frames.iter().find(|frame| !program.facts.pieces.contains(&frame.func_index()));
    let lacking = offset(lacks)?.map_or(0, |offset| table.at(offset));
    Ok((lacking, offset(frames.first())?.and_then(|innermost| table.stop_at(innermost))))
}
