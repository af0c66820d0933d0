//! For tests: whatever they like to try, from behind a worker's walls.

#![allow(missing_docs, reason = "no part of the interface")]

use std::sync::mpsc;
use std::thread;

use crate::gpu::adapter::open;
use crate::gpu::wire::{Faults, GpuSetup};
use crate::walls::{GPU_MEMORY_MAX, GpuWalls, Need};
use crate::worker::{enter_compile, enter_sandbox};

pub use crate::walls::Layers;

/// Makes this process what a sandbox worker (with `compile` a compile worker) is when its first order comes, but with `layers` of
/// the walls alone, and calls `attempt` in it, on a thread of its own that began before the worker was sealed, or on the main one.
/// To be called first in `main`.
///
/// # Errors
/// Where the walls are not what they should be.
pub fn attempt<T: Send + 'static>(
    compile: bool,
    layers: Layers,
    on_other_thread: bool,
    attempt: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let need = if layers == Layers::ALL { Need::Strong } else { Need::Weak };
    let entered = if compile {
        enter_compile(need, layers).map(|(engines, walls)| (engines.optimised, walls))
    } else {
        enter_sandbox(need, layers)
    };
    let (_engine, walls) = entered.map_err(|error| format!("{error:#}"))?;
    let (go, wait) = mpsc::channel();
    let (say, hear) = mpsc::channel();
    let other = on_other_thread.then(|| {
        thread::spawn(move || {
            // It runs, and waits for what to do.
            say.send(()).map_err(|error| error.to_string())?;
            let attempt: Box<dyn FnOnce() -> T + Send> = wait.recv().map_err(|error| error.to_string())?;
            Ok::<T, String>(attempt())
        })
    });
    if other.is_some() {
        hear.recv().map_err(|error| error.to_string())?;
    }
    walls.seal().map_err(|error| error.to_string())?;
    match other {
        None => Ok(attempt()),
        Some(other) => {
            go.send(Box::new(attempt)).map_err(|error| error.to_string())?;
            other.join().map_err(|_| "the attempt panicked".to_owned())?
        }
    }
}

/// Makes this process what a GPU worker is when its device is open, a software one, and calls `attempt` in it.
///
/// # Errors
/// Where the walls are not what they should be, or there is no such device.
pub fn attempt_beside_gpu<T>(attempt: impl FnOnce() -> T) -> Result<T, String> {
    let walls = GpuWalls::enter().map_err(|error| error.to_string())?;
    let setup = GpuSetup { adapter: None, software: true, memory: 1 << 20, slice_ms: 1000, faults: Faults::default() };
    let _opened = open(&setup)?;
    let lacks = walls.seal(GPU_MEMORY_MAX).map_err(|error| error.to_string())?;
    if lacks.is_empty() { Ok(attempt()) } else { Err(lacks.join("; ")) }
}
