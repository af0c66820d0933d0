//! What others make of our formats, and we of theirs.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and the panic says where")]

mod sigsum;
