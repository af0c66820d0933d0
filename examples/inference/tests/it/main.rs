//! Embeddings beside those that other programs made of the same models.

mod minilm;
mod reference;
mod tiny;
