//! What no compiler can check: the only unsafe code of the crate, behind two safe functions.

#![allow(unsafe_code, reason = "machine code and inherited descriptors come from outside of what Rust knows")]

use std::fs::File;
use std::io;

use wasmtime::{Engine, Module};

/// The last of the three standard streams.
const STANDARD_STREAM_MAX: i32 = 2;

/// Loads a compiled module by mapping `code`, a file that the supervisor passed to this sandbox worker.
///
/// # Errors
/// Where the file is no compiled module of this engine.
pub(crate) fn load_code(engine: &Engine, code: File) -> wasmtime::Result<Module> {
    // SAFETY: the file must be what this engine's compiler wrote, and must not change while it is mapped. A sandbox worker gets
    // descriptors from its supervisor alone, and the supervisor passes only files that `ModuleCache` made: written by a compile
    // worker of this configuration (the name carries the compatibility hash), authenticated by a key of this node since, opened
    // read-only and never written again under that inode. Guest bytes never come this way. Should the cache be broken all the
    // same, the code runs in this worker, which holds no key and serves one tenant.
    unsafe { Module::deserialize_open_file(engine, code) }
}

/// Closes every descriptor but the standard streams: what whoever started the supervisor forgot to mark, a worker must not have.
///
/// To be called by `run_if_worker` alone, where nothing in this process has opened a descriptor yet.
///
/// # Errors
/// Where `/proc` is not there to list them.
pub(crate) fn close_inherited_descriptors() -> io::Result<()> {
    let listed = std::fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name().to_string_lossy().parse::<i32>()));
    let listed = listed.collect::<io::Result<Vec<_>>>()?;
    // The descriptor that listed the others is among them, and closed by now.
    let is_open = |fd: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    for fd in listed.into_iter().flatten().filter(|&fd| fd > STANDARD_STREAM_MAX).filter(is_open) {
        // SAFETY: the descriptor is open, and nobody in this process owns it: this runs first in `main`, before anything opens one.
        unsafe { rustix::io::close(fd) }
    }
    Ok(())
}
