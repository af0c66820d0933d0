//! Guests that call the host with whatever they like. `cargo +nightly fuzz run host_calls`
#![no_main]

#[path = "../../runtime/tests/it/oracle/mod.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::host_calls::check(bytes);
});
