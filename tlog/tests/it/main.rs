//! Logs that are sound, logs that are not in each way that there is, and gateways that show two.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod fsck;
mod source;
mod watch;
