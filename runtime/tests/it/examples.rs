//! Applications of `examples/`, compiled by `cargo xtask guests`: as guests they make the bytes that their native tests have pinned. Without
//! them there is nothing to test.

use std::path::Path;

use crate::support::{Host, Job};

fn guest(name: &str) -> Option<Job> {
    let folder = std::env::var("ADIT_GUESTS").ok()?;
    let wasm = std::fs::read(format!("{folder}/{name}.wasm")).unwrap_or_else(|error| panic!("{name}: {error}"));
    Some(Job::of(wasm))
}

/// A file of the applications.
fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)).unwrap()
}

async fn output_digest(job: Job) -> String {
    blake3::hash(&Host::new(1).run(job).await.assert_ok().output).to_hex().to_string()
}

#[tokio::test]
async fn inference_makes_the_bytes_of_its_native_test() {
    let Some(job) = guest("inference") else { return };
    let file = |name: &str| file(&format!("inference/reference/tiny/{name}"));
    let job = job.input(b"the node runs a job\n\npays for the light and counts it");
    let job = job.named("config", &file("config.json")).named("vocab", &file("vocab.txt"));
    let digest = output_digest(job.named("weights", &file("model.safetensors"))).await;
    assert_eq!(digest, "85bf48f02c81672e28339f2b51ee74e4da197a618904055eae4ae2e3643c5773");
}

#[tokio::test]
async fn training_makes_the_bytes_of_its_native_test() {
    let Some(job) = guest("training") else { return };
    let picture = |n: u32| (0..64).map(move |at| ((n * 64 + at).wrapping_mul(2_654_435_761) >> 16) as u8 % 17).chain([n as u8]);
    let digits: Vec<u8> = (0..10).flat_map(picture).collect();
    // Postcard: 3,818 parameters, and the numbers of ten pictures.
    let parameters = (0..3818).flat_map(|n| ((n * 7919 % 1009) as f32 / 2048.0 - 0.25).to_le_bytes());
    let task: Vec<u8> = [0xea, 0x1d].into_iter().chain(parameters).chain([10]).chain(0..10).collect();
    let digest = output_digest(job.input(&task).named("digits", &digits)).await;
    assert_eq!(digest, "6c34a3d01cc3e955aa8954c20de2bfc6fd9bb42917660a94ad7b8dc8a456d256");
}

#[tokio::test]
async fn blockchain_finds_what_its_native_test_finds() {
    let Some(job) = guest("blockchain") else { return };
    let host = Host::new(1);
    for name in ["payment", "spoiled"] {
        let data = |end: &str| file(&format!("blockchain/tests/data/{name}.{end}"));
        let ended = host.run(job.clone().input(&data("batch"))).await;
        assert!(ended.assert_ok().output == data("verdict"), "{name}: {}", String::from_utf8_lossy(&ended.output));
    }
}

#[tokio::test]
async fn analytics_answers_as_its_native_test_does() {
    let Some(job) = guest("analytics") else { return };
    let host = Host::new(1);
    for format in ["parquet", "csv"] {
        let request = file(&format!("analytics/tests/data/{format}.request"));
        let ended = host.run(job.clone().input(&request).named("table", &file(&format!("analytics/data/sample.{format}")))).await;
        assert!(ended.assert_ok().output == file("analytics/tests/data/sample.answer"), "{format}");
    }
}
