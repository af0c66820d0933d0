//! Modules under each of the engine's compilers. `cargo +nightly fuzz run compilers`
#![no_main]

#[path = "../../runtime/tests/it/oracle/mod.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::compilers::check(bytes);
});
