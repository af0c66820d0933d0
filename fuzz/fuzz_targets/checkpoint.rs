//! Checkpoints from anywhere, texts that the gateway signs, and any part of the tree. `cargo +nightly fuzz run checkpoint`
#![no_main]

#[path = "../../ledger/tests/it/oracle.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::checkpoint(bytes);
    oracle::tiles(bytes);
});
