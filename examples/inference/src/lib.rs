//! Embeddings of texts by a small language model, computed in a guest.
//!
//! An embedding is a few hundred numbers that say what a text is about: those of two texts that mean the same point the same way,
//! whatever their words. [`Embedder`] runs the models of sentence-transformers that are a BERT encoder in lower case with the mean of
//! its outputs, such as all-MiniLM-L6-v2:
//!
//! ```no_run
//! use adit_example_inference::Embedder;
//!
//! let (config, vocabulary, weights) = (std::fs::read("config.json")?, std::fs::read("vocab.txt")?, std::fs::read("model.safetensors")?);
//! let embedder = Embedder::load(&config, &vocabulary, &weights[..])?;
//! let embeddings = embedder.embed(&["a cat on a mat", "a kitten lies on the rug"], |_| ())?;
//! let (cat, kitten) = embeddings.split_at(embedder.width());
//! println!("{}", cat.iter().zip(kitten).map(|(a, b)| a * b).sum::<f32>());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All arithmetic is `f32` by operations that IEEE 754 defines to the last bit, in the order in which they are written. So wasm and
//! native code give the same bytes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod embedder;
mod model;
mod tokenizer;
mod weights;

mod functions;
mod matrix;

mod blob;

pub use blob::{Blob, from_bytes, to_bytes};
pub use embedder::{EmbedError, Embedder};
pub use model::{Config, ConfigError};
pub use tokenizer::{Tokenizer, VocabularyError};
pub use weights::WeightsError;
