//! What an Adit guest is written with.
//!
//! A guest is a binary crate for `wasm32-wasip1` with one function that is the job:
//!
//! ```
//! # mod guest {
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
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
//!
//! # pub fn check() {
//! // In `cargo test`, by the way of a node and without wasm:
//! let told = adit_guest::testing::Harness::new().value(Tile { x: 1, y: 2 }).run(main);
//! assert_eq!(told.log_text(), "[info] rendering the tile at 1, 2\n");
//! # }
//! # }
//! # fn main() { guest::check() }
//! ```
//!
//! | what a job needs | by | |
//! |---|---|---|
//! | a value in, a value out | [`#[job]`](job) with any serde type | `fn render(tile: Tile) -> Pixels` |
//! | bytes as they are | [`Raw`] | `fn shout(text: Raw) -> Raw` |
//! | more than memory holds | [`Input`], [`Output`] | `fn number(input: Input, mut output: Output) -> io::Result<()>` |
//! | more values than memory holds | [`records`] | `for reading in input.records::<Reading>() {}` |
//! | several inputs, such as weights | [`named`], [`inputs`] | `named("weights")?.read_at(0, &mut header)` |
//! | arguments | [`args`] | `args().first()` |
//! | to tell what it does | [`info!`] and its kind, [`progress`] | `info!("{n} rows"); progress(n, 640)` |
//! | to stop before its fuel is used up | [`budget`] | `while budget() > 1_000_000 {}` |
//! | chance, the same on every node | [`random`] | `random().below(6)` |
//! | time, the same on every node | [`now`] | `now().as_secs()` |
//! | a GPU | the module `gpu`, with the feature `gpu` | |
//! | tests | [`testing::Harness`] | `Harness::new().value(tile).run(main)` |
//!
//! # How it runs elsewhere
//! The input comes from standard input and the output goes to standard output, so a job also runs wherever a WASI command does,
//! if it asks nothing of the rest; that goes through the host interface that `abi.md` describes. Built for another target the same
//! source is a program of its own, which logs to standard error, reports no progress and has no named inputs; in a
//! [`Harness`](testing::Harness) it has all of them.
//!
//! # What is the same everywhere
//! A deterministic job, which is what a job is unless it is submitted as open, sees nothing that differs between nodes or attempts: not
//! in [`random`], [`now`] and [`budget`], nor in `std::time`, `HashMap`'s hasher or the crates that ask WASI for randomness. The same
//! module, input, named inputs, arguments, limits, seed and time give the same output, log and bill to the bit. What a job computes with
//! floats is part of that; what it computes on a GPU with floats is not.
//!
//! # Features
//! - `std` (default): [`Input`], [`Output`], [`records`], [`args`], and `Read` and `Seek` of a [`NamedInput`].
//! - `log`: the macros of the crate `log`, which libraries use, write to the job's log, from the job's start on and up to the level info.
//! - `rand`: [`Random`] is a generator for the crate `rand` (0.10).
//! - `gpu`: compute shaders.
//!
//! # Without a standard library
//! With `default-features = false` the crate needs `alloc` alone. [`#[job]`](job) with values and [`Raw`], the log, [`progress`],
//! [`budget`], [`random`], [`now`] and named inputs are as ever; streams, records, arguments and `gpu` are not there. The guest is
//! `#![no_std]` and `#![no_main]`, brings an allocator and a panic handler, and is built for `wasm32-wasip1`, whose C library has the start file;
//! `examples/tiny` is one.
#![cfg_attr(all(not(feature = "std"), target_arch = "wasm32"), no_std)]
#![deny(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

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
/// What the job makes of errors of its [`Input`], its [`Output`] and its named inputs is its own to say: returned, they are code 1. An
/// [`Output`] whose last bytes cannot be written when it is dropped is code 3.
///
/// # What is no job
/// Methods, `async`, `unsafe` and generic functions, functions of two inputs or of borrowed ones, and types that cannot be read or written do
/// not compile, and the compiler says why and what to do.
///
/// In a library the `main` would be a function that nobody calls, as the compiler warns, and there would be no module: a library has the
/// work, as a plain function, and a binary's `main.rs` has the job that calls it.
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

/// The same without a standard library: what the start file of WASI's C library calls.
#[doc(hidden)]
#[macro_export]
#[cfg(not(any(feature = "std", not(target_arch = "wasm32"))))]
macro_rules! __main {
    ($code:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn __main_void() -> i32 {
            i32::from($code)
        }
    };
}
