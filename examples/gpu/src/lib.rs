//! Four computations for the GPU of a node: what the jobs in `src/bin` call, and what their tests call natively.
//!
//! ```
//! use adit_example_gpu::scan;
//! use adit_guest::gpu::{Error, Gpu};
//!
//! match Gpu::open() {
//!     Ok(gpu) => assert_eq!(scan::prefix_sums(&gpu, &[3, 1, 4, 1, 5])?, [3, 4, 8, 9, 14]),
//!     Err(Error::Unavailable(why)) => eprintln!("no GPU here: {why}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod histogram;
pub mod scan;

pub mod matmul;

pub mod attention;

pub mod rules;

mod error;
mod grid;

pub use error::Error;
pub use grid::little_endian;
