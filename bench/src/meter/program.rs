//! The kernels as a guest: compiled once per variant, run as often as one likes.

use std::time::Duration;

use adit_runtime::lab::{COUNTER_AT, LIMIT_AT, PAGES_MAX_AT};
use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, Instance, InstancePre, Linker, Memory, Module, Store};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{Deterministic, I32Exit, WasiCtxBuilder};

use super::variant::Variant;

/// More than the kernels print.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Pages of 64 KiB that a kernel's memory may have: all that there are.
const PAGES_MAX: u64 = 1 << 16;

/// A kernel and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// The kernel.
    pub(crate) name: String,
    /// Its size.
    pub(crate) size: u32,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// What the kernel printed: its name, its size and its checksum.
    pub(crate) output: String,
    /// Time that the processor worked for the guest, system calls such as page faults included.
    pub(crate) cpu: Duration,
    /// What the meter counted, where there is one.
    pub(crate) units: u64,
}

/// The kernels' module, made ready in one way.
pub(crate) struct Program {
    variant: Variant,
    engine: Engine,
    instance: InstancePre<WasiP1Ctx>,
    /// The name of the meter's memory, where there is one.
    meter: Option<String>,
}

impl Program {
    /// Compiles `wasm` as `variant` has it.
    pub(crate) fn compile(wasm: &[u8], variant: Variant) -> Result<Self> {
        let prepare = || -> Result<Self> {
            let prepared = variant.prepare(wasm)?;
            let (instance, engine) = link(&prepared.wasm, variant).map_err(into_anyhow)?;
            Ok(Self { variant, engine, instance, meter: prepared.meter })
        };
        prepare().with_context(|| format!("kernels.wasm, {}", variant.name()))
    }

    /// Every kernel with its own size over `divisor`.
    pub(crate) fn orders(&self, divisor: u32) -> Result<Vec<Order>> {
        let (run, ..) = self.start(&[])?;
        let order = |line: &str| {
            let (name, size) = line.split_once(' ').with_context(|| format!("the kernels' list has a line `{line}`"))?;
            let size: u32 = size.parse().with_context(|| format!("the size of {name}"))?;
            Ok(Order { name: name.to_owned(), size: (size / divisor).max(1) })
        };
        run.output.lines().map(order).collect()
    }

    /// Runs a kernel in a new instance.
    pub(crate) fn run(&self, order: &Order) -> Result<Run> {
        let (run, ..) = self.start(&[order.name.clone(), order.size.to_string()])?;
        ensure!(run.output.starts_with(&order.name), "{} printed `{}`", order.name, run.output);
        Ok(run)
    }

    /// Runs a kernel of a counting module, and then reads the exported globals whose names begin with `prefix`, in their order.
    pub(crate) fn run_and_read(&self, order: &Order, prefix: &str) -> Result<Vec<u64>> {
        let (_, mut store, instance) = self.start(&[order.name.clone(), order.size.to_string()])?;
        let exports: Vec<String> = self
            .instance
            .module()
            .exports()
            .map(|export| export.name().to_owned())
            .filter(|name| name.starts_with(prefix))
            .collect();
        let read = |name: &String| {
            let global = instance.get_global(&mut store, name)?;
            global.get(&mut store).i64().map(|value| value as u64)
        };
        exports.iter().map(read).collect::<Option<_>>().context("a counter is no global of 64 bits")
    }

    fn start(&self, arguments: &[String]) -> Result<(Run, Store<WasiP1Ctx>, Instance)> {
        let stdout = MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let mut wasi = WasiCtxBuilder::new();
        // Maps inside of the crate regex are hashed by what the host says: it has to say the same each time.
        wasi.secure_random(Deterministic::new(b"adit".to_vec()));
        let wasi = wasi.arg("kernels").args(arguments).stdout(stdout.clone()).inherit_stderr().build_p1();
        let mut store = Store::new(&self.engine, wasi);
        let (cpu, instance) = self.call(&mut store).map_err(into_anyhow).with_context(|| arguments.join(" "))?;
        let units =
            self.meter(&mut store, instance).map_err(into_anyhow)?.map_or(Ok(0), |meter| read(&store, meter, COUNTER_AT))?;
        let output = String::from_utf8(stdout.contents().to_vec())?.trim_end().to_owned();
        Ok((Run { output, cpu, units }, store, instance))
    }

    /// The time between the call and the return. What it takes to make an instance is measured elsewhere.
    fn call(&self, store: &mut Store<WasiP1Ctx>) -> wasmtime::Result<(Duration, Instance)> {
        if self.variant.has_engine_fuel() {
            store.set_fuel(u64::MAX)?;
        }
        if self.variant.has_epochs() {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        let instance = self.instance.instantiate(&mut *store)?;
        if let Some(meter) = self.meter(store, instance)? {
            meter.write(&mut *store, LIMIT_AT as usize, &(i64::MAX as u64 / 2).to_le_bytes())?;
            meter.write(&mut *store, PAGES_MAX_AT as usize, &PAGES_MAX.to_le_bytes())?;
        }
        let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
        let before = thread_cpu();
        let ended = start.call(&mut *store, ());
        let cpu = thread_cpu().saturating_sub(before);
        match ended {
            Err(error) if error.downcast_ref::<I32Exit>().is_none_or(|exit| exit.0 != 0) => Err(error),
            _ => Ok((cpu, instance)),
        }
    }

    fn meter(&self, store: &mut Store<WasiP1Ctx>, instance: Instance) -> wasmtime::Result<Option<Memory>> {
        let Some(name) = &self.meter else { return Ok(None) };
        let memory = instance.get_memory(store, name);
        memory.map(Some).ok_or_else(|| wasmtime::format_err!("the module has no meter"))
    }
}

fn link(wasm: &[u8], variant: Variant) -> wasmtime::Result<(InstancePre<WasiP1Ctx>, Engine)> {
    let engine = Engine::new(&variant.config())?;
    let module = Module::new(&engine, wasm)?;
    let mut linker = Linker::new(&engine);
    add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
    Ok((linker.instantiate_pre(&module)?, engine))
}

fn read(store: &Store<WasiP1Ctx>, meter: Memory, at: u64) -> Result<u64> {
    let mut word = [0; 8];
    meter.read(store, at as usize, &mut word)?;
    Ok(u64::from_le_bytes(word))
}

/// Processor time of this thread so far: another process that gets the processor in between does not count.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

pub(super) fn into_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into_boxed_dyn_error())
}
