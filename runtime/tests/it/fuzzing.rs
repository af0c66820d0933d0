//! The fuzz targets of this crate on stable Rust: see `fuzz/driver.rs`.

use std::time::Duration;

use adit_runtime::lab::host_functions;

use crate::oracle::admission::Verdict;
use crate::oracle::modules::{entropy, word};
use crate::oracle::{admission, compilers, host_calls, ipc, meter};

/// What a test may take.
const EFFORT: Effort = Effort { rounds: 3_000, time_max: Duration::from_secs(8) };

#[path = "../../../fuzz/driver.rs"]
#[allow(dead_code, reason = "other crates make their seeds and mutate them otherwise")]
mod driver;

use driver::{Effort, Seeds, Tried};

/// Reads seeds: a line for each, `name = part + part`, where a part is `hex 00ff`, `entropy SEED BYTES`, or `wat (module ...)`.
/// What is indented goes on with the line before.
fn seeds(text: &str) -> Seeds {
    let lines = text.replace("\n ", " ");
    let lines = lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, parts) = line.split_once(" = ").unwrap_or_else(|| panic!("no seed: {line}"));
            (name.to_owned(), parts.split(" + ").flat_map(part).collect())
        })
        .collect()
}

fn part(text: &str) -> Vec<u8> {
    let (kind, rest) = text.trim().split_once(' ').unwrap_or_else(|| panic!("no part of a seed: {text}"));
    match kind {
        "hex" => hex(rest),
        "wat" => wat::parse_str(rest).unwrap(),
        "entropy" => {
            let (seed, bytes) = rest.split_once(' ').unwrap();
            entropy(seed.parse().unwrap(), bytes.parse().unwrap())
        }
        other => panic!("no kind of part: {other}"),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Tries the seeds of a target, and what is made of them. Returns how many inputs were made.
fn each_input(target: &str, seeds: &Seeds, mut each: impl FnMut(&[u8])) -> u64 {
    let check = |bytes: &[u8]| {
        each(bytes);
        true
    };
    let Tried { inputs, .. } = driver::each_input(target, seeds, EFFORT, mutated, check);
    inputs
}

/// A seed with a few changes, or bytes of no seed behind its first one.
fn mutated(seeds: &Seeds, round: u64) -> Vec<u8> {
    let mut words = (0..).map(|at| word(!round, at));
    let mut next = |below: usize| words.next().map_or(0, |word| (word % below.max(1) as u64) as usize);
    let mut bytes = seeds[next(seeds.len())].1.clone();
    if next(2) == 0 {
        // The first bytes say what the others are.
        let of_seed = next(2) == 0;
        let length = 16 + next(1200);
        let mut fresh = entropy(round, length);
        for (at, byte) in fresh[..2].iter_mut().enumerate() {
            *byte = if of_seed { bytes.get(at).copied().unwrap_or(0) } else { *byte % 4 };
        }
        return fresh;
    }
    for _ in 0..=next(6) {
        let at = next(bytes.len());
        match next(8) {
            _ if bytes.is_empty() => bytes.push(next(256) as u8),
            0 | 1 => bytes[at] = next(256) as u8,
            2 | 3 => bytes[at] ^= 1 << next(8),
            4 => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff][next(5)]),
            5 => drop(bytes.remove(at)),
            6 if next(4) == 0 => bytes.truncate(at),
            _ => {
                // The middle of another one.
                let other = &seeds[next(seeds.len())].1;
                let from = next(other.len());
                let piece = &other[from..other.len().min(from + next(64))];
                bytes.splice(at..bytes.len().min(at + piece.len()), piece.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn any_bytes_are_a_module_or_refused_with_a_reason() {
    let seeds = seeds(include_str!("../../../fuzz/seeds/admission.txt"));
    let mut seen = [0; 3];
    let rounds = each_input("admission", &seeds, |bytes| seen[admission::check(bytes) as usize] += 1);
    println!("{rounds} rounds; nothing, refused, admitted: {seen:?}");
    let [_, refused, admitted] = seen;
    assert!(refused > rounds / 20 && admitted > rounds / 20, "of {rounds} inputs {admitted} were admitted, {refused} refused");
    assert_eq!(admission::check(&[]), Verdict::Nothing);
}

#[test]
fn guests_that_call_the_host_as_they_like_end_as_they_should() {
    let seeds = seeds(include_str!("../../../fuzz/seeds/host_calls.txt"));
    let (mut guests, mut calls) = (0, 0);
    let mut outcomes = std::collections::BTreeMap::new();
    let rounds = each_input("host_calls", &seeds, |bytes| {
        if let Some((outcome, made)) = host_calls::check(bytes) {
            *outcomes.entry(outcome.name()).or_insert(0) += 1;
            (guests, calls) = (guests + 1, calls + made);
        }
    });
    println!("{rounds} rounds, {guests} guests, {calls} calls, {outcomes:?}");
    assert!(guests > rounds / 2 && calls > guests, "{guests} guests with {calls} calls show little");
}

#[test]
fn any_bytes_between_supervisor_and_worker_are_messages_or_an_error() {
    let seeds = seeds(include_str!("../../../fuzz/seeds/ipc.txt"));
    // A seed of an earlier encoding would be no more than any bytes.
    let unread = ["no_frame", "empty_frame", "other_version", "any"];
    for (name, bytes) in &seeds {
        assert_eq!(ipc::check(bytes) == 0, unread.contains(&name.as_str()), "seed {name}");
    }
    let mut messages = 0;
    let rounds = each_input("ipc", &seeds, |bytes| messages += ipc::check(bytes) as u64);
    println!("{rounds} rounds, {messages} messages");
    assert!(messages > rounds / 20, "{messages} messages in {rounds} inputs");
}

#[test]
fn metered_modules_do_what_they_did() {
    let seeds = seeds(include_str!("../../../fuzz/seeds/meter.txt"));
    let (mut calls, mut traps, mut given_up) = (0, 0, 0);
    let rounds = each_input("meter", &seeds, |bytes| {
        let compared = meter::check(bytes);
        (calls, traps, given_up) = (calls + compared.calls, traps + compared.traps, given_up + compared.given_up);
    });
    println!("{rounds} rounds, {calls} calls, {traps} traps, {given_up} given up");
    assert!(u64::from(calls) > rounds / 4 && traps > 0, "{calls} calls with {traps} traps show little");
}

#[test]
fn compilers_agree_on_results_and_bills() {
    let seeds = seeds(include_str!("../../../fuzz/seeds/compilers.txt"));
    let (mut calls, mut jobs, mut traps, mut stopped) = (0, 0, 0, 0);
    let rounds = each_input("compilers", &seeds, |bytes| {
        let compared = compilers::check(bytes);
        (calls, jobs, traps) = (calls + compared.calls, jobs + compared.jobs, traps + compared.traps);
        stopped += compared.stopped;
    });
    println!("{rounds} rounds, {calls} calls, {jobs} jobs, {traps} traps, {stopped} stopped");
    assert!(calls > 0 && jobs > 0 && traps > 0, "{calls} calls, {jobs} jobs, {traps} traps show little");
}

#[test]
fn documents_know_how_many_functions_the_host_has() {
    let number = host_functions().len();
    let fuzzing = include_str!("../../../docs/fuzzing.md");
    assert!(fuzzing.contains(&format!("any of the {number} functions of the host")), "{number}");
    let limits = include_str!("../../../docs/limits.md");
    assert!(limits.contains(&format!("a guest has {number} functions to import")), "{number}");
}
