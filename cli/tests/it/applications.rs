//! The applications of `examples/` as their users run them: guests over a network, on inputs whose results are known. Without the guests,
//! which `cargo xtask guests` builds, there is nothing to test.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::network::{Adit, Home, Network};

/// The guest of an application; nothing where none was built.
fn guest(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("ADIT_GUESTS")?).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is not there; `cargo xtask guests` builds it", path.display());
    Some(path)
}

/// A file of an application.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// The flags that give a guest the model in a folder.
fn model(folder: &Path) -> [String; 6] {
    let with = |name: &str, file: &str| format!("{name}={}", folder.join(file).display());
    let flag = || "--with".to_owned();
    let [config, vocab, weights] =
        [with("config", "config.json"), with("vocab", "vocab.txt"), with("weights", "model.safetensors")];
    [flag(), config, flag(), vocab, flag(), weights]
}

/// Checks that a map ended well for all, on more than one node.
fn check_map(ran: Adit, count: usize) {
    let rows = ran.args(["--json"]).run().ok().says(&format!("{count} of {count} finished")).json_lines();
    let mut nodes: Vec<&Value> = rows.iter().map(|row| &row["node"]).collect();
    nodes.sort_by_key(|node| node.to_string());
    nodes.dedup();
    assert!(nodes.len() > 1 && !nodes.contains(&&Value::Null), "{nodes:?}");
}

#[test]
fn a_folder_of_texts_is_embedded_on_several_nodes() {
    let Some(module) = guest("inference") else { return };
    let network = Network::with_slots(&[1, 1]);
    let texts =
        ["the node runs a job\n", "pays for the light\nand counts it\n", "\n", "a bill\n", "of\nmany\nlines\n", "the end\n"];
    let inputs: Vec<PathBuf> =
        texts.iter().enumerate().map(|(n, text)| network.home.file(&format!("texts/{n}.txt"), text)).collect();
    let tiny = model(&file("inference/reference/tiny"));
    let map = network.adit(["map"]).args([&module]).args(&inputs).args(["--out", "embeddings"]).args(&tiny);
    check_map(map, inputs.len());
    // Each text has the embedding that it has alone, on this machine.
    let all = network.home.file("all.txt", texts.concat());
    network.adit(["run", "--local", "--output", "alone"]).args([&module]).args(["--input"]).args([&all]).args(&tiny).run().ok();
    let mapped = (0..texts.len()).map(|n| std::fs::read(network.home.path(format!("embeddings/{n}.txt.out"))).unwrap());
    let (mapped, alone) = (mapped.collect::<Vec<_>>().concat(), std::fs::read(network.home.path("alone")).unwrap());
    assert!(mapped == alone && !alone.is_empty(), "{} and {} bytes", mapped.len(), alone.len());
}

#[test]
fn batches_of_a_chain_are_checked_on_several_nodes_and_a_spoiled_one_is_refused() {
    let Some(module) = guest("blockchain") else { return };
    let network = Network::with_slots(&[1, 1]);
    let data = |name: &str| std::fs::read(file("blockchain/tests/data").join(name)).unwrap();
    let batches = ["payment", "spoiled", "payment", "payment", "spoiled", "payment"];
    let input = |(n, name): (usize, &&str)| network.home.file(&format!("{n}.batch"), data(&format!("{name}.batch")));
    let inputs: Vec<PathBuf> = batches.iter().enumerate().map(input).collect();
    check_map(network.adit(["map"]).args([&module]).args(&inputs).args(["--out", "verdicts"]), inputs.len());
    for (n, name) in batches.iter().enumerate() {
        let verdict = std::fs::read(network.home.path(format!("verdicts/{n}.batch.out"))).unwrap();
        assert!(verdict == data(&format!("{name}.verdict")), "{n}: {}", String::from_utf8_lossy(&verdict));
    }
}

/// The model itself: 90 MB that are not in this repository. `cargo xtask test` fetches them where it can.
#[test]
fn the_whole_model_embeds_as_sentence_transformers_does() {
    let Some(module) = guest("inference") else { return };
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models/all-minilm-l6-v2");
    let folder = std::env::var_os("ADIT_MINILM").map_or_else(fetched, PathBuf::from);
    if !folder.join("model.safetensors").is_file() {
        eprintln!("left out: all-MiniLM-L6-v2 is not in {}; `cargo xtask test` fetches it", folder.display());
        return;
    }
    let reference: Value = serde_json::from_slice(&std::fs::read(file("inference/reference/minilm.json")).unwrap()).unwrap();
    // One text of a line, and not the shortest.
    let cases = reference["cases"].as_array().unwrap().iter();
    let is_line = |text: &str| text.len() > 30 && text.len() < 120 && !text.contains(char::is_control);
    let case = cases.clone().find(|case| is_line(case["text"].as_str().unwrap())).expect("a text of one line");
    let home = Home::new();
    let input = home.file("text", case["text"].as_str().unwrap());
    let run = home.adit(["run", "--local", "--fuel", "100G", "--timeout", "5m", "--output", "embedding"]);
    run.args([&module]).args(["--input"]).args([&input]).args(model(&folder)).run().ok();
    let bytes = std::fs::read(home.path("embedding")).unwrap();
    let ours: Vec<f64> = bytes.as_chunks().0.iter().map(|value| f64::from(f32::from_le_bytes(*value))).collect();
    let theirs: Vec<f64> = case["vector"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert_eq!(ours.len(), theirs.len());
    let cosine = dot(&ours, &theirs) / (dot(&ours, &ours) * dot(&theirs, &theirs)).sqrt();
    assert!(cosine > 0.999_999, "{}: {cosine}", case["text"]);
}
