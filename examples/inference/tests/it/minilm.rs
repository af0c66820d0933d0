//! all-MiniLM-L6-v2 itself. Its 90 MB are not in this repository: `cargo xtask example inference` fetches them.

use std::fs;
use std::path::{Path, PathBuf};

use adit_example_inference::Embedder;

use crate::reference::Reference;

/// Where the model is, if it is there: `ADIT_MINILM`, or where `cargo xtask example inference` puts it.
fn model() -> Option<PathBuf> {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models/all-minilm-l6-v2");
    let folder = std::env::var_os("ADIT_MINILM").map_or_else(fetched, PathBuf::from);
    folder.join("model.safetensors").is_file().then_some(folder)
}

#[test]
fn embeddings_are_those_of_sentence_transformers() {
    let Some(folder) = model() else {
        eprintln!("left out: all-MiniLM-L6-v2 is not here; `cargo xtask example inference` fetches it");
        return;
    };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let weights = read("model.safetensors");
    let embedder = Embedder::load(&read("config.json"), &read("vocab.txt"), &weights[..]).unwrap();
    Reference::read("minilm.json").compare(&embedder, 1e-9);
}
