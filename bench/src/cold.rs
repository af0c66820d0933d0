//! A module that the node compiled in an earlier life, run for the first time in this one.

use std::path::{Path, PathBuf};
use std::time::Instant;

use adit_client::Source;
use anyhow::{Context, Result, ensure};
use wasmtime::{Caller, Engine, Extern, Linker, Memory, Module, Store};

use crate::echo::{self, micros};
use crate::figure::{Figure, Goal, Rounds, Title};
use crate::guest;
use crate::net::{Network, scratch_folder};
use crate::plan::Plan;

/// Ours crosses three processes and three signatures on its way to the same work and back; the goal bounds what that and the check of
/// the compiled code may cost.
const START: Title =
    Title { name: "cold_start", unit: "us", reference: "bare wasmtime from a .cwasm in process", goal: Goal::AtMost(8.0) };
/// Functions of the module: a megabyte of wasm, as an application has.
const FUNCTIONS: usize = 4_000;

/// Microseconds until the output is there, of the first job after the node was started again over its cache.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let wasm = guest::large_echo(FUNCTIONS)?;
    let mut network = Network::start().await?;
    let client = network.client().await?;
    let module = Source::bytes(wasm.clone());
    echo::run(&client, &module).await.context("the run that compiles")?;
    let folder = scratch_folder()?;
    let bare = Bare::prepare(&wasm, folder.path()).map_err(into_anyhow)?;
    let mut rounds = Rounds::default();
    for _ in 0..plan.rounds {
        network.restart_node(&client).await?;
        let first = echo::run(&client, &module).await?;
        ensure!(first.compile_us == 0, "the node compiled the module again, for {} us", first.compile_us);
        let start = Instant::now();
        bare.run(&echo::BYTES).map_err(into_anyhow)?;
        rounds.push(micros(first.ended), micros(start.elapsed()));
    }
    Ok(vec![rounds.figure(START)])
}

/// Wasmtime as it is, without a meter, a sandbox or a network: a compiled module in a file, and the two host functions that it calls.
struct Bare {
    engine: Engine,
    linker: Linker<Pipe>,
    compiled: PathBuf,
}

/// A guest's standard input and output.
#[derive(Debug, Default)]
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Bare {
    fn prepare(wasm: &[u8], folder: &Path) -> wasmtime::Result<Self> {
        let compiled = folder.join("large.cwasm");
        let engine = Engine::default();
        std::fs::write(&compiled, engine.precompile_module(wasm)?)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("wasi_snapshot_preview1", "fd_read", fd_read)?;
        linker.func_wrap("wasi_snapshot_preview1", "fd_write", fd_write)?;
        Ok(Self { engine, linker, compiled })
    }

    /// Loads the module, makes an instance, and runs it over `input`, which it must copy.
    fn run(&self, input: &[u8]) -> wasmtime::Result<()> {
        let module = self.load()?;
        let mut store = Store::new(&self.engine, Pipe { input: input.to_vec(), output: Vec::new() });
        let instance = self.linker.instantiate(&mut store, &module)?;
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
        wasmtime::ensure!(store.data().output == input, "the bare guest did not echo");
        Ok(())
    }

    #[allow(unsafe_code, reason = "Wasmtime cannot check compiled code")]
    fn load(&self) -> wasmtime::Result<Module> {
        // SAFETY: `prepare` wrote the file from what this very engine compiled, into a folder that only this process knows and only
        // its user can write to.
        unsafe { Module::deserialize_file(&self.engine, &self.compiled) }
    }
}

fn fd_read(mut caller: Caller<'_, Pipe>, _fd: i32, iovec: i32, _iovecs: i32, read: i32) -> wasmtime::Result<i32> {
    let memory = memory(&mut caller)?;
    let (memory, pipe) = memory.data_and_store_mut(&mut caller);
    let buffer = buffer(memory, iovec)?;
    let bytes = buffer.len().min(pipe.input.len());
    buffer[..bytes].copy_from_slice(&pipe.input[..bytes]);
    pipe.input.drain(..bytes);
    set_word(memory, read, bytes as u32)
}

fn fd_write(mut caller: Caller<'_, Pipe>, _fd: i32, iovec: i32, _iovecs: i32, written: i32) -> wasmtime::Result<i32> {
    let memory = memory(&mut caller)?;
    let (memory, pipe) = memory.data_and_store_mut(&mut caller);
    let buffer = buffer(memory, iovec)?;
    pipe.output.extend_from_slice(buffer);
    let bytes = buffer.len() as u32;
    set_word(memory, written, bytes)
}

fn memory(caller: &mut Caller<'_, Pipe>) -> wasmtime::Result<Memory> {
    caller.get_export("memory").and_then(Extern::into_memory).ok_or_else(|| wasmtime::format_err!("no memory"))
}

/// The bytes that the first iovec points to.
fn buffer(memory: &mut [u8], iovec: i32) -> wasmtime::Result<&mut [u8]> {
    let [start, length] = [word(memory, iovec as usize)?, word(memory, iovec as usize + 4)?];
    memory.get_mut(start..start.saturating_add(length)).ok_or_else(|| wasmtime::format_err!("an iovec out of bounds"))
}

fn word(memory: &[u8], at: usize) -> wasmtime::Result<usize> {
    let bytes = memory.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(|| wasmtime::format_err!("a word out of bounds"))?;
    Ok(u32::from_le_bytes(*bytes) as usize)
}

/// Stores `value`, and returns WASI's word for success.
fn set_word(memory: &mut [u8], at: i32, value: u32) -> wasmtime::Result<i32> {
    let place = memory.get_mut(at as usize..).and_then(<[u8]>::first_chunk_mut);
    *place.ok_or_else(|| wasmtime::format_err!("a word out of bounds"))? = value.to_le_bytes();
    Ok(0)
}

fn into_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into_boxed_dyn_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_reference_runs_the_whole_guest_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let bare = Bare::prepare(&guest::large_echo(3).unwrap(), folder.path()).unwrap();
        bare.run(&echo::BYTES).unwrap();
        bare.run(&[7; 100_000]).unwrap();
        bare.run(b"").unwrap();
        std::fs::remove_file(&bare.compiled).unwrap();
        assert!(bare.run(&echo::BYTES).is_err());
    }
}
