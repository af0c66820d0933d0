//! What is run: each application on an input of its own, which the application's own programs make.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::native;
use crate::figure::{Goal, Title};

/// Where all-MiniLM-L6-v2 is, if it is here.
const MODEL_VARIABLE: &str = "ADIT_MINILM";
/// Where the applications' data is.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

/// What the guests are compared with. The vectors that a compiler may use decide much; a guest has those of 128 bits.
pub(super) const NATIVE: &str = if cfg!(target_feature = "avx512f") {
    "the same code native, AVX-512"
} else if cfg!(target_feature = "avx2") {
    "the same code native, AVX2"
} else if cfg!(target_feature = "sse2") {
    "the same code native, SSE2"
} else if cfg!(target_feature = "neon") {
    "the same code native, NEON"
} else {
    "the same code native"
};

const INFERENCE: Title = title("apps_inference", Goal::AtMost(2.5));
/// Where the model is not here: matrices so small say little of those of the real one.
const INFERENCE_TINY: Title = title("apps_inference_tiny", Goal::None);
const TRAINING: Title = title("apps_training", Goal::None);
const SIGNATURES: Title = title("apps_signatures", Goal::AtMost(1.3));
const PARQUET: Title = title("apps_parquet", Goal::None);
const CSV: Title = title("apps_csv", Goal::None);
const RENDERING: Title = title("apps_rendering", Goal::None);

const fn title(name: &'static str, goal: Goal) -> Title {
    Title { name, unit: "ms", reference: NATIVE, goal }
}

/// How much each does: about a second natively.
mod size {
    /// How often the model of 54 KB embeds the texts that the other one embeds once.
    pub(super) const TINY_TEXTS: usize = 100;
    /// Pictures, and how often the gradient of each is computed.
    pub(super) const PICTURES: [&str; 2] = ["1797", "30"];
    /// How often the batch of blocks is checked.
    pub(super) const CHECKS: &str = "200";
    /// Rows of the table of readings, and how often it is summed up in either format.
    pub(super) const ROWS: &str = "100000";
    pub(super) const PARQUET_TIMES: &str = "50";
    pub(super) const CSV_TIMES: &str = "40";
}

/// An application on one input.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) title: Title,
    /// Which application it is.
    pub(super) application: &'static str,
    /// The guest's module, among those that `cargo xtask guests` makes.
    pub(super) module: &'static str,
    /// The native program.
    pub(super) program: PathBuf,
    /// Arguments of the guest.
    pub(super) guest_args: Vec<String>,
    /// Arguments of the native program, which has no other way to named inputs.
    pub(super) native_args: Vec<OsString>,
    /// What both read from standard input.
    pub(super) input: PathBuf,
    /// What the guest reads beside that, in the order of the names.
    pub(super) named: Vec<(&'static str, PathBuf)>,
}

/// Makes all inputs, as files in `folder`.
pub(super) fn prepare(folder: &Path) -> Result<Vec<Case>> {
    let [parquet, csv] = tables(folder)?;
    Ok(vec![inference(folder)?, training(folder)?, signatures(folder)?, parquet, csv, rendering(folder)?])
}

/// Texts of many kinds and lengths, of which the model reads 256 pieces at most.
fn inference(folder: &Path) -> Result<Case> {
    let reference = Path::new(EXAMPLES).join("inference/reference");
    let (title, model, times) = match std::env::var_os(MODEL_VARIABLE) {
        Some(model) => (INFERENCE, PathBuf::from(model), 1),
        None => (INFERENCE_TINY, reference.join("tiny"), size::TINY_TEXTS),
    };
    let input = folder.join("texts.txt");
    fs::write(&input, texts(&reference.join("texts.json"))?.repeat(times))?;
    let files = [("config", "config.json"), ("vocab", "vocab.txt"), ("weights", "model.safetensors")];
    Ok(Case {
        title,
        application: "inference",
        module: "inference.wasm",
        program: native::program("examples/embed")?,
        guest_args: Vec::new(),
        named: files.map(|(name, file)| (name, model.join(file))).into(),
        native_args: vec![model.into()],
        input,
    })
}

/// The texts of a list, a line each.
fn texts(list: &Path) -> Result<String> {
    let list = fs::read(list).with_context(|| format!("cannot read {}", list.display()))?;
    let texts: Vec<String> = serde_json::from_slice(&list).context("a list of texts")?;
    Ok(texts.iter().map(|text| text.replace(['\r', '\n'], " ") + "\n").collect())
}

/// The gradient of a job with all pictures, many times over.
fn training(folder: &Path) -> Result<Case> {
    let program = native::program("examples/gradient")?;
    let csv = Path::new(EXAMPLES).join("training/data/digits.csv.gz");
    let digits = made(folder, "digits.bin", &program, &["--digits".into(), csv.into()])?;
    let [pictures, times] = size::PICTURES.map(OsString::from);
    let input = made(folder, "task.bin", &program, &["--task".into(), pictures, times])?;
    Ok(Case {
        title: TRAINING,
        application: "training",
        module: "training.wasm",
        program,
        guest_args: Vec::new(),
        native_args: vec![digits.clone().into()],
        input,
        named: vec![("digits", digits)],
    })
}

/// The ten blocks of Bitcoin's test chain, whose signatures are what checking them takes.
fn signatures(folder: &Path) -> Result<Case> {
    let batches = folder.join("batches");
    made(folder, "batches.out", &native::program("examples/batches")?, &[batches.clone().into()])?;
    Ok(Case {
        title: SIGNATURES,
        application: "blockchain",
        module: "blockchain-bench.wasm",
        program: native::program("blockchain-bench")?,
        guest_args: vec![size::CHECKS.to_owned()],
        native_args: vec![size::CHECKS.into()],
        input: batches.join("006-test.batch"),
        named: Vec::new(),
    })
}

/// One table of readings in two formats.
fn tables(folder: &Path) -> Result<[Case; 2]> {
    let readings = folder.join("readings");
    let args = [readings.clone().into(), "1".into(), size::ROWS.into()];
    made(folder, "readings.out", &native::program("examples/readings")?, &args)?;
    let program = native::program("analytics-bench")?;
    Ok([(PARQUET, "parquet", size::PARQUET_TIMES), (CSV, "csv", size::CSV_TIMES)].map(|(title, format, times)| Case {
        title,
        application: "analytics",
        module: "analytics-bench.wasm",
        program: program.clone(),
        guest_args: vec![format.to_owned(), times.to_owned()],
        native_args: vec![format.into(), times.into()],
        input: readings.join(format!("readings-00.{format}")),
        named: Vec::new(),
    }))
}

/// A tile from the middle of the teapot's picture.
fn rendering(folder: &Path) -> Result<Case> {
    let program = native::program("examples/tile")?;
    Ok(Case {
        title: RENDERING,
        application: "rendering",
        module: "pathtracer.wasm",
        input: made(folder, "tile.bin", &program, &["write".into()])?,
        program,
        guest_args: Vec::new(),
        native_args: vec!["render".into()],
        named: Vec::new(),
    })
}

/// A file with what a program writes to standard output.
fn made(folder: &Path, name: &str, program: &Path, args: &[OsString]) -> Result<PathBuf> {
    let file = folder.join(name);
    let run = native::run(program, args, Path::new("/dev/null"), folder)?;
    fs::write(&file, run.output)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_a_line() {
        let texts = texts(&Path::new(EXAMPLES).join("inference/reference/texts.json")).unwrap();
        assert_eq!(texts.lines().count(), 17);
        assert!(texts.contains("tabs\tand lines  and"), "a line's end within a text would make two of it");
    }
}
