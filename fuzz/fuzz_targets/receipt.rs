//! Receipt files from anywhere. `cargo +nightly fuzz run receipt`
#![no_main]

#[path = "../../protocol/tests/it/oracle.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::receipt(bytes);
});
