//! The runtime with real worker processes: guests written as text, one module per topic.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod admission;
mod cache;
mod compiling;
mod determinism;
mod engine;
mod examples;
mod fuzzing;
mod golden;
mod gpu;
mod gpu_client;
mod gpu_guests;
mod gpu_shader;
mod gpu_worker;
mod heavy;
mod hostile;
mod limits;
mod meter;
mod named;
mod oracle;
mod profile;
mod sdk_guests;
mod share;
mod speed;
mod strange;
mod streams;
mod support;
mod tiers;
mod walls;
mod wasi;
mod workers;
