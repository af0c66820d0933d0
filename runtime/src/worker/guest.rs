//! A guest's world: what it may import, and the state behind it.

use std::ops::Range;
use std::sync::Arc;

use adit_protocol::{Fuel, JobSpec, Profile};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use wasmtime::{Caller, Engine, Extern, Linker, Memory, ResourceLimiter};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_async};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use super::calls;
use super::clock::Clock;
use super::counters::Counters;
use super::executor::Supplies;
use super::gpu_client::{self, Gpu};
use super::named::{self, NamedInputs};
use super::outbox::Outbox;
use super::poll::{EVENT_BYTES, Errno, Refused, SUBSCRIPTION_BYTES, Streams, poll};
use super::prices::{ARGUMENT_BYTE_UNITS, ARGUMENT_UNITS, RANDOM_BYTE_UNITS, STREAM_BYTE_UNITS, SUBSCRIPTION_UNITS};
use super::profiler::Profiler;
use super::stdio::{Input, Output, Way};
use crate::engine::{MEMORIES_PER_MODULE_MAX, METERED_TABLES_MAX, TABLE_ELEMENTS_MAX};
use crate::meter::fuel;

/// Our own import module. A change that breaks guests gets the next number.
pub(super) const ADIT_MODULE: &str = adit_abi::MODULE;
pub(super) const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// What a guest sees as its program's name: the module has none.
const PROGRAM_NAME: &str = "job";

/// Randomness, log and named inputs are made or moved in pieces of so many bytes, so that a stop comes between two of them; a whole number of a generator's
/// blocks. Some hundreds of microseconds of work.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

/// What a 32-bit index reaches: the maximum of a memory that declares none.
const ADDRESSED_BYTES: u64 = 1 << 32;

/// The state of one running guest.
pub(super) struct Guest {
    pub(super) wasi: WasiP1Ctx,
    /// What it costs to hand the guest all of its arguments.
    pub(super) arguments_units: u64,
    /// What it costs to hand the guest all of its environment.
    pub(super) environment_units: u64,
    pub(super) named: NamedInputs,
    /// There where its job was given one.
    pub(super) gpu: Option<Gpu>,
    /// Why the last call failed that concerned it.
    pub(super) gpu_error: String,
    /// There where its functions tell of themselves.
    pub(super) profiler: Option<Profiler>,
    fuel_limit: Fuel,
    random: Random,
    clock: Clock,
    limiter: Limiter,
    outbox: Arc<Outbox>,
    counters: Arc<Counters>,
}

/// This machine could not give a guest what the rules allow it. The guest must not see that: on another machine it would go on.
#[derive(Debug, thiserror::Error)]
#[error("this machine has no more memory for the guest: {0:#}")]
pub(super) struct HostExhausted(wasmtime::Error);

/// A call of the host that was not answered, because the guest's budget is used up or it was stopped.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the guest was halted in a call of the host")]
pub(super) struct Halted;

impl Guest {
    pub(super) fn new(spec: &JobSpec, supplies: Supplies, outbox: Arc<Outbox>, counters: Arc<Counters>) -> Self {
        let limiter = Limiter::new(spec.limits.memory.0, Arc::clone(&counters));
        let clock = Clock::of(spec, Arc::clone(&counters.page));
        let Supplies { input, named, gpu } = supplies;
        let input = input.charged_to(Arc::clone(&counters));
        let random = Random::of(spec);
        // A zero ends each, and `=` is within a variable.
        let arguments: usize =
            [PROGRAM_NAME].into_iter().chain(spec.args.iter().map(String::as_str)).map(|arg| arg.len() + 1).sum();
        let environment: usize = spec.env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        Self {
            wasi: wasi(spec, input, &clock, &outbox, &counters),
            arguments_units: ARGUMENT_BYTE_UNITS * arguments as u64 + ARGUMENT_UNITS * (1 + spec.args.len() as u64),
            environment_units: ARGUMENT_BYTE_UNITS * environment as u64 + ARGUMENT_UNITS * 2 * spec.env.len() as u64,
            named,
            gpu,
            gpu_error: String::new(),
            profiler: None,
            fuel_limit: spec.limits.fuel,
            random,
            clock,
            limiter,
            outbox,
            counters,
        }
    }

    /// The store's limiter.
    pub(super) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }

    /// What is counted of it.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// From here on the guest's memory is its own to grow; it begins with `memory_bytes`.
    pub(super) fn instantiated(&mut self, memory_bytes: u64) {
        self.counters.hold(memory_bytes);
        self.limiter.is_instantiated = true;
    }

    /// Counts a call of the host, with what it costs beyond that of any.
    pub(super) fn enter(&self, extra_units: u64) -> Result<(), Halted> {
        if self.counters.enter_host(extra_units) { Ok(()) } else { Err(Halted) }
    }

    /// Counts a piece of a call's work before it is done.
    pub(super) fn pay(&self, units: u64) -> Result<(), Halted> {
        if self.counters.page.charge(units) { Ok(()) } else { Err(Halted) }
    }

    /// The state behind WASI. The linker asks for it exactly once per call, so this is where calls are counted.
    fn enter_wasi(&mut self) -> &mut WasiP1Ctx {
        // A guest over its budget is stopped at its next check, not here: what it calls is bounded.
        let _ = self.enter(0);
        &mut self.wasi
    }
}

/// All that a guest may import: WASI preview 1, of which nothing reaches files or sockets, and `adit_1`.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    add_to_linker_async(&mut linker, Guest::enter_wasi)?;
    linker.allow_shadowing(true);
    // WASI's own refuses codes from 126 on; programs use all of them.
    linker.func_wrap(WASI_MODULE, "proc_exit", proc_exit)?;
    // WASI's own makes the bytes in memory of the host's first.
    linker.func_wrap(WASI_MODULE, "random_get", random_get)?;
    linker.func_wrap_async(WASI_MODULE, "poll_oneoff", |caller, (subscriptions, events, count, stored)| {
        Box::new(poll_oneoff(caller, subscriptions, events, count, stored))
    })?;
    calls::add_to(&mut linker)?;
    linker.allow_shadowing(false);
    linker.func_wrap_async(ADIT_MODULE, "log", |caller, (level, pointer, bytes)| Box::new(log(caller, level, pointer, bytes)))?;
    linker.func_wrap(ADIT_MODULE, "progress", progress)?;
    linker.func_wrap(ADIT_MODULE, "fuel_left", fuel_left)?;
    named::add_to(&mut linker)?;
    gpu_client::add_to(&mut linker)?;
    Ok(linker)
}

fn proc_exit(caller: Caller<'_, Guest>, code: i32) -> wasmtime::Result<()> {
    caller.data().enter(0)?;
    Err(I32Exit(code).into())
}

/// `random_get(buffer, bytes) -> errno`.
fn random_get(mut caller: Caller<'_, Guest>, buffer: i32, bytes: i32) -> wasmtime::Result<i32> {
    let memory = memory(&mut caller, "random_get")?;
    let (data, guest) = memory.data_and_store_mut(&mut caller);
    let bytes = bytes as u32 as usize;
    guest.enter(0)?;
    let buffer = span(data, buffer, bytes, "random_get")?;
    for piece in data[buffer].chunks_mut(PIECE_BYTES) {
        guest.pay(RANDOM_BYTE_UNITS * piece.len() as u64)?;
        guest.random.fill(piece)?;
    }
    Ok(Errno::SUCCESS.0.into())
}

/// `poll_oneoff(subscriptions, events, count, stored) -> errno`.
async fn poll_oneoff(
    mut caller: Caller<'_, Guest>,
    subscriptions: i32,
    events: i32,
    count: i32,
    stored: i32,
) -> wasmtime::Result<i32> {
    let memory = memory(&mut caller, "poll_oneoff")?;
    let (data, guest) = memory.data_and_store_mut(&mut caller);
    let count = count as u32 as usize;
    guest.enter(SUBSCRIPTION_UNITS.saturating_mul(count as u64))?;
    let subscriptions = span(data, subscriptions, count.saturating_mul(SUBSCRIPTION_BYTES), "poll_oneoff")?;
    let events = span(data, events, count.saturating_mul(EVENT_BYTES), "poll_oneoff")?;
    let stored = span(data, stored, 4, "poll_oneoff")?;
    let streams = Streams::named_by(&data[subscriptions.clone()], &mut guest.wasi).await?;
    let happened = match poll(&data[subscriptions], &guest.clock, streams).await {
        Ok(happened) => happened,
        Err(Refused::Errno(Errno(errno))) => return Ok(errno.into()),
        Err(Refused::Halted) => return Err(Halted.into()),
    };
    let bytes = happened.as_flattened();
    data[events][..bytes.len()].copy_from_slice(bytes);
    data[stored].copy_from_slice(&(happened.len() as u32).to_le_bytes());
    Ok(Errno::SUCCESS.0.into())
}

/// `log(level: i32, pointer: i32, bytes: i32)`: writes a line to the job's log. Levels as in the crate `log`: 1 error to 5 trace.
async fn log(mut caller: Caller<'_, Guest>, level: i32, pointer: i32, bytes: i32) -> wasmtime::Result<()> {
    let memory = memory(&mut caller, "adit_1.log")?;
    let (data, guest) = memory.data_and_store_mut(&mut caller);
    let bytes = bytes as u32 as usize;
    guest.enter(0)?;
    let text = span(data, pointer, bytes, "adit_1.log")?;
    guest.outbox.write_log(level_prefix(level).as_bytes());
    for piece in data[text].chunks(PIECE_BYTES) {
        guest.pay(STREAM_BYTE_UNITS * piece.len() as u64)?;
        guest.outbox.write_log(piece);
        guest.outbox.relief().await;
    }
    guest.outbox.write_log(b"\n");
    guest.outbox.relief().await;
    Ok(())
}

/// The guest's memory, which every function needs that takes pointers.
pub(super) fn memory(caller: &mut Caller<'_, Guest>, function: &str) -> wasmtime::Result<Memory> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| wasmtime::format_err!("{function} needs an exported memory named `memory`"))
}

/// Where in its memory the bytes are that a guest speaks of; a trap where they are not its own.
pub(super) fn span(data: &[u8], pointer: i32, bytes: usize, function: &str) -> wasmtime::Result<Range<usize>> {
    let start = pointer as u32 as usize;
    let span = start..start.saturating_add(bytes);
    match data.get(span.clone()) {
        Some(_) => Ok(span),
        None => Err(wasmtime::format_err!("{function} got a pointer outside of memory")),
    }
}

fn level_prefix(level: i32) -> &'static str {
    match level {
        i32::MIN..=1 => "[error] ",
        2 => "[warn] ",
        3 => "[info] ",
        4 => "[debug] ",
        5.. => "[trace] ",
    }
}

/// `progress(done: i64, total: i64)`: says how far the job is; a total of 0 where that is unknown.
fn progress(caller: Caller<'_, Guest>, done: i64, total: i64) -> Result<(), wasmtime::Error> {
    caller.data().enter(0)?;
    caller.data().outbox.set_progress(done as u64, total as u64);
    Ok(())
}

/// `fuel_left() -> i64`: the job's limit without what its bill would be here, this call included. The count is exact at a call of the
/// host, so the guest is told the same wherever it runs, however it was compiled, and whoever looks.
fn fuel_left(caller: Caller<'_, Guest>) -> Result<i64, wasmtime::Error> {
    let guest = caller.data();
    guest.enter(0)?;
    let left = guest.fuel_limit.0.saturating_sub(fuel(guest.counters.page.counter()).0);
    Ok(i64::try_from(left).unwrap_or(i64::MAX))
}

fn wasi(spec: &JobSpec, input: Input, clock: &Clock, outbox: &Arc<Outbox>, counters: &Arc<Counters>) -> WasiP1Ctx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(input)
        .stdout(Output::new(Way::Output, outbox, counters))
        .stderr(Output::new(Way::Log, outbox, counters))
        .arg(PROGRAM_NAME)
        .args(&spec.args)
        .envs(&spec.env)
        .wall_clock(clock.clone())
        .monotonic_clock(clock.clone())
        .allow_tcp(false)
        .allow_udp(false);
    builder.build_p1()
}

/// The guest's randomness.
enum Random {
    /// ChaCha20 under a key that the job's seed decides; made when it is first asked, because few jobs ask.
    Seeded { seed: u64, generator: Option<Box<ChaCha20Rng>> },
    /// The host's.
    Host,
}

impl Random {
    fn of(spec: &JobSpec) -> Self {
        match spec.profile {
            Profile::Deterministic => Self::Seeded { seed: spec.seed, generator: None },
            Profile::Open => Self::Host,
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        match self {
            Self::Seeded { seed, generator } => generator.get_or_insert_with(|| seeded(*seed)).fill_bytes(bytes),
            Self::Host => fill_from_host(bytes)?,
        }
        Ok(())
    }
}

fn seeded(seed: u64) -> Box<ChaCha20Rng> {
    let key = blake3::derive_key("adit guest randomness v1", &seed.to_le_bytes());
    Box::new(ChaCha20Rng::from_seed(key))
}

/// Bytes from the kernel's generator.
fn fill_from_host(mut bytes: &mut [u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let filled = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        bytes = &mut bytes[filled..];
    }
    Ok(())
}

/// Lets memory grow to the job's limit, and notes what it saw.
#[derive(Debug)]
struct Limiter {
    memory_max: u64,
    counters: Arc<Counters>,
    /// Before that the engine makes the memories that the module begins with, which were looked at before, and the meter's.
    is_instantiated: bool,
}

impl Limiter {
    fn new(memory_max: u64, counters: Arc<Counters>) -> Self {
        Self { memory_max, counters, is_instantiated: false }
    }
}

/// What the store of a guest holds it to that may have so many bytes of memory.
pub(crate) fn store_limits(memory_max: u64) -> [(&'static str, u64); 5] {
    let limiter = Limiter::new(memory_max, Arc::default());
    [
        ("instances", limiter.instances() as u64),
        ("tables", limiter.tables() as u64),
        ("memories", limiter.memories() as u64),
        ("table_elements", TABLE_ELEMENTS_MAX as u64),
        ("memory_bytes", limiter.memory_max),
    ]
}

impl ResourceLimiter for Limiter {
    /// Called at a `memory.grow`, where the count is exact.
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if !self.is_instantiated {
            return Ok(true);
        }
        let (desired, maximum) = (desired as u64, maximum.map_or(ADDRESSED_BYTES, |maximum| maximum as u64));
        // The engine asks before it looks at the module's own maximum. Beyond that it is the module that refuses, whatever the limit.
        let is_beyond_its_own = maximum < ADDRESSED_BYTES && desired > maximum;
        let fits = desired <= self.memory_max && desired <= maximum;
        if fits {
            self.counters.hold(desired);
        } else if !is_beyond_its_own {
            self.counters.deny_memory();
        }
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // What is refused by the rules was refused before.
        Err(HostExhausted(error).into())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(HostExhausted(error).into())
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        METERED_TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_PER_MODULE_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Instance, Module, Store};

    use super::*;
    use crate::engine::compiling_engine;

    /// A store's own limits would be ten thousand of each, and the engine's allocator, which has limits too, is not the same in baseline code.
    #[test]
    fn store_holds_one_instance_and_what_a_metered_module_may_have() {
        let engine = compiling_engine().unwrap();
        let instantiate = |declarations: &str, times: usize| {
            let module = Module::new(&engine, wat::parse_str(format!("(module {declarations})")).unwrap()).unwrap();
            let mut store = Store::new(&engine, Limiter::new(0, Arc::default()));
            store.limiter(|limiter| limiter);
            (0..times).try_for_each(|_| Instance::new(&mut store, &module, &[]).map(drop)).map_err(|error| error.to_string())
        };
        let (memory, table) = ("(memory 0)", "(table 0 funcref)");
        let most = memory.repeat(MEMORIES_PER_MODULE_MAX as usize) + &table.repeat(METERED_TABLES_MAX as usize);
        let refused = |what: &str| Err(format!("resource limit exceeded: {what}"));
        let rows = [
            (most.clone(), 1, Ok(())),
            (String::new(), 2, refused("instance count too high at 2")),
            (format!("{most} {memory}"), 1, refused("memory count too high at 3")),
            (format!("{most} {table}"), 1, refused("table count too high at 6")),
        ];
        for (declarations, times, want) in rows {
            assert_eq!(instantiate(&declarations, times), want, "{declarations} {times} times");
        }
    }

    #[test]
    fn tables_and_memory_grow_up_to_what_is_said_of_the_store() {
        let [.., elements, bytes] = store_limits(1 << 20).map(|(_, limit)| limit as usize);
        let mut limiter = Limiter::new(1 << 20, Arc::default());
        limiter.is_instantiated = true;
        for (beyond, want) in [(0, true), (1, false)] {
            assert_eq!(limiter.table_growing(0, elements + beyond, None).unwrap(), want, "{elements} and {beyond}");
            assert_eq!(limiter.memory_growing(0, bytes + beyond, None).unwrap(), want, "{bytes} and {beyond}");
        }
    }
}
