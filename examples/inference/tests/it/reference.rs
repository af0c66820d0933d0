//! What another program made of texts, and how near ours is.

use std::path::PathBuf;

use adit_example_inference::{Blob, Embedder};
use serde::Deserialize;

/// A file of `reference/`.
#[derive(Deserialize)]
pub(crate) struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    vector: Vec<f32>,
}

/// The path of a file of `reference/`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("reference").join(name)
}

impl Reference {
    pub(crate) fn read(name: &str) -> Self {
        serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.cases.iter().map(|case| case.text.as_str()).collect()
    }

    /// Every text has the same pieces, and an embedding that points the same way: the cosine is at most `tolerance` under 1, and no
    /// number differs by more than its root.
    pub(crate) fn compare<B: Blob>(&self, embedder: &Embedder<B>, tolerance: f64) {
        let texts = self.texts();
        let embeddings = embedder.embed(&texts, |_| ()).unwrap();
        assert_eq!(embeddings.len(), texts.len() * embedder.width());
        for (case, embedding) in self.cases.iter().zip(embeddings.chunks_exact(embedder.width())) {
            assert_eq!(embedder.pieces(&case.text), case.ids, "{:?}", case.text);
            let angle = 1.0 - cosine(embedding, &case.vector);
            println!("{angle:.1e} {:?}", case.text.chars().take(40).collect::<String>());
            assert!(angle.abs() <= tolerance, "{:?}: the cosine is {angle:e} under 1", case.text);
            for (ours, theirs) in embedding.iter().zip(&case.vector) {
                assert!(f64::from(ours - theirs).abs() <= tolerance.sqrt(), "{:?}: {ours} for {theirs}", case.text);
            }
        }
    }
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}
