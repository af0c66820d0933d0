//! Other people's tests, run against what Adit runs guests with.
//!
//! - The WebAssembly specification's own test suite ([`suite`]), for every proposal that guests may use, through our validation, our
//!   changes to a module ([`prepare`]) and our engine configuration.
//! - The preview 1 part of [wasi-testsuite](https://github.com/WebAssembly/wasi-testsuite) ([`wasi`]), through the whole runtime with
//!   its worker processes. No registry carries that suite, so it is run from a checkout; tests of ours in the same layout lie in
//!   `wasi/`.
//!
//! What is not expected to pass stands with its reason in `skips.toml` ([`skips`]); everything else must pass.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod prepare;
pub mod script;
mod spectest;
pub mod suite;
mod value;

pub mod wasi;

pub mod report;
pub mod skips;
