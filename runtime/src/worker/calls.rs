//! WASI functions that are WASI's own behind a bound and a price: what a call costs the host is what its guest pays, whatever numbers
//! the guest passes.

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1};
use wiggle::GuestMemory;

use super::guest::{Guest, Halted, WASI_MODULE, memory};
use super::poll::Errno;
use super::prices::BUFFER_UNITS;

/// Buffers in one call of `fd_read` or `fd_write`: `IOV_MAX` of Linux. WASI's own serves the first that is not empty, after a walk over
/// all before it.
const BUFFERS_MAX: u32 = 1024;

/// What WASI's own may copy per call, by its own count: all, because what could be large is bounded here.
const COPIED_BYTES_MAX: usize = usize::MAX;

/// Puts these functions in the place of WASI's own.
pub(super) fn add_to(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    add_streams(linker)?;
    add_arguments(linker)?;
    add_paths(linker)
}

/// What a call works on once it is paid for: WASI's state and the guest's memory.
fn open<'a>(caller: &'a mut Caller<'_, Guest>, function: &str) -> wasmtime::Result<(&'a mut Guest, GuestMemory<'a>)> {
    let memory = memory(caller, function)?;
    let (data, guest) = memory.data_and_store_mut(caller);
    guest.wasi.set_hostcall_fuel(COPIED_BYTES_MAX);
    Ok((guest, GuestMemory::Unshared(data)))
}

/// Counts a call with so many buffers; the error number where they are too many.
fn enter_list(guest: &Guest, buffers: i32) -> Result<Option<i32>, Halted> {
    let buffers = buffers as u32;
    let is_refused = buffers > BUFFERS_MAX;
    guest.enter(if is_refused { 0 } else { BUFFER_UNITS * u64::from(buffers) })?;
    Ok(is_refused.then(|| Errno::INVALID.0.into()))
}

fn add_streams(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(WASI_MODULE, "fd_read", |mut caller, (fd, list, buffers, stored): (i32, i32, i32, i32)| {
        Box::new(async move {
            let (guest, mut memory) = open(&mut caller, "fd_read")?;
            match enter_list(guest, buffers)? {
                Some(refused) => Ok(refused),
                None => preview1::fd_read(&mut guest.wasi, &mut memory, fd, list, buffers, stored).await,
            }
        })
    })?;
    linker.func_wrap_async(WASI_MODULE, "fd_write", |mut caller, (fd, list, buffers, stored): (i32, i32, i32, i32)| {
        Box::new(async move {
            let (guest, mut memory) = open(&mut caller, "fd_write")?;
            match enter_list(guest, buffers)? {
                Some(refused) => Ok(refused),
                None => preview1::fd_write(&mut guest.wasi, &mut memory, fd, list, buffers, stored).await,
            }
        })
    })?;
    linker.func_wrap_async(
        WASI_MODULE,
        "fd_pread",
        |mut caller, (fd, list, buffers, at, stored): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (guest, mut memory) = open(&mut caller, "fd_pread")?;
                match enter_list(guest, buffers)? {
                    Some(refused) => Ok(refused),
                    None => preview1::fd_pread(&mut guest.wasi, &mut memory, fd, list, buffers, at, stored).await,
                }
            })
        },
    )?;
    linker.func_wrap_async(
        WASI_MODULE,
        "fd_pwrite",
        |mut caller, (fd, list, buffers, at, stored): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (guest, mut memory) = open(&mut caller, "fd_pwrite")?;
                match enter_list(guest, buffers)? {
                    Some(refused) => Ok(refused),
                    None => preview1::fd_pwrite(&mut guest.wasi, &mut memory, fd, list, buffers, at, stored).await,
                }
            })
        },
    )?;
    Ok(())
}

/// The sizes cost what the bytes cost: WASI's own copies them all to tell how many there are.
fn add_arguments(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(WASI_MODULE, "args_sizes_get", |mut caller: Caller<'_, Guest>, count: i32, bytes: i32| {
        let (guest, mut memory) = open(&mut caller, "args_sizes_get")?;
        guest.enter(guest.arguments_units)?;
        preview1::args_sizes_get(&mut guest.wasi, &mut memory, count, bytes)
    })?;
    linker.func_wrap(WASI_MODULE, "args_get", |mut caller: Caller<'_, Guest>, list: i32, bytes: i32| {
        let (guest, mut memory) = open(&mut caller, "args_get")?;
        guest.enter(guest.arguments_units)?;
        preview1::args_get(&mut guest.wasi, &mut memory, list, bytes)
    })?;
    linker.func_wrap(WASI_MODULE, "environ_sizes_get", |mut caller: Caller<'_, Guest>, count: i32, bytes: i32| {
        let (guest, mut memory) = open(&mut caller, "environ_sizes_get")?;
        guest.enter(guest.environment_units)?;
        preview1::environ_sizes_get(&mut guest.wasi, &mut memory, count, bytes)
    })?;
    linker.func_wrap(WASI_MODULE, "environ_get", |mut caller: Caller<'_, Guest>, list: i32, bytes: i32| {
        let (guest, mut memory) = open(&mut caller, "environ_get")?;
        guest.enter(guest.environment_units)?;
        preview1::environ_get(&mut guest.wasi, &mut memory, list, bytes)
    })?;
    Ok(())
}

/// A path is looked up from a directory, and no guest has one: every descriptor that it may pass is a bad one. WASI's own says so too,
/// but some of its functions copy the path first, of whatever length.
fn add_paths(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(WASI_MODULE, "path_create_directory", |c: Caller<'_, Guest>, _: i32, _: i32, _: i32| no_directory(&c))?;
    linker.func_wrap(WASI_MODULE, "path_filestat_get", |c: Caller<'_, Guest>, _: i32, _: i32, _: i32, _: i32, _: i32| {
        no_directory(&c)
    })?;
    linker.func_wrap(
        WASI_MODULE,
        "path_filestat_set_times",
        |c: Caller<'_, Guest>, _: i32, _: i32, _: i32, _: i32, _: i64, _: i64, _: i32| no_directory(&c),
    )?;
    linker.func_wrap(
        WASI_MODULE,
        "path_link",
        |c: Caller<'_, Guest>, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32| no_directory(&c),
    )?;
    linker.func_wrap(
        WASI_MODULE,
        "path_open",
        |c: Caller<'_, Guest>, _: i32, _: i32, _: i32, _: i32, _: i32, _: i64, _: i64, _: i32, _: i32| no_directory(&c),
    )?;
    linker.func_wrap(WASI_MODULE, "path_readlink", |c: Caller<'_, Guest>, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32| {
        no_directory(&c)
    })?;
    linker.func_wrap(WASI_MODULE, "path_remove_directory", |c: Caller<'_, Guest>, _: i32, _: i32, _: i32| no_directory(&c))?;
    linker.func_wrap(WASI_MODULE, "path_rename", |c: Caller<'_, Guest>, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32| {
        no_directory(&c)
    })?;
    linker.func_wrap(WASI_MODULE, "path_symlink", |c: Caller<'_, Guest>, _: i32, _: i32, _: i32, _: i32, _: i32| {
        no_directory(&c)
    })?;
    linker.func_wrap(WASI_MODULE, "path_unlink_file", |c: Caller<'_, Guest>, _: i32, _: i32, _: i32| no_directory(&c))?;
    Ok(())
}

fn no_directory(caller: &Caller<'_, Guest>) -> wasmtime::Result<i32> {
    caller.data().enter(0)?;
    Ok(Errno::BAD_FD.0.into())
}
