//! The answers against DuckDB's, over a million rows in two formats, and over files that DuckDB wrote.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;
mod reference;
mod tables;
