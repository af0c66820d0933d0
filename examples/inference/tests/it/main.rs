//! Embeddings beside those that other programs made of the same models.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod minilm;
mod reference;
mod tiny;
