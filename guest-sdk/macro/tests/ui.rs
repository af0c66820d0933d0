//! What an author reads who writes what is no job. `TRYBUILD=overwrite cargo test -p adit-guest-macro` accepts the present words, which are
//! those of the toolchain in `rust-toolchain.toml`.

#[test]
fn what_is_no_job_does_not_compile_and_says_why() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
