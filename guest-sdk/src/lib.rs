//! What an Adit guest is written with.
//!
//! A guest is a binary crate for `wasm32-wasip1` with one function that is the job:
//!
//! ```no_run
//! # mod guest {
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Tile { x: u32, y: u32 }
//!
//! #[derive(Serialize)]
//! struct Pixels { rgb: Vec<u8> }
//!
//! #[adit_guest::job]
//! fn render(tile: Tile) -> Result<Pixels, String> {
//!     adit_guest::info!("rendering the tile at {}, {}", tile.x, tile.y);
//!     adit_guest::progress(0, 64);
//!     Ok(Pixels { rgb: vec![0; 64 * 64 * 3] })
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! The input comes from standard input and the output goes to standard output, so a job also runs wherever a WASI command does,
//! if it neither logs nor reports progress; those two go through the host interface that `abi.md` describes. Built for another
//! target the same source logs to standard error and reports nothing, so a unit test calls the function like any other.
//!
//! With the feature `gpu` a job that was given a GPU computes on it, by the module `gpu`.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(not(any(feature = "std", target_arch = "wasm32")))]
extern crate std;

#[allow(unsafe_code, reason = "a host function is foreign; this module is where all of them are called")]
mod abi;
#[cfg(feature = "std")]
mod args;
mod budget;
mod codec;
#[cfg(feature = "gpu")]
pub mod gpu;
mod log;
mod named;
mod progress;
mod random;
mod raw;
#[cfg(feature = "std")]
pub mod records;
mod run;
#[cfg(feature = "std")]
mod stream;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

/// Makes a function a job: writes the `main` that reads the input, calls the function and writes what it returns.
///
/// The function stays as it is. It stands at the root of a binary crate (in `main.rs`, not in a module, for `main` must be there), takes
/// its arguments by value, and has one of these forms:
///
/// | form | input | output |
/// |---|---|---|
/// | `fn() -> R` | is not read | the value |
/// | `fn(T) -> R` | a value | the value |
/// | `fn(Input) -> R` | as it comes | the value |
/// | `fn(T, Output) -> R` | a value | as it is made; `R` holds nothing |
/// | `fn(Input, Output) -> R` | as it comes | as it is made; `R` holds nothing |
///
/// - `T` implements [`Decode`]: any [`serde::Deserialize`] type that owns what it holds, sent as postcard, or [`Raw`] for the bytes as
///   they are. `()` is an empty input.
/// - `R` is a value that implements [`Encode`] likewise, or a `Result` of one whose error is [`Display`](std::fmt::Display), or nothing.
/// - [`Input`] and [`Output`] are streams, for what is larger than memory.
///
/// | exit code | meaning |
/// |---|---|
/// | 0 | the job returned a value, and its bytes are the output |
/// | 1 | the job returned an error, which is logged |
/// | 2 | the input is not what the job reads; the log says why |
/// | 3 | the output could not be encoded or written; the log says why |
///
/// # What is no job
/// Methods, `async` and generic functions, and functions of two inputs do not compile:
///
/// ```compile_fail
/// #[adit_guest::job]
/// async fn render(tile: u64) -> u64 { tile }
/// ```
/// ```compile_fail
/// #[adit_guest::job]
/// fn render(x: u64, y: u64) -> u64 { x + y }
/// ```
/// Nor does a type that cannot be decoded:
///
/// ```compile_fail
/// struct Tile(u64);
///
/// #[adit_guest::job]
/// fn render(tile: Tile) -> u64 { tile.0 }
/// ```
pub use adit_guest_macro::job;
#[cfg(feature = "std")]
pub use args::args;
pub use budget::budget;
pub use codec::{Decode, DecodeError, Encode, EncodeError};
pub use log::{Level, log};
pub use named::{MissingInput, NamedInput, inputs, named};
pub use progress::progress;
pub use random::{Random, random};
pub use raw::Raw;
#[cfg(feature = "std")]
pub use stream::{Input, Output};
pub use time::now;

/// What `#[job]` writes calls to. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::run::{Argument, Failure, Infallible, Returned, encoded, run, run_without_input};
    #[cfg(feature = "std")]
    pub use crate::run::{Nothing, Stream, ended, run_streaming};
}

/// The `main` of a job. `#[job]` writes a call to it: the macro cannot see whether this crate has a standard library.
#[doc(hidden)]
#[macro_export]
#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
macro_rules! __main {
    ($code:expr) => {
        fn main() -> ::std::process::ExitCode {
            ::std::process::ExitCode::from($code)
        }
    };
}
