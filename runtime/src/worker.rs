//! The worker processes' side: the same binary, started again under a worker's name.

mod clock;
mod compile;
mod counters;
mod ending;
mod executor;
mod guest;
mod outbox;
mod poll;
mod prices;
mod sandbox;
mod stdio;
mod watchdog;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::UnixStream;

use crate::ipc::{Receiver, Sender, connection};
use crate::unchecked::close_inherited_descriptors;

pub(crate) use executor::{Executor, Program};
pub(crate) use outbox::Outbox;
pub(crate) use prices::host_prices;
pub(crate) use sandbox::MODULE_SLOTS;
pub(crate) use stdio::Input;
pub(crate) use watchdog::Watchdog;

/// First argument of a sandbox worker.
pub(crate) const SANDBOX_WORKER: &str = "__adit-sandbox-worker";
/// First argument of a compile worker.
pub(crate) const COMPILE_WORKER: &str = "__adit-compile-worker";

/// Exit code of a worker that could not do its part.
pub(crate) const WORKER_FAILED: i32 = 70;

/// Becomes a worker, and never returns, where this process was started as one; else returns at once. Every program that is a
/// [`crate::WorkerProgram`] calls this before anything else: a worker must not read configuration, start threads or open files.
pub fn run_if_worker() {
    let Some(role) = std::env::args().nth(1) else { return };
    let ended = match role.as_str() {
        SANDBOX_WORKER => enter(async |sender, receiver| sandbox::serve(sender, receiver).await),
        COMPILE_WORKER => enter(async |sender, receiver| compile::serve(sender, receiver).await),
        _ => return,
    };
    // A worker's only reader is its supervisor, which sees the socket close; standard error is there for who debugs.
    if let Err(error) = &ended {
        eprintln!("adit {role}: {error:#}");
    }
    std::process::exit(if ended.is_ok() { 0 } else { WORKER_FAILED });
}

/// Runs a worker's conversation on one thread until its supervisor closes the socket.
fn enter(serve: impl AsyncFnOnce(Sender, Receiver) -> wasmtime::Result<()>) -> wasmtime::Result<()> {
    close_inherited_descriptors()?;
    limit(Resource::Core, 0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let (sender, receiver) = connection(socket()?);
        serve(sender, receiver).await
    })
}

/// The socket to the supervisor, which a worker gets as its standard input.
fn socket() -> io::Result<UnixStream> {
    let socket = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// Lowers a limit of this process for good.
fn limit(resource: Resource, bytes: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(bytes), maximum: Some(bytes) })?)
}
