//! Scripts of operations on a disk that fails. `cargo +nightly fuzz run ledger`
#![no_main]
#![allow(clippy::unwrap_used, reason = "an oracle fails by panicking")]

#[path = "../../ledger/tests/it/answers.rs"]
#[allow(dead_code, reason = "the tests call more of it")]
mod answers;
#[path = "../../ledger/tests/it/disk.rs"]
#[allow(dead_code, reason = "the tests call more of it")]
mod disk;
#[path = "../../ledger/tests/it/fixture.rs"]
#[allow(dead_code, reason = "the tests call more of it")]
mod fixture;
#[path = "../../ledger/tests/it/script.rs"]
#[allow(dead_code, reason = "the tests call more of it")]
mod script;
#[path = "../../ledger/tests/it/steps.rs"]
#[allow(dead_code, reason = "the tests call more of it")]
mod steps;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    script::any(bytes);
});
