//! What workers and supervisors say to each other, where one of them was taken over. `cargo +nightly fuzz run ipc`
#![no_main]

#[path = "../../runtime/tests/it/oracle/mod.rs"]
#[allow(dead_code, reason = "each target calls its part of the shared oracles")]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::ipc::check(bytes);
});
