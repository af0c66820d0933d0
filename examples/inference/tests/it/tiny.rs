//! A model of 54 KB with random weights, which `reference/tiny.py` made and computed on its own.

use std::fs;

use adit_example_inference::{EmbedError, Embedder};

use crate::reference::{Reference, path};

/// BLAKE3 of the embeddings of the reference's texts, as little-endian bytes. What is meant to change the arithmetic changes this;
/// nothing else may, on no machine.
const DIGEST: &str = "c7bd641da8c6c019a1ee063f0f9ae61e1d7fcf838dc82d9cd1c91e2a8a7a90eb";

fn read(name: &str) -> Vec<u8> {
    fs::read(path("tiny").join(name)).unwrap()
}

fn load<'a>(config: &str, vocabulary: &str, weights: &'a [u8]) -> Result<Embedder<&'a [u8]>, EmbedError> {
    Embedder::load(config.as_bytes(), vocabulary.as_bytes(), weights)
}

/// The model's three files.
fn files() -> (String, String, Vec<u8>) {
    let text = |name| String::from_utf8(read(name)).unwrap();
    (text("config.json"), text("vocab.txt"), read("model.safetensors"))
}

#[test]
fn embeddings_are_those_of_another_implementation() {
    let (config, vocabulary, weights) = files();
    Reference::read("tiny/reference.json").compare(&load(&config, &vocabulary, &weights).unwrap(), 1e-10);
}

#[test]
fn embeddings_have_the_same_bytes_everywhere() {
    let (config, vocabulary, weights) = files();
    let embedder = load(&config, &vocabulary, &weights).unwrap();
    let texts = Reference::read("tiny/reference.json");
    let embeddings = embedder.embed(&texts.texts(), |_| ()).unwrap();
    assert_eq!(blake3::hash(bytemuck::cast_slice(&embeddings)).to_hex().as_str(), DIGEST);
}

#[test]
fn embeddings_do_not_depend_on_the_texts_beside_them() {
    let (config, vocabulary, weights) = files();
    let embedder = load(&config, &vocabulary, &weights).unwrap();
    // Over the limit of a batch, so that there are several.
    let texts: Vec<String> = (0..60).map(|n| "the node counts ".repeat(n % 13)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut heard = Vec::new();
    let together = embedder.embed(&texts, |done| heard.push(done)).unwrap();
    assert!(heard.len() > 1 && heard.is_sorted() && heard.last() == Some(&60), "{heard:?}");
    for (text, embedding) in texts.iter().zip(together.chunks_exact(embedder.width())) {
        assert_eq!(embedder.embed(&[text], |_| ()).unwrap(), embedding, "{text}");
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let (config, vocabulary, weights) = files();
    let error = |config: &str, vocabulary: &str| load(config, vocabulary, &weights).unwrap_err().to_string();
    let wider = config.replace(r#""hidden_size": 24"#, r#""hidden_size": 27"#);
    assert_eq!(error(&wider, &vocabulary), "the tensor embeddings.position_embeddings.weight is F32 [32, 24], not F32 [32, 27]");
    let longer = format!("{vocabulary}one\nmore\n");
    assert_eq!(error(&config, &longer), "the vocabulary has 111 pieces and the model 109; they do not belong together");
    // A line that stands there twice is one piece, and two ids, of which the last is beyond the model's.
    let piece = vocabulary.lines().last().unwrap();
    let twice = format!("{vocabulary}{piece}\n");
    assert_eq!(error(&config, &twice), "the vocabulary has 110 pieces and the model 109; they do not belong together");
    let deeper = config.replace(r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 3"#);
    assert_eq!(error(&deeper, &vocabulary), "the weights have no tensor encoder.layer.2.attention.self.query.weight");
    assert!(load(&config, &vocabulary, &weights[..weights.len() - 1]).is_err());
}
