//! The job: a text a line in, and an embedding each out, as little-endian `f32`. The model is three named inputs.
#![forbid(unsafe_code)]

use std::str::Utf8Error;

use adit_example_inference::{EmbedError, Embedder, to_bytes};
use adit_guest::{MissingInput, Raw, named};

#[adit_guest::job]
fn embed(texts: Raw) -> Result<Raw, Error> {
    let texts: Vec<&str> = texts.as_str()?.lines().collect();
    let embedder = Embedder::load(&named("config")?.to_vec(), &named("vocab")?.to_vec(), named("weights")?)?;
    let embeddings = embedder.embed(&texts, |done| adit_guest::progress(done as u64, texts.len() as u64))?;
    adit_guest::info!("{} texts, {} numbers each", texts.len(), embedder.width());
    Ok(to_bytes(&embeddings).into())
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the texts are not UTF-8: {0}")]
    Text(#[from] Utf8Error),
    #[error(transparent)]
    Missing(#[from] MissingInput),
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

#[cfg(test)]
mod tests {
    use adit_guest::testing::Harness;

    use super::*;

    macro_rules! tiny {
        ($file:literal) => {
            include_bytes!(concat!("../reference/tiny/", $file))
        };
    }

    /// A job with all of a model but the input `without`.
    fn job(texts: &str, without: &str) -> Harness {
        let files = [
            ("config", &tiny!("config.json")[..]),
            ("vocab", &tiny!("vocab.txt")[..]),
            ("weights", &tiny!("model.safetensors")[..]),
        ];
        let given = files.into_iter().filter(|(name, _)| *name != without);
        given.fold(Harness::new().input(texts), |job, (name, bytes)| job.named(name, bytes))
    }

    #[test]
    fn each_line_has_its_embedding() {
        let told = job("the node\n\nthe job\n", "").run(main);
        assert_eq!((told.exit_code, told.log_text().as_str()), (0, "[info] 3 texts, 24 numbers each\n"));
        assert_eq!(told.progress.last(), Some(&(3, 3)));
        let embedder = Embedder::load(tiny!("config.json"), tiny!("vocab.txt"), &tiny!("model.safetensors")[..]).unwrap();
        let want = embedder.embed(&["the node", "", "the job"], |_| ()).unwrap();
        assert_eq!(told.output, to_bytes(&want));
    }

    /// As a guest on a node makes them: `inference_makes_the_bytes_of_its_native_test` in the runtime's tests.
    #[test]
    fn embeddings_have_the_same_bytes_everywhere() {
        let output = job("the node runs a job\n\npays for the light and counts it", "").run(main).output;
        assert_eq!(blake3::hash(&output).to_hex().as_str(), "85bf48f02c81672e28339f2b51ee74e4da197a618904055eae4ae2e3643c5773");
    }

    #[test]
    fn no_lines_have_no_embeddings() {
        let told = job("", "").run(main);
        assert_eq!((told.exit_code, told.output), (0, vec![]));
    }

    #[test]
    fn what_is_missing_or_no_text_is_said() {
        let told = job("the node", "vocab").run(main);
        assert_eq!(told.exit_code, 1);
        assert!(told.log_text().contains("`--with vocab=FILE`"), "{}", told.log_text());
        let told = job("", "").input(b"\xff".to_vec()).run(main);
        assert_eq!(told.exit_code, 1);
        assert!(told.log_text().contains("the texts are not UTF-8"), "{}", told.log_text());
    }
}
