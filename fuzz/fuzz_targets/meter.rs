//! Modules with and without their meter. `cargo +nightly fuzz run meter`
#![no_main]

#[path = "../../runtime/tests/it/oracle/mod.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::meter::check(bytes);
});
