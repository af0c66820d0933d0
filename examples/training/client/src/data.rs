use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use adit_example_training::Digits;
use anyhow::{Context, Result};
use flate2::read::GzDecoder;

/// The pictures of a `digits.csv.gz`.
pub(crate) fn read(path: &Path) -> Result<Digits> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut text = String::new();
    let read = GzDecoder::new(BufReader::new(file)).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Digits::from_csv(&text).with_context(|| format!("the pictures in {}", path.display()))
}
