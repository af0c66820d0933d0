//! The functions of `adit_1`.

use crate::Level;

mod adit_1 {
    #[link(wasm_import_module = "adit_1")]
    unsafe extern "C" {
        /// Appends the `len` bytes of UTF-8 at `ptr` to the job's log. Traps if they do not lie in the guest's memory.
        pub(super) fn log(level: u32, ptr: *const u8, len: usize);

        /// Reports `done` of `total` steps, or of an unknown number where `total` is 0. Touches no guest memory.
        pub(super) safe fn progress(done: u64, total: u64);

        /// Fuel that is left of the job's limit. Touches no guest memory.
        pub(super) safe fn fuel_left() -> u64;

        /// How many named inputs there are. Touches no guest memory.
        pub(super) safe fn input_count() -> i32;

        /// Writes at most `len` bytes of a name. Traps if they do not lie in the guest's memory.
        pub(super) fn input_name(index: u32, ptr: *mut u8, len: usize) -> i32;

        /// Reads the `len` bytes at `name`. Traps if they do not lie in the guest's memory.
        pub(super) fn input_find(name: *const u8, len: usize) -> i32;

        /// Bytes of an input. Touches no guest memory.
        pub(super) safe fn input_bytes(index: u32) -> i64;

        /// Writes at most `len` bytes of an input. Traps if they do not lie in the guest's memory.
        pub(super) fn input_read(index: u32, offset: u64, ptr: *mut u8, len: usize) -> i32;
    }
}

pub(crate) fn log(level: Level, message: &str) {
    // SAFETY: the pointer and the length are those of one live `str`, which the host reads before it returns and does not keep.
    unsafe { adit_1::log(level as u32, message.as_ptr(), message.len()) }
}

pub(crate) fn progress(done: u64, total: u64) {
    adit_1::progress(done, total);
}

pub(crate) fn fuel_left() -> u64 {
    adit_1::fuel_left()
}

pub(crate) fn input_count() -> u32 {
    adit_1::input_count().unsigned_abs()
}

/// Writes the beginning of the name into `name` and returns how many bytes it has in all; nothing where there is no such input.
pub(crate) fn input_name(index: u32, name: &mut [u8]) -> Option<usize> {
    // SAFETY: pointer and length are those of one live slice that nobody else sees; the host writes before it returns and keeps no pointer.
    usize::try_from(unsafe { adit_1::input_name(index, name.as_mut_ptr(), name.len()) }).ok()
}

pub(crate) fn input_find(name: &str) -> Option<u32> {
    // SAFETY: the pointer and the length are those of one live `str`, which the host reads before it returns and does not keep.
    u32::try_from(unsafe { adit_1::input_find(name.as_ptr(), name.len()) }).ok()
}

pub(crate) fn input_bytes(index: u32) -> Option<u64> {
    u64::try_from(adit_1::input_bytes(index)).ok()
}

/// Reads from `offset` on and returns how many bytes those are: fewer than `bytes` has only at the input's end.
pub(crate) fn input_read(index: u32, offset: u64, bytes: &mut [u8]) -> usize {
    // SAFETY: pointer and length are those of one live slice that nobody else sees; the host writes before it returns and keeps no pointer.
    usize::try_from(unsafe { adit_1::input_read(index, offset, bytes.as_mut_ptr(), bytes.len()) }).unwrap_or(0)
}
