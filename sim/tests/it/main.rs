//! What the simulation itself has to keep.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod replay;
mod states;
