//! What `adit-protocol` puts on the wire and on disk, and what it makes of bytes that are neither.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod batches;
mod document;
mod dump;
mod hostile_bytes;
mod leaf;
mod oracle;
mod wire;
