//! Logs that are sound, logs that are not in each way that there is, gateways that show two, and what others make of our formats.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod document;
mod fixture;
mod fsck;
mod fuzzing;
mod limits;
mod mirror;
mod oracle;
mod serving;
mod sigsum;
mod source;
mod vectors;
mod watch;
