use std::fs::{self, File};
use std::io;
use std::path::Path;

use adit_client::{Job, Source};
use adit_example_inference::{Blob, Embedder};
use anyhow::{Context, Result, ensure};

/// A model on this machine: what jobs are given of it, and the model itself, to check them.
#[derive(Debug)]
pub(crate) struct Model {
    inputs: [(&'static str, Source); 3],
    embedder: Embedder<OnDisk>,
}

impl Model {
    /// Reads the model in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let [config, vocabulary, weights] = ["config.json", "vocab.txt", "model.safetensors"].map(|name| folder.join(name));
        let source = |path: &Path| Source::file(path).with_context(|| format!("cannot read the model's {}", path.display()));
        let inputs = [("config", source(&config)?), ("vocab", source(&vocabulary)?), ("weights", source(&weights)?)];
        let embedder = Embedder::load(&fs::read(&config)?, &fs::read(&vocabulary)?, OnDisk(File::open(&weights)?));
        Ok(Self { inputs, embedder: embedder.with_context(|| format!("the model in {}", folder.display()))? })
    }

    /// How many numbers an embedding has.
    pub(crate) fn width(&self) -> usize {
        self.embedder.width()
    }

    /// Gives a job the model.
    pub(crate) fn add_to(&self, job: &mut Job) {
        for (name, source) in &self.inputs {
            todo_with(job, name, source);
        }
    }

    /// Computes the embeddings of `texts` here: a node must have made the same.
    pub(crate) fn check(&self, texts: &[String], embeddings: &[f32]) -> Result<()> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let own = self.embedder.embed(&texts, |_| ())?;
        let same = |(one, other): (&f32, &f32)| one.to_bits() == other.to_bits();
        ensure!(
            own.len() == embeddings.len() && own.iter().zip(embeddings).all(same),
            "a node's embeddings are not those that the model makes here"
        );
        Ok(())
    }
}

/// Weights that stay in their file.
#[derive(Debug)]
struct OnDisk(File);

impl Blob for OnDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }
}
