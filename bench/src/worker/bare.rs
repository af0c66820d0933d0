//! Wasmtime as it is: the same modules without a meter, a sandbox, limits or a supervisor.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, Store,
};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use crate::echo::micros;
use crate::figure::median;

/// What a guest may write: more than it does.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Memory that is zeroed rather than given back when an instance ends, as our engine has it.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// A module that is ready.
pub(super) struct Bare {
    engine: Engine,
    module: InstancePre<WasiP1Ctx>,
}

impl Bare {
    /// Compiles a module for the engine at its fastest: with the pooling allocator, and stores that are not asynchronous.
    pub(super) fn pooling(wasm: &[u8]) -> wasmtime::Result<Self> {
        let engine = pooling_engine()?;
        let module = Module::new(&engine, wasm)?;
        Self::of(engine, &module)
    }

    /// Compiles a module as `wasmtime run` does where it has no cache: on every core, by the default configuration.
    pub(super) fn by_default(wasm: &[u8]) -> wasmtime::Result<Self> {
        let engine = Engine::new(Config::new().wasm_wide_arithmetic(true))?;
        let module = Module::new(&engine, wasm)?;
        Self::of(engine, &module)
    }

    fn of(engine: Engine, module: &Module) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&engine);
        add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
        Ok(Self { module: linker.instantiate_pre(module)?, engine })
    }

    /// Runs the guest once in an instance of its own; its output.
    pub(super) fn run(&self) -> wasmtime::Result<Vec<u8>> {
        let stdout = MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let wasi = WasiCtxBuilder::new().arg("job").stdout(stdout.clone()).build_p1();
        self.call(wasi)?;
        Ok(stdout.contents().to_vec())
    }

    /// Runs the guest again and again until `time` is over; how often, and how long that took.
    pub(super) fn work(&self, time: Duration) -> wasmtime::Result<(u64, Duration)> {
        let (mut jobs, started) = (0, Instant::now());
        while started.elapsed() < time {
            self.call(WasiCtxBuilder::new().build_p1())?;
            jobs += 1;
        }
        Ok((jobs, started.elapsed()))
    }

    /// The median microseconds of a run, over runs one after another for so long.
    pub(super) fn latency(&self, time: Duration) -> wasmtime::Result<f64> {
        let (mut latencies, started) = (Vec::new(), Instant::now());
        while started.elapsed() < time {
            let asked = Instant::now();
            self.call(WasiCtxBuilder::new().build_p1())?;
            latencies.push(micros(asked.elapsed()));
        }
        Ok(median(latencies))
    }

    fn call(&self, wasi: WasiP1Ctx) -> wasmtime::Result<()> {
        let mut store = Store::new(&self.engine, wasi);
        let instance = self.module.instantiate(&mut store)?;
        match instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ()) {
            Err(error) if error.downcast_ref::<I32Exit>().is_none_or(|exit| exit.0 != 0) => Err(error),
            _ => Ok(()),
        }
    }
}

/// An engine that loads one module from a file that it wrote before.
pub(super) struct FromFile {
    engine: Engine,
    file: PathBuf,
}

impl FromFile {
    /// Compiles a module into a file in `folder`, which nobody else can write to.
    pub(super) fn prepare(wasm: &[u8], folder: &Path) -> wasmtime::Result<Self> {
        let (engine, file) = (pooling_engine()?, folder.join("bare.cwasm"));
        std::fs::write(&file, engine.precompile_module(wasm)?)?;
        Ok(Self { engine, file })
    }

    /// Loads the module and runs it once; its output.
    #[allow(unsafe_code, reason = "Wasmtime cannot check compiled code")]
    pub(super) fn run(&self) -> wasmtime::Result<Vec<u8>> {
        // SAFETY: `prepare` wrote the file from what this very engine compiled, into a folder that only this process knows and only
        // its user can write to.
        let module = unsafe { Module::deserialize_file(&self.engine, &self.file) }?;
        Bare::of(self.engine.clone(), &module)?.run()
    }
}

fn pooling_engine() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.linear_memory_keep_resident(KEEP_RESIDENT_BYTES).pagemap_scan(Enabled::Auto);
    Engine::new(Config::new().wasm_wide_arithmetic(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool)))
}
