//! Modules from anybody, and what is none. `cargo +nightly fuzz run admission`
#![no_main]

#[path = "../../runtime/tests/it/oracle/mod.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::admission::check(bytes);
});
