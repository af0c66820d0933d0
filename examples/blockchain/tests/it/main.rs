//! The checks against what the network itself says: its own blocks, and the test vectors of the program that it runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod assembly;
mod blocks;
mod guest;
mod spoiled;
mod vectors;
