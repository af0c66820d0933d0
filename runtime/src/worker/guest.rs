//! A guest's world: what it may import, and the state behind it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use adit_protocol::{JobSpec, Profile};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use wasmtime::{Caller, Engine, Extern, Linker, Memory, ResourceLimiter};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_async};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use super::clock::Clock;
use super::outbox::Outbox;
use super::poll::{EVENT_BYTES, Errno, SUBSCRIPTION_BYTES, poll};
use super::stdio::{Input, Output};
use crate::engine::TABLE_ELEMENTS_MAX;

/// Our own import module. A change that breaks guests gets the next number.
const ADIT_MODULE: &str = "adit_1";
const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// What a guest sees as its program's name: the module has none.
const PROGRAM_NAME: &str = "job";

/// The state of one running guest.
pub(super) struct Guest {
    wasi: WasiP1Ctx,
    clock: Clock,
    limiter: Limiter,
    outbox: Arc<Outbox>,
    counters: Arc<Counters>,
}

/// What is counted while a guest runs; read from outside while the guest holds its store.
#[derive(Debug, Default)]
pub(super) struct Counters {
    memory_peak: AtomicU64,
    memory_denied: AtomicBool,
    host_calls: AtomicU64,
}

impl Counters {
    /// The most linear memory so far, in bytes.
    pub(super) fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Ordering::Relaxed)
    }

    /// Whether the guest was ever refused memory.
    pub(super) fn is_memory_denied(&self) -> bool {
        self.memory_denied.load(Ordering::Relaxed)
    }

    /// Calls of imports so far. An instance without an exported memory traps in any call of WASI before it is counted.
    pub(super) fn host_calls(&self) -> u64 {
        self.host_calls.load(Ordering::Relaxed)
    }
}

impl Guest {
    pub(super) fn new(spec: &JobSpec, input: Input, outbox: Arc<Outbox>, counters: Arc<Counters>) -> Self {
        let limiter = Limiter { memory_max: spec.limits.memory.0, counters: Arc::clone(&counters) };
        let clock = Clock::of(spec);
        Self { wasi: wasi(spec, input, &clock, &outbox), clock, limiter, outbox, counters }
    }

    /// The store's limiter.
    pub(super) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }

    fn count_host_call(&self) {
        self.counters.host_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The state behind WASI. The linker asks for it exactly once per call, so this is where calls are counted.
    fn enter_wasi(&mut self) -> &mut WasiP1Ctx {
        self.count_host_call();
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
    linker.func_wrap_async(WASI_MODULE, "poll_oneoff", |caller, (subscriptions, events, count, stored)| {
        Box::new(poll_oneoff(caller, subscriptions, events, count, stored))
    })?;
    linker.allow_shadowing(false);
    linker.func_wrap_async(ADIT_MODULE, "log", |caller, (level, pointer, bytes)| Box::new(log(caller, level, pointer, bytes)))?;
    linker.func_wrap(ADIT_MODULE, "progress", progress)?;
    Ok(linker)
}

fn proc_exit(caller: Caller<'_, Guest>, code: i32) -> wasmtime::Result<()> {
    caller.data().count_host_call();
    Err(I32Exit(code).into())
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
    guest.count_host_call();
    let count = count as u32 as usize;
    let subscriptions = span(data, subscriptions, count.saturating_mul(SUBSCRIPTION_BYTES), "poll_oneoff")?;
    let events = span(data, events, count.saturating_mul(EVENT_BYTES), "poll_oneoff")?;
    let stored = span(data, stored, 4, "poll_oneoff")?;
    let happened = match poll(&data[subscriptions], &guest.clock).await {
        Ok(happened) => happened,
        Err(Errno(errno)) => return Ok(errno.into()),
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
    guest.count_host_call();
    let text = span(data, pointer, bytes as u32 as usize, "adit_1.log")?;
    for piece in [level_prefix(level).as_bytes(), &data[text], b"\n"] {
        guest.outbox.write_log(piece);
    }
    guest.outbox.relief().await;
    Ok(())
}

/// The guest's memory, which every function needs that takes pointers.
fn memory(caller: &mut Caller<'_, Guest>, function: &str) -> wasmtime::Result<Memory> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| wasmtime::format_err!("{function} needs an exported memory named `memory`"))
}

/// Where in its memory the bytes are that a guest speaks of; a trap where they are not its own.
fn span(data: &[u8], pointer: i32, bytes: usize, function: &str) -> wasmtime::Result<Range<usize>> {
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
fn progress(caller: Caller<'_, Guest>, done: i64, total: i64) {
    caller.data().count_host_call();
    caller.data().outbox.set_progress(done as u64, total as u64);
}

fn wasi(spec: &JobSpec, input: Input, clock: &Clock, outbox: &Arc<Outbox>) -> WasiP1Ctx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(input)
        .stdout(Output::Output(Arc::clone(outbox)))
        .stderr(Output::Log(Arc::clone(outbox)))
        .arg(PROGRAM_NAME)
        .args(&spec.args)
        .envs(&spec.env)
        .wall_clock(clock.clone())
        .monotonic_clock(clock.clone())
        .allow_tcp(false)
        .allow_udp(false);
    // Left alone, the builder gives the host's entropy.
    if spec.profile == Profile::Deterministic {
        builder.secure_random(seeded_random(spec.seed));
    }
    builder.build_p1()
}

/// The guest's randomness: ChaCha20 under a key that the job's seed decides.
fn seeded_random(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(blake3::derive_key("adit guest randomness v1", &seed.to_le_bytes()))
}

/// Lets memory grow to the job's limit, and notes what it saw.
#[derive(Debug)]
struct Limiter {
    memory_max: u64,
    counters: Arc<Counters>,
}

impl ResourceLimiter for Limiter {
    /// Called for the initial size too; a module has one memory at most.
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired as u64 <= self.memory_max;
        if fits {
            self.counters.memory_peak.fetch_max(desired as u64, Ordering::Relaxed);
        } else {
            self.counters.memory_denied.store(true, Ordering::Relaxed);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        1
    }
}
