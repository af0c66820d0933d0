//! The worker processes' side: the same binary, started again under a worker's name.

mod calls;
mod clock;
mod compile;
mod counters;
mod ending;
mod executor;
mod gpu;
mod gpu_client;
mod guest;
mod named;
mod outbox;
mod poll;
mod prices;
mod profiler;
mod sandbox;
mod shader;
mod stdio;
mod watchdog;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::thread::available_parallelism;

use adit_protocol::encode_frame;
use tokio::net::UnixStream;
use wasmtime::Engine;

use crate::engine::{Room, baseline_engine, compiling_engine, engine};
use crate::ipc::{Receiver, Sender, connection};
use crate::process::{Priority, Role};
use crate::unchecked::close_inherited_descriptors;
use crate::walls::{Layers, Need, SandboxReport, Walls};

pub(crate) use compile::{Engines, prepare_optimised};
pub(crate) use ending::{clip, words};
pub(crate) use executor::{Executor, Program, Supplies};
pub(crate) use guest::store_limits;
pub(crate) use named::NamedInputs;
pub(crate) use outbox::{Outbox, PROGRESS_INTERVAL};
pub(crate) use prices::{CALL_UNITS, host_prices};
pub(crate) use sandbox::MODULE_SLOTS;
pub(crate) use stdio::Input;
pub(crate) use watchdog::Watchdog;

/// Exit code of a worker that could not do its part.
pub(crate) const WORKER_FAILED: i32 = 70;

/// Becomes a worker, and never returns, where this process was started as one; else returns at once. Every program that is a
/// [`crate::WorkerProgram`] calls this before anything else: a worker must not read configuration, start threads or open files.
pub fn run_if_worker() {
    let mut arguments = std::env::args().skip(1);
    let Some(role) = arguments.next().as_deref().and_then(Role::of_argument) else { return };
    let arguments: Vec<_> = arguments.collect();
    go_first_for_memory();
    let need = arguments.iter().find_map(|argument| Need::of_argument(argument)).unwrap_or_default();
    let priority = arguments.iter().find_map(|argument| Priority::of_argument(argument)).unwrap_or_default();
    let ended = priority.take().map_err(Into::into).and_then(|()| match role {
        Role::Sandbox => run_sandbox(need),
        Role::Compile => run_compile(need),
        Role::Probe => run_probe(),
        Role::Shader => run_shader(need),
        Role::Gpu => gpu::run(),
    });
    // A worker's only reader is its supervisor, which sees the socket close; standard error is there for who debugs.
    if let Err(error) = &ended {
        eprintln!("adit {}: {error:#}", role.argument());
    }
    std::process::exit(if ended.is_ok() { 0 } else { WORKER_FAILED });
}

/// Has the kernel end this process before all others where the machine is out of memory (proc(5), `oom_score_adj`): what is done here is done again
/// elsewhere, at no cost to whoever owns the machine. Where it cannot be said, memory alone decides, as it does for others.
fn go_first_for_memory() {
    // Raising it takes no right.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

fn run_sandbox(need: Need) -> wasmtime::Result<()> {
    let (engine, walls) = enter_sandbox(need, Layers::ALL)?;
    converse(async |sender, receiver| sandbox::serve(engine, walls, sender, receiver).await)
}

fn run_compile(need: Need) -> wasmtime::Result<()> {
    let (engines, walls) = enter_compile(need, Layers::ALL)?;
    converse(async |sender, receiver| compile::serve(engines, walls, sender, receiver).await)
}

fn run_shader(need: Need) -> wasmtime::Result<()> {
    close_inherited_descriptors()?;
    let walls = Walls::enter(Role::Shader, need, Layers::ALL)?;
    converse(async |sender, receiver| shader::serve(walls, sender, receiver).await)
}

/// Enters a sandbox worker's walls in the very way of a sandbox worker, and tells of them.
fn run_probe() -> wasmtime::Result<()> {
    let mut told = Vec::new();
    encode_frame(&probe().map_err(|error| format!("{error:#}")), &mut told)?;
    StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?).write_all(&told)?;
    Ok(())
}

fn probe() -> wasmtime::Result<SandboxReport> {
    let (_engine, walls) = enter_sandbox(Need::Weak, Layers::ALL)?;
    Ok(walls.seal()?)
}

/// The walls of a sandbox worker but for the last, with the engine: it opens the table of its own pages (`/proc/self/pagemap`),
/// which nobody can behind the walls.
pub(crate) fn enter_sandbox(need: Need, layers: Layers) -> wasmtime::Result<(Engine, Walls)> {
    close_inherited_descriptors()?;
    let engine = engine()?;
    Ok((engine, Walls::enter(Role::Sandbox, need, layers)?))
}

/// The walls of a compile worker but for the last, and within them the threads of parallel compilation: once the worker is sealed
/// none can start.
pub(crate) fn enter_compile(need: Need, layers: Layers) -> wasmtime::Result<(Engines, Walls)> {
    close_inherited_descriptors()?;
    // Both read the system's limits on processors, which nobody can behind the walls.
    let baseline = if Room::here()?.has_baseline() { Some(baseline_engine()?) } else { None };
    let engines = Engines { baseline, optimised: compiling_engine()? };
    let threads = available_parallelism().map_or(1, usize::from);
    let walls = Walls::enter(Role::Compile, need, layers)?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    // Returns when each has run.
    rayon::broadcast(|_| ());
    Ok((engines, walls))
}

/// Runs a worker's conversation on one thread until its supervisor closes the socket.
fn converse(serve: impl AsyncFnOnce(Sender, Receiver) -> wasmtime::Result<()>) -> wasmtime::Result<()> {
    reactor()?.block_on(async {
        let (sender, receiver) = connection(socket()?);
        serve(sender, receiver).await
    })
}

fn reactor() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()
}

/// The socket to the supervisor, which a worker gets as its standard input.
fn socket() -> io::Result<UnixStream> {
    let socket = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
