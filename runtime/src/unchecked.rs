//! What no compiler can check: the only unsafe code of the crate, behind safe functions.

#![allow(
    unsafe_code,
    reason = "machine code, inherited descriptors, namespaces, processes and a guest's memory come from outside of what Rust knows"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use wasmtime::{Config, Engine, Global, Memory, Module, Store, Val};
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

/// Has compiled functions begin at multiples of 64 bytes, a line of the caches of most processors, and not of 32 or less: what a function
/// costs does not depend then on how long those before it are.
pub(crate) fn align_functions(config: &mut Config) {
    // SAFETY: this setting of Cranelift's moves functions apart and changes nothing else. Wasmtime knows it: code may be loaded whatever its
    // alignment.
    unsafe { config.cranelift_flag_set("log2_min_function_alignment", "6") };
}

/// Bytes of a file in memory that another process writes, mapped to be read here.
#[derive(Debug)]
pub(crate) struct SharedView {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to no thread, and nothing in it is a reference: all that is ever done with it is to copy bytes.
unsafe impl Send for SharedView {}

impl SharedView {
    /// Maps so many bytes of `file` from `offset` on, a multiple of a page. The mapping is private, as a sandbox may have no other, and never
    /// written to: so its pages are the file's own, and show what is written to that.
    ///
    /// # Errors
    /// Where the file is not so long, or the system has no room.
    pub(crate) fn map(file: &File, offset: u64, bytes: usize) -> io::Result<Self> {
        Self::of(file, offset, bytes, ProtFlags::READ, MapFlags::PRIVATE)
    }

    fn of(file: &File, offset: u64, bytes: usize, access: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        // The seal on its size keeps it so; who made a file without one would have this process end by a signal.
        if file.metadata()?.len() < offset.saturating_add(bytes as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the system chooses where, so nothing that is there already is replaced.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, flags, file, offset) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// Copies the bytes from `at` on, which somebody may write at the same time: what is copied then is any of both.
    ///
    /// # Panics
    /// Where it has not so many.
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) {
        let from = self.part(at, into.len());
        // SAFETY: `part` has checked that so many bytes are mapped; `into` is this process's own, and so lies elsewhere. The other process is
        // no thread of this program, no reference to its bytes exists here, and any value is a `u8`.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) }
    }

    /// The same, to memory that a device may be mapped to, and that must not be read.
    ///
    /// # Panics
    /// As above.
    pub(crate) fn read_to_device(&self, at: usize, mut into: WriteOnly<'_, [u8]>) {
        let from = self.part(at, into.len());
        // SAFETY: as above; the memory may be written to for as long as `into` is borrowed from.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into.as_raw_element_ptr().as_ptr(), into.len()) }
    }

    /// Where `bytes` bytes from `at` on are.
    fn part(&self, at: usize, bytes: usize) -> NonNull<u8> {
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.bytes), "{bytes} bytes at {at} of {}", self.bytes);
        // SAFETY: the sum is within the mapping, as was just checked.
        unsafe { self.start.add(at) }
    }
}

impl Drop for SharedView {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and whatever `part` gave is used up where it was asked for. One that stays mapped for an
        // error is no harm.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Bytes of a file in memory that another process reads and writes, mapped to be read and written here.
#[derive(Debug)]
pub(crate) struct SharedMemory(SharedView);

impl SharedMemory {
    /// Maps so many bytes of `file` from its begin on.
    ///
    /// # Errors
    /// As for [`SharedView::map`].
    pub(crate) fn map(file: &File, bytes: usize) -> io::Result<Self> {
        SharedView::of(file, 0, bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED).map(Self)
    }

    /// Copies `bytes` to where `at` says.
    ///
    /// # Panics
    /// Where it has no room for them.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.0.part(at, bytes.len());
        // SAFETY: as for `SharedView::read`, the other way round; `SharedMemory::map` has made all of it writable.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) }
    }
}

impl std::ops::Deref for SharedMemory {
    type Target = SharedView;

    fn deref(&self) -> &SharedView {
        &self.0
    }
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

/// Processor time that a process and all its threads have taken so far; nothing where it is gone. One that has ended still tells until it
/// is waited for. Needs no right over the process.
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
struct Words {
    at: NonNull<u8>,
    /// What the host has charged, where the guest's code does not take over what it finds: that is off the limit then.
    charged: Option<u64>,
}

// SAFETY: the pointer is to a guest's memory, which belongs to no thread. What is behind it is read and written by atomic operations
// here and by plain ones of the guest's machine code; each is of one aligned word, which the machine does whole.
unsafe impl Send for Words {}

impl Words {
    fn word(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: `MeteredStore::attach` has checked that the memory holds the words, and its base is aligned to a page. The reference
        // lives no longer than `self`, which is borrowed from a locked `MeterPage`; `MeteredStore` empties it before the memory goes.
        unsafe { self.at.add(offset as usize).cast::<AtomicU64>().as_ref() }
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
        if let Some(page) = &mut *self.lock() {
            page.charged = page.charged.map(|_| 0);
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
        self.counted(0)
    }

    /// The units counted where the word lacks so many. The word may be below zero there, the sum may not.
    pub(crate) fn counted(&self, lacking: i64) -> u64 {
        let counted = self.lock().as_ref().map(|page| (page.get(words::COUNTER).cast_signed(), page.charged.unwrap_or(0)));
        let (word, charged) = counted.unwrap_or((0, 0));
        u64::try_from(word.saturating_add(lacking)).unwrap_or(0).saturating_add(charged).min(i64::MAX as u64)
    }

    /// Counts what the host did for the guest, and says whether it may go on. Only for a call of the host: there the guest's code does
    /// not change the counter. It takes over what it finds, but baseline code, whose limit becomes less instead.
    pub(crate) fn charge(&self, units: u64) -> bool {
        let mut page = self.lock();
        let Some(page) = &mut *page else { return false };
        if let Some(charged) = &mut page.charged {
            *charged = charged.saturating_add(units);
            // Who runs has used something, so a limit of nothing stops it.
            let limit = page.get(words::LIMIT).saturating_sub(units);
            page.set(words::LIMIT, limit);
            return page.get(words::COUNTER) <= limit;
        }
        // At a call of the host nothing is lacking, so that the word is no less than zero; and never so much that it looks like less.
        let counter = page.get(words::COUNTER).saturating_add(units).min(i64::MAX as u64);
        page.set(words::COUNTER, counter);
        counter <= page.get(words::LIMIT)
    }

    /// A page without a guest.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        let words: &mut [u64; words::BYTES_USED / 8] = Box::leak(Box::default());
        Self(Mutex::new(Some(Words { at: NonNull::from(words).cast(), charged: None })))
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
    globals: Option<MeterGlobals>,
}

/// The globals in which baseline code has the counter and the depth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeterGlobals {
    pub(crate) counter: Global,
    pub(crate) depth: Global,
}

impl<T: 'static> MeteredStore<T> {
    pub(crate) fn new(store: Store<T>, page: Arc<MeterPage>) -> Self {
        Self { store, page, globals: None }
    }

    /// Lets the guest run as [`MeterPage::start`] says.
    ///
    /// # Errors
    /// Where its globals are not the meter's.
    pub(crate) fn start(&mut self, counter: u64, limit: u64, pages_max: u64) -> wasmtime::Result<()> {
        if let Some(MeterGlobals { counter: global, .. }) = self.globals {
            global.set(&mut self.store, Val::I64(counter.cast_signed()))?;
        }
        self.page.start(counter, limit, pages_max);
        Ok(())
    }

    /// Begins a call from outside at the bottom of the stack.
    ///
    /// # Errors
    /// Where the guest's globals are not the meter's.
    pub(crate) fn begin_call(&mut self) -> wasmtime::Result<()> {
        self.settle();
        if let Some(MeterGlobals { depth, .. }) = self.globals {
            depth.set(&mut self.store, Val::I32(0))?;
        }
        self.page.reset_depth();
        Ok(())
    }

    /// Shows on the page what the globals hold of a guest that does not run.
    pub(crate) fn settle(&mut self) {
        let Some(MeterGlobals { counter, depth }) = self.globals else { return };
        let (counter, depth) = (counter.get(&mut self.store), depth.get(&mut self.store));
        if let (Some(page), Val::I64(counter), Val::I32(depth)) = (&*self.page.lock(), counter, depth) {
            page.set(words::COUNTER, counter.cast_unsigned());
            page.set(words::DEPTH, depth.cast_unsigned().into());
        }
    }

    /// Shows `memory`, the meter's memory of an instance in this store, on the page. In baseline code there are `globals`, too.
    ///
    /// # Errors
    /// Where it is too small to be one.
    pub(crate) fn attach(&mut self, memory: Memory, globals: Option<MeterGlobals>) -> wasmtime::Result<()> {
        wasmtime::ensure!(memory.data_size(&self.store) >= words::BYTES_USED, "the meter's memory is too small");
        // The memory cannot grow, so it does not move: its minimum is its maximum, and nothing in the guest names it.
        let base = NonNull::new(memory.data_ptr(&self.store));
        *self.page.lock() = base.map(|at| Words { at, charged: globals.map(|_| 0) });
        self.globals = globals;
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

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    const BYTES: usize = 1 << 18;

    fn file() -> File {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, BYTES as u64).unwrap();
        File::from(file)
    }

    /// A private mapping shows what others write to the file, as long as nobody writes to the mapping; POSIX leaves that open.
    #[test]
    fn view_shows_what_others_write_after_it_was_mapped() {
        use std::os::unix::fs::FileExt;

        let file = file();
        let (view, memory) =
            (SharedView::map(&file, BYTES as u64 / 2, BYTES / 2).unwrap(), SharedMemory::map(&file, BYTES).unwrap());
        let mut seen = vec![0; BYTES / 2];
        for round in 1..=4_u8 {
            memory.write(BYTES / 2, &vec![round; BYTES / 2]);
            view.read(0, &mut seen);
            assert!(seen.iter().all(|byte| *byte == round), "{round} by the mapping");
            file.write_all_at(&[!round; 3], BYTES as u64 - 3).unwrap();
            view.read(BYTES / 2 - 4, &mut seen[..4]);
            assert_eq!(seen[..4], [round, !round, !round, !round], "by a call");
        }
    }

    #[test]
    fn word_below_zero_is_no_count_before_what_it_lacks_is_added() {
        let page = MeterPage::alone();
        page.start((-5_i64).cast_unsigned(), 100, 0);
        assert_eq!((page.counter(), page.counted(7), page.counted(3)), (0, 2, 0));
    }

    #[test]
    fn file_that_is_too_short_is_not_mapped() {
        assert!(SharedView::map(&file(), BYTES as u64 / 2, BYTES / 2 + 1).is_err());
        assert!(SharedMemory::map(&file(), BYTES + 1).is_err());
    }

    #[test]
    #[should_panic(expected = "9 bytes at 262136 of 262144")]
    fn nothing_is_read_from_behind_a_view() {
        SharedView::map(&file(), 0, BYTES).unwrap().read(BYTES - 8, &mut [0; 9]);
    }
}
