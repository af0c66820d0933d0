//! The suites as `cargo xtask test` runs them.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod spec;
mod wasi;
