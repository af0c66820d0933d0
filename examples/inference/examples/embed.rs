//! The job's work on this machine, without wasm: `embed MODEL < texts > embeddings`. MODEL is a folder with `config.json`, `vocab.txt` and
//! `model.safetensors`; texts are a line each, embeddings little-endian `f32`. Says on standard error how long it took.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use adit_example_inference::{Blob, Embedder, to_bytes};

struct OnDisk(File);

impl Blob for OnDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: embed MODEL < texts > embeddings")?;
    let folder = Path::new(&folder);
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let texts: Vec<&str> = text.lines().collect();
    let start = Instant::now();
    let weights = OnDisk(File::open(folder.join("model.safetensors"))?);
    let embedder = Embedder::load(&fs::read(folder.join("config.json"))?, &fs::read(folder.join("vocab.txt"))?, weights)?;
    let loaded = start.elapsed();
    let embeddings = embedder.embed(&texts, |_| ())?;
    let pieces: usize = texts.iter().map(|text| embedder.pieces(text).len()).sum();
    let all = start.elapsed();
    eprintln!("{} texts of {pieces} pieces in {all:.3?}, of which {loaded:.3?} to read the model", texts.len());
    Ok(io::stdout().write_all(&to_bytes(&embeddings))?)
}
