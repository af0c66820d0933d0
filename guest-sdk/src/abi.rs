//! The host interface: every function that the host gives a guest beside WASI. `abi.md` says the same in prose, for authors of other
//! languages and of hosts; the two change together.
//!
//! The module name carries the version. A function is never changed once it is released: what must differ gets a new name, or the
//! interface a new number.

#[cfg(target_arch = "wasm32")]
pub(crate) use host::{log, progress};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{log, progress};

/// The GPU's calls. Each returns what `abi.md` says: 0 or more, or the code of an error. A native build has no host to call: there
/// `gpu::native` answers.
#[cfg(all(target_arch = "wasm32", feature = "gpu"))]
pub(crate) mod gpu;

#[cfg(target_arch = "wasm32")]
mod host {
    use crate::Level;

    mod adit_1 {
        #[link(wasm_import_module = "adit_1")]
        unsafe extern "C" {
            /// Appends the `len` bytes of UTF-8 at `ptr` to the job's log. Traps if they do not lie in the guest's memory.
            pub(super) fn log(level: u32, ptr: *const u8, len: usize);

            /// Reports `done` of `total` steps, or of an unknown number where `total` is 0. Touches no guest memory.
            pub(super) safe fn progress(done: u64, total: u64);
        }
    }

    pub(crate) fn log(level: Level, message: &str) {
        // SAFETY: the pointer and the length are those of one live `str`, which the host reads before it returns and does not keep.
        unsafe { adit_1::log(level as u32, message.as_ptr(), message.len()) }
    }

    pub(crate) fn progress(done: u64, total: u64) {
        adit_1::progress(done, total);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use crate::Level;

    pub(crate) fn log(level: Level, message: &str) {
        eprintln!("[{level}] {message}");
    }

    pub(crate) fn progress(_done: u64, _total: u64) {}
}
