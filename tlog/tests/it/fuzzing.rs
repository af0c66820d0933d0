//! The fuzz target `log` on stable Rust: each oracle over its seeds, and over what a seeded generator makes of them. `ADIT_FUZZ_SECONDS`,
//! `ADIT_FUZZ_FROM` and `ADIT_FUZZ_CORPUS` are those of the ledger's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use adit_tlog::{LogProof, log_key};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::oracle;

/// A target's seeds, by name.
type Seeds = Vec<(&'static str, Vec<u8>)>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Calls `check` with every seed, and then with inputs made of them; some part of them must be what the seeds are.
fn each_input(what: &str, seeds: &Seeds, rounds: u64, check: impl Fn(&[u8]) -> bool) {
    for (name, bytes) in seeds {
        if let Some(corpus) = std::env::var_os("ADIT_FUZZ_CORPUS") {
            let folder = Path::new(&corpus).join("log");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
        assert!(check(bytes), "seed {name} is nothing");
    }
    let (begun, first) = (Instant::now(), number("ADIT_FUZZ_FROM").unwrap_or(0));
    let goes_on = |done| match number("ADIT_FUZZ_SECONDS") {
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
        None => done < rounds,
    };
    let (mut done, mut taken) = (0, 0);
    while goes_on(done) {
        let _told = TellRound(first + done);
        taken += u64::from(check(&mutated(seeds, first + done)));
        done += 1;
    }
    println!("{what}: {taken} of {done} inputs got past the decoder");
    assert!(taken > done / 50, "{what}: {taken} of {done} show little");
}

/// Says which round it was, if that ends in a panic.
struct TellRound(u64);

impl Drop for TellRound {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was round {}", self.0);
        }
    }
}

/// A seed with a few changes, or with those of another seed in it.
fn mutated(seeds: &Seeds, round: u64) -> Vec<u8> {
    // SplitMix64.
    let mut state = round;
    let mut next = |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % below.max(1)
    };
    let mut bytes = seeds[next(seeds.len())].1.clone();
    for _ in 0..next(4) {
        let at = next(bytes.len());
        match next(8) {
            _ if bytes.is_empty() => bytes.push(next(256) as u8),
            0 => bytes[at] = next(256) as u8,
            1 => bytes[at] ^= 1 << next(8),
            2 => bytes.insert(at, b"\n 0+/.=x19\0\xff"[next(12)]),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => bytes.extend_from_within(at..),
            6 => drop(bytes.splice(at..at, *b"\n")),
            _ => {
                let other = &seeds[next(seeds.len())].1;
                let part = next(other.len())..other.len();
                bytes.splice(at.., other[part].iter().copied());
            }
        }
    }
    bytes
}

fn texts(seeds: &[(&'static str, &str)]) -> Seeds {
    seeds.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect()
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
    each_input("paths", &texts(&seeds), 20_000, oracle::path);
}

#[test]
fn any_bundle_has_the_leaves_that_it_says_or_tells_where_it_ends() {
    let bundle = |leaves: &[&[u8]]| {
        let all = leaves.iter().flat_map(|leaf| [&(leaf.len() as u16).to_be_bytes(), *leaf].concat());
        (leaves.len() as u16).to_be_bytes().into_iter().chain(all).collect::<Vec<u8>>()
    };
    let whole = vec![b"a leaf".as_slice(); 256];
    let seeds = vec![
        ("bundle_none", bundle(&[])),
        ("bundle_three", bundle(&[b"a", b"", b"another leaf"])),
        ("bundle_whole", bundle(&whole)),
    ];
    each_input("bundles", &seeds, 10_000, oracle::bundle);
}

#[test]
fn any_proof_is_of_a_leaf_that_is_there_or_none() {
    let proof = |index: u64, size: u64, extra: &[u8]| {
        let hashes = oracle::tree().0.prove_leaf(index, size).unwrap().unwrap();
        LogProof { extra: extra.to_vec(), index, hashes, checkpoint: oracle::checkpoint(size) }.to_bytes()
    };
    let seeds = vec![
        ("proof_lone", proof(0, 1, b"")),
        ("proof", proof(5, 11, b"")),
        ("proof_extra", proof(11, oracle::LEAVES, b"extra")),
    ];
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
    let seeds: Seeds = seeds.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    each_input("policies", &seeds, 2_000, oracle::policy);
    assert!(!oracle::policy(format!("{one}{other}\nquorum none\n").as_bytes()), "two quorums");
}

#[test]
fn any_request_is_cosigned_where_it_continues_the_log_or_not() {
    let growth = |size: u64| {
        let proof = oracle::tree().0.prove_growth(oracle::COSIGNED, size).unwrap().unwrap();
        let lines: String = proof.iter().map(|hash| BASE64_STANDARD.encode(hash) + "\n").collect();
        [format!("old {}\n{lines}\n", oracle::COSIGNED).as_bytes(), &oracle::checkpoint(size)].concat()
    };
    let seeds =
        vec![("request_same", growth(oracle::COSIGNED)), ("request_next", growth(8)), ("request_last", growth(oracle::LEAVES))];
    each_input("requests", &seeds, 500, oracle::request);
}
