//! The functions of WASI preview 1 that the SDK calls: <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md>.

use core::fmt;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const CLOCK_REALTIME: u32 = 0;

/// What went wrong with a standard stream: an error number of WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamError(u16);

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WASI error number {}", self.0)
    }
}

#[cfg(feature = "std")]
impl From<StreamError> for std::io::Error {
    fn from(error: StreamError) -> Self {
        Self::from_raw_os_error(error.0.into())
    }
}

/// A range of memory to read into or to write from.
#[repr(C)]
struct Buffer {
    ptr: *mut u8,
    len: usize,
}

// WASI's C library, which holds what its start file calls. With a standard library, that links it.
#[cfg(all(not(feature = "std"), target_os = "wasi"))]
#[link(name = "c")]
unsafe extern "C" {}

mod wasi_snapshot_preview1 {
    use super::Buffer;

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        /// Reads into `count` buffers and stores how many bytes it read.
        pub(super) fn fd_read(fd: u32, buffers: *const Buffer, count: usize, read: *mut usize) -> i32;

        /// Writes from `count` buffers and stores how many bytes it wrote.
        pub(super) fn fd_write(fd: u32, buffers: *const Buffer, count: usize, written: *mut usize) -> i32;

        /// Fills `len` bytes with randomness.
        pub(super) fn random_get(ptr: *mut u8, len: usize) -> i32;

        /// Stores a clock's time in nanoseconds.
        pub(super) fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> i32;
    }
}

/// The next bytes of standard input; none at its end.
pub(crate) fn read(bytes: &mut [u8]) -> Result<usize, StreamError> {
    let buffer = Buffer { ptr: bytes.as_mut_ptr(), len: bytes.len() };
    let mut read = 0;
    // SAFETY: one live buffer that nobody else sees and one live word; the host writes before it returns and keeps no pointer.
    checked(unsafe { wasi_snapshot_preview1::fd_read(STDIN, &raw const buffer, 1, &raw mut read) })?;
    Ok(read)
}

/// Writes the beginning of `bytes` to standard output and returns how many those are.
pub(crate) fn write(bytes: &[u8]) -> Result<usize, StreamError> {
    let buffer = Buffer { ptr: bytes.as_ptr().cast_mut(), len: bytes.len() };
    let mut written = 0;
    // SAFETY: one live buffer, which the host only reads, and one live word; the host keeps no pointer.
    checked(unsafe { wasi_snapshot_preview1::fd_write(STDOUT, &raw const buffer, 1, &raw mut written) })?;
    Ok(written)
}

/// Fills `bytes` with randomness. No host of `adit_1` fails here: what a guest may not have ends it.
pub(crate) fn random(bytes: &mut [u8]) {
    // SAFETY: pointer and length are those of one live slice that nobody else sees; the host writes before it returns and keeps no pointer.
    let errno = unsafe { wasi_snapshot_preview1::random_get(bytes.as_mut_ptr(), bytes.len()) };
    assert!(errno == 0, "the host has no randomness: {}", StreamError(errno as u16));
}

/// Nanoseconds since 1970.
pub(crate) fn wall_clock() -> u64 {
    let mut time = 0;
    // SAFETY: one live word, which the host writes before it returns.
    let errno = unsafe { wasi_snapshot_preview1::clock_time_get(CLOCK_REALTIME, 1, &raw mut time) };
    assert!(errno == 0, "the host has no clock: {}", StreamError(errno as u16));
    time
}

fn checked(errno: i32) -> Result<(), StreamError> {
    if errno == 0 { Ok(()) } else { Err(StreamError(errno as u16)) }
}
