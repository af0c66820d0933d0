//! What no compiler can check: the only unsafe code of the crate, behind safe functions.

#![allow(
    unsafe_code,
    reason = "machine code, inherited descriptors, namespaces, processes and a guest's memory come from outside of what Rust knows"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::thread::{UnshareFlags, unshare_unsafe};
use wasmtime::{Engine, Memory, Module, Store};
use wgpu::WriteOnly;

use crate::meter::words;

/// The last of the three standard streams.
const STANDARD_STREAM_MAX: i32 = 2;

/// Loads a compiled module by mapping `code`, a file that the supervisor passed to this sandbox worker.
///
/// # Errors
/// Where the file is no compiled module of this engine.
#[expect(clippy::disallowed_methods, reason = "the one place where compiled code is loaded")]
pub(crate) fn load_code(engine: &Engine, code: File) -> wasmtime::Result<Module> {
    // SAFETY: the file must be what this engine's compiler wrote, and must not change while it is mapped. A sandbox worker gets
    // descriptors from its supervisor alone, and the supervisor passes only files that `ModuleCache` made: written by a compile
    // worker of this configuration (the name carries the compatibility hash), authenticated by a key of this node since, opened
    // read-only and never written again under that inode. Guest bytes never come this way. Should the cache be broken all the
    // same, the code runs in this worker, which holds no key and serves one tenant.
    unsafe { Module::deserialize_open_file(engine, code) }
}

/// Fills memory that a device may be mapped to, and that must not be read, with the bytes of `file` from `offset` on.
///
/// # Errors
/// Where the file cannot be read, or ends before.
pub(crate) fn read_exact_into(file: &File, offset: u64, mut memory: WriteOnly<'_, [u8]>) -> io::Result<()> {
    let mut done = 0;
    while done < memory.len() {
        let at = i64::try_from(offset + done as u64).map_err(io::Error::other)?;
        let mut rest = memory.slice(done..);
        let (pointer, bytes) = (rest.as_raw_element_ptr(), rest.len());
        // SAFETY: the pointer is to `bytes` bytes that may be written, for as long as `rest` is borrowed from; the kernel writes no others, and
        // reads none of them. Every value is a `u8`.
        let read = unsafe { libc::pread(file.as_raw_fd(), pointer.as_ptr().cast(), bytes, at) };
        match usize::try_from(read) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
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

/// Moves this thread, the only one of its process, into a user namespace and a network namespace of its own.
///
/// # Errors
/// Where the system does not permit it.
pub(crate) fn unshare_user_and_network() -> io::Result<()> {
    // SAFETY: only the flag `FILES` could take an open descriptor from another thread, and it is not among these.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }?)
}

/// Moves this thread into a network namespace of its own, which needs the right to administer the system.
///
/// # Errors
/// Where this process has not that right.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: as above.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Processor time that a process and all its threads have taken so far; nothing where it is gone. Needs no right over the process.
pub fn process_time(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: the call writes to `clock` alone, which lives long enough.
    if unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time` alone, which lives long enough.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// Has this process write its errors to another file from now on.
///
/// # Errors
/// Where the system refuses.
pub(crate) fn replace_stderr(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open descriptors. What held the standard error before is closed, and nobody owns that in Rust.
    match unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Puts this thread, and every later one that it starts, into the scheduler's class `SCHED_IDLE`.
///
/// # Errors
/// Where the system does not permit it.
pub(crate) fn schedule_when_idle() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads `parameters` alone, which lives long enough.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The page of a running guest's meter, for whoever looks at it or stops the guest: host functions and the watchdog's thread.
/// There only while its [`MeteredStore`] is.
#[derive(Debug, Default)]
pub(crate) struct MeterPage(Mutex<Option<Words>>);

/// The first word of the page.
#[derive(Debug, Clone, Copy)]
struct Words(NonNull<u8>);

// SAFETY: the pointer is to a guest's memory, which belongs to no thread. What is behind it is read and written by atomic operations
// here and by plain ones of the guest's machine code; each is of one aligned word, which the machine does whole.
unsafe impl Send for Words {}

impl Words {
    fn word(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: `MeteredStore::attach` has checked that the memory holds the words, and its base is aligned to a page. The reference
        // lives no longer than `self`, which is borrowed from a locked `MeterPage`; `MeteredStore` empties it before the memory goes.
        unsafe { self.0.add(offset as usize).cast::<AtomicU64>().as_ref() }
    }

    fn get(&self, offset: u64) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    fn set(&self, offset: u64, value: u64) {
        self.word(offset).store(value, Ordering::Relaxed);
    }
}

impl MeterPage {
    /// Lets the guest run from a count of `counter` up to `limit`, both in units, with at most `pages_max` pages of memory.
    pub(crate) fn start(&self, counter: u64, limit: u64, pages_max: u64) {
        if let Some(page) = &*self.lock() {
            page.set(words::COUNTER, counter);
            page.set(words::PAGES_MAX, pages_max);
            page.set(words::LIMIT, limit);
        }
    }

    /// The depth that the caller noted last.
    pub(crate) fn depth(&self) -> u32 {
        self.lock().as_ref().map_or(0, |page| page.get(words::DEPTH) as u32)
    }

    /// Begins a call from outside at the bottom of the stack.
    pub(crate) fn reset_depth(&self) {
        if let Some(page) = &*self.lock() {
            page.set(words::DEPTH, 0);
        }
    }

    /// Stops the guest at its next check.
    pub(crate) fn stop(&self) {
        if let Some(page) = &*self.lock() {
            page.set(words::LIMIT, 0);
        }
    }

    /// The units counted so far. While the guest runs, short of the truth or ahead of it by what is pending; exact at a call of the host.
    pub(crate) fn counter(&self) -> u64 {
        // What is pending may make the word negative at the start.
        self.lock().as_ref().map_or(0, |page| (page.get(words::COUNTER) as i64).max(0) as u64)
    }

    /// Counts what the host did for the guest, and says whether it may go on. Only for a call of the host: there the guest's code does
    /// not change the counter, and takes over what it finds.
    pub(crate) fn charge(&self, units: u64) -> bool {
        let page = self.lock();
        let Some(page) = &*page else { return false };
        // Never so much that the word, which may be negative at the start, looks like that.
        let counter = page.get(words::COUNTER).saturating_add(units).min(i64::MAX as u64);
        page.set(words::COUNTER, counter);
        counter <= page.get(words::LIMIT)
    }

    /// A page without a guest.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        let words: &mut [u64; words::BYTES_USED / 8] = Box::leak(Box::default());
        Self(Mutex::new(Some(Words(NonNull::from(words).cast()))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Words>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store whose guest's meter others look at. They find the page empty once the store is gone.
#[derive(Debug)]
pub(crate) struct MeteredStore<T: 'static> {
    store: Store<T>,
    page: Arc<MeterPage>,
}

impl<T: 'static> MeteredStore<T> {
    pub(crate) fn new(store: Store<T>, page: Arc<MeterPage>) -> Self {
        Self { store, page }
    }

    /// Shows `memory`, the meter's memory of an instance in this store, on the page.
    ///
    /// # Errors
    /// Where it is too small to be one.
    pub(crate) fn attach(&mut self, memory: Memory) -> wasmtime::Result<()> {
        wasmtime::ensure!(memory.data_size(&self.store) >= words::BYTES_USED, "the meter's memory is too small");
        // The memory cannot grow, so it does not move: its minimum is its maximum, and nothing in the guest names it.
        let base = NonNull::new(memory.data_ptr(&self.store));
        *self.page.lock() = base.map(Words);
        Ok(())
    }
}

impl<T: 'static> std::ops::Deref for MeteredStore<T> {
    type Target = Store<T>;

    fn deref(&self) -> &Store<T> {
        &self.store
    }
}

// Whoever swapped the store for another would leave the page behind; nothing here does.
impl<T: 'static> std::ops::DerefMut for MeteredStore<T> {
    fn deref_mut(&mut self) -> &mut Store<T> {
        &mut self.store
    }
}

impl<T: 'static> Drop for MeteredStore<T> {
    fn drop(&mut self) {
        // Before the store, and so before the memory: a field is dropped after this.
        *self.page.lock() = None;
    }
}
