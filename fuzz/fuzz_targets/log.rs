//! What reaches a log's readers, its server and its witness from anywhere. `cargo +nightly fuzz run log`
#![no_main]

#[path = "../../tlog/tests/it/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::path(bytes);
    oracle::bundle(bytes);
    oracle::proof(bytes);
    oracle::policy(bytes);
    oracle::request(bytes);
});
