//! The host interface: every function of the host's that the SDK calls. `abi.md` says what each does; the crate `adit-abi` has their
//! types as a table, with which a test compares this.
//!
//! The module name carries the version. A function is never changed once it is released: what must differ gets a new name, or the
//! interface a new number. A native build has no host to call: there [`crate::testing`] answers.

#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasi;

#[cfg(target_arch = "wasm32")]
pub(crate) use host::{fuel_left, input_bytes, input_count, input_find, input_name, input_read, log, progress};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{
    StreamError, fuel_left, input_bytes, input_count, input_find, input_name, input_read, log, progress, random, read,
    wall_clock, write,
};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasi::{StreamError, random, read, wall_clock, write};

/// The GPU's calls. Each returns what `abi.md` says: 0 or more, or the code of an error. A native build has no host to call: there
/// `gpu::native` answers.
#[cfg(all(target_arch = "wasm32", feature = "gpu"))]
pub(crate) mod gpu;
