//! Leaves of a log from anywhere, and what they move. `cargo +nightly fuzz run leaf`
#![no_main]

#[path = "../../ledger/tests/it/oracle.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::leaf(bytes);
});
