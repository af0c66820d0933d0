use std::fs::{self, File};
use std::io;
use std::path::Path;

use adit_client::{Job, Source};
use adit_example_inference::{Blob, Embedder};
use adit_protocol::InputName;
use anyhow::{Context, Result, ensure};

/// A model on this machine: what jobs are given of it, and the model itself, to check them.
#[derive(Debug)]
pub(crate) struct Model {
    inputs: [(InputName, Source); 3],
    embedder: Embedder<OnDisk>,
}

impl Model {
    /// Reads the model in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let [config, vocabulary, weights] = ["config.json", "vocab.txt", "model.safetensors"].map(|name| folder.join(name));
        let input = |name: &str, path: &Path| {
            let source = Source::file(path).with_context(|| format!("cannot read the model's {}", path.display()))?;
            anyhow::Ok((name.parse()?, source))
        };
        let inputs = [input("config", &config)?, input("vocab", &vocabulary)?, input("weights", &weights)?];
        let embedder = Embedder::load(&fs::read(&config)?, &fs::read(&vocabulary)?, OnDisk(File::open(&weights)?));
        Ok(Self { inputs, embedder: embedder.with_context(|| format!("the model in {}", folder.display()))? })
    }

    /// How many numbers an embedding has.
    pub(crate) fn width(&self) -> usize {
        self.embedder.width()
    }

    /// The job with the model, which a gateway and its nodes keep, so that it travels once to each.
    pub(crate) fn give_to(&self, job: Job) -> Job {
        self.inputs.iter().fold(job, |job, (name, source)| job.with_named(name.clone(), source.clone()))
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
