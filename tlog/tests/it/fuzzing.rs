//! The fuzz target `log` on stable Rust: see `fuzz/driver.rs`.

use std::time::Duration;

use adit_tlog::{LogProof, log_key};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::oracle;

#[path = "../../../fuzz/driver.rs"]
mod driver;

use driver::{Effort, Seeds, mutated, seeds};

/// Tries seeds and what is made of them; some part of the inputs must be what the seeds are.
fn each_input(what: &str, seeds: &Seeds, rounds: u64, check: impl Fn(&[u8]) -> bool) {
    let mutate = |seeds: &Seeds, round| mutated(seeds, round, b"\n 0+/.=x19\0\xff");
    let tried = driver::each_input("log", seeds, Effort { rounds, time_max: Duration::MAX }, mutate, check);
    assert!(tried.taken > tried.inputs / 50, "{what}: {tried:?} show little");
}

fn texts<const N: usize>(texts: [(&str, &str); N]) -> Seeds {
    seeds(texts.map(|(name, text)| (name, text.as_bytes().to_vec())))
}

#[test]
fn any_path_is_one_tiles_or_none() {
    let seeds = [
        ("path_tile", "tile/0/000"),
        ("path_part", "tile/1/x001/x234/067.p/17"),
        ("path_last", "tile/63/x018/x446/x744/x073/x709/x551/615"),
        ("path_bundle", "tile/entries/273.p/112"),
        ("path_far_bundle", "tile/entries/x001/000"),
    ];
    each_input("paths", &texts(seeds), 20_000, oracle::path);
}

#[test]
fn any_bundle_has_the_leaves_that_it_says_or_tells_where_it_ends() {
    let bundle = |leaves: &[&[u8]]| {
        let all = leaves.iter().flat_map(|leaf| [&(leaf.len() as u16).to_be_bytes(), *leaf].concat());
        (leaves.len() as u16).to_be_bytes().into_iter().chain(all).collect::<Vec<u8>>()
    };
    let whole = vec![b"a leaf".as_slice(); 256];
    let seeds = seeds([
        ("bundle_none", bundle(&[])),
        ("bundle_three", bundle(&[b"a", b"", b"another leaf"])),
        ("bundle_whole", bundle(&whole)),
    ]);
    each_input("bundles", &seeds, 10_000, oracle::bundle);
}

#[test]
fn any_proof_is_of_a_leaf_that_is_there_or_none() {
    let proof = |index: u64, size: u64, extra: &[u8]| {
        let hashes = oracle::tree().0.prove_leaf(index, size).unwrap().unwrap();
        LogProof { extra: extra.to_vec(), index, hashes, checkpoint: oracle::checkpoint(size) }.to_bytes()
    };
    let seeds = seeds([
        ("proof_lone", proof(0, 1, b"")),
        ("proof", proof(5, 11, b"")),
        ("proof_extra", proof(11, oracle::LEAVES, b"extra")),
    ]);
    each_input("proofs", &seeds, 2_000, oracle::proof);
}

#[test]
fn any_policy_accepts_what_it_says_or_is_none() {
    let (log, witness) = (log_key(&oracle::log().public()), oracle::cosigner().key().clone());
    let other = "witness other witness.example/w2+9c1ea8b1+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let one = format!("log {log} https://log.example/\n# a comment\nwitness a {witness} https://w.example/\nquorum a\n");
    let seeds = [
        ("policy_none", format!("log {log}\nquorum none\n")),
        ("policy_one", one.clone()),
        ("policy_group", one.replace("quorum a", "group g any a\ngroup h all g\nquorum h")),
        ("policy_count", one.replace("quorum a", "group g 1 a\nquorum g")),
    ];
    each_input("policies", &driver::seeds(seeds.map(|(name, text)| (name, text.into_bytes()))), 2_000, oracle::policy);
    assert!(!oracle::policy(format!("{one}{other}\nquorum none\n").as_bytes()), "two quorums");
}

#[test]
fn any_request_is_cosigned_where_it_continues_the_log_or_not() {
    let growth = |size: u64| {
        let proof = oracle::tree().0.prove_growth(oracle::COSIGNED, size).unwrap().unwrap();
        let lines: String = proof.iter().map(|hash| BASE64_STANDARD.encode(hash) + "\n").collect();
        [format!("old {}\n{lines}\n", oracle::COSIGNED).as_bytes(), &oracle::checkpoint(size)].concat()
    };
    let seeds = seeds([
        ("request_same", growth(oracle::COSIGNED)),
        ("request_next", growth(8)),
        ("request_last", growth(oracle::LEAVES)),
    ]);
    each_input("requests", &seeds, 500, oracle::request);
}
