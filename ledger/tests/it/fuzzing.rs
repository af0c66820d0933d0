//! The fuzz targets of this crate on stable Rust: each oracle over its seeds, and over what a seeded generator makes of them.
//!
//! With `ADIT_FUZZ_SECONDS` each goes on for so long, from round `ADIT_FUZZ_FROM`. Where `ADIT_FUZZ_CORPUS` names a folder, the seeds are
//! written there too, a file each, for cargo-fuzz to begin with.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use adit_ledger::TreeHead;
use adit_protocol::{Leaf, Microcredits, Payout, Settled, TransferId, UnixMillis, VoidReason, Voided};
use adit_tlog::{log_origin, sign_checkpoint};

use crate::fixture::{Rng, client, entry, grant, job, terms};
use crate::{oracle, script};

/// A target's seeds, by name.
type Seeds = Vec<(&'static str, Vec<u8>)>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Calls `check` with every seed, and then with inputs made of them. Returns how many got past the decoder, and how many there were.
#[allow(clippy::disallowed_methods, reason = "how long a test goes on is nothing that a ledger records")]
fn each_input(target: &str, seeds: &Seeds, rounds: u64, check: impl Fn(&[u8]) -> bool) -> (u64, u64) {
    for (name, bytes) in seeds {
        if let Some(corpus) = std::env::var_os("ADIT_FUZZ_CORPUS") {
            let folder = Path::new(&corpus).join(target);
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
    println!("{target}: {taken} of {done} inputs got past the decoder");
    (taken, done)
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

/// A seed with a few changes, or other bytes.
fn mutated(seeds: &Seeds, round: u64) -> Vec<u8> {
    let mut rng = Rng(round);
    let mut next = |below: usize| rng.below(below.max(1) as u64) as usize;
    if next(8) == 0 {
        return (0..next(400)).map(|_| next(256) as u8).collect();
    }
    let mut bytes = seeds[next(seeds.len())].1.clone();
    for _ in 0..next(4) {
        let at = next(bytes.len());
        match next(7) {
            _ if bytes.is_empty() => bytes.push(next(256) as u8),
            0 => bytes[at] = next(256) as u8,
            1 | 2 => bytes[at] ^= 1 << next(8),
            3 => bytes.insert(at, [0, 1, b'0', b'\n', 0x7f, 0x80, 0xff][next(7)]),
            4 => drop(bytes.remove(at)),
            5 => bytes.truncate(at),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

fn leaves() -> Seeds {
    let settled = |n| {
        let receipt = entry(n).receipt.signed().public();
        let cost = receipt.receipt.cost;
        Settled { receipt, held: Microcredits(2_000), fee: terms().fee(cost), time: UnixMillis(9) }
    };
    let payout = Payout { id: TransferId([5; 16]), owner: client(1), amount: Microcredits(300), time: UnixMillis(9) };
    let voided =
        Voided { job: job(1), customer: client(1), held: Microcredits(7), reason: VoidReason::Expired, time: UnixMillis(9) };
    let leaves = [
        ("terms", Leaf::Terms(terms())),
        ("grant", Leaf::Grant(grant(1))),
        ("settlement", Leaf::Settlement(Box::new(settled(1)))),
        ("void", Leaf::Void(voided)),
        ("payout", Leaf::Payout(payout)),
        ("attempt", Leaf::Attempt(Box::new(settled(2)))),
    ];
    leaves.into_iter().map(|(name, leaf)| (name, leaf.to_bytes())).collect()
}

#[test]
fn any_bytes_are_one_leaf_or_none() {
    let (taken, done) = each_input("leaf", &leaves(), 4_000, oracle::leaf);
    assert!(taken > done / 10, "{taken} of {done} leaves show little");
}

/// Notes, and texts that the oracle has the gateway sign.
fn checkpoints() -> Seeds {
    let key = oracle::gateway();
    let head = TreeHead { size: 70_000, root: [7; 32] };
    let text = format!("{}\n70000\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", log_origin(&key.public()));
    let empty = text.replace("70000", "0");
    let extended = format!("{text}extension\nanother\n");
    let witnessed = [sign_checkpoint(&key, &head).as_slice(), "\u{2014} witness AAAAAAAA\n".as_bytes()].concat();
    vec![
        ("note", sign_checkpoint(&key, &head)),
        ("witnessed", witnessed),
        ("by_hand", oracle::note(text.as_bytes(), &key)),
        ("text", text.into_bytes()),
        ("empty", empty.into_bytes()),
        ("extended", extended.into_bytes()),
    ]
}

#[test]
fn any_bytes_are_the_gateways_checkpoint_or_none() {
    let (taken, done) = each_input("checkpoint", &checkpoints(), 3_000, oracle::checkpoint);
    assert!(taken > done / 10, "{taken} of {done} checkpoints show little");
}

#[test]
fn any_part_of_the_tree_is_there_or_not() {
    let numbers = |numbers: [u64; 4]| numbers.map(u64::to_le_bytes).concat();
    let seeds = vec![
        ("whole_tile", numbers([1, 1, 1, 3 * 256])),
        ("part", numbers([3 * 2, 3 * 600, 1, 3 * 88])),
        ("above", numbers([1, 3 * 600, 4, 3 * 2])),
    ];
    let (taken, done) = each_input("tiles", &seeds, 4_000, oracle::tiles);
    assert!(taken > done / 50, "{taken} of {done} tiles show little");
}

#[test]
fn any_script_on_a_failing_disk_loses_nothing_acknowledged() {
    let seed = |fault: [u8; 4], length| {
        let mut rng = Rng(length);
        fault.into_iter().chain((0..length).map(|_| rng.next() as u8)).collect::<Vec<_>>()
    };
    let seeds = vec![
        ("dead", seed([0, 128, 2, 7], 200)),
        ("once", seed([1, 60, 0, 0], 60)),
        ("full", seed([2, 20, 1, 0], 900)),
        ("no_blocks", seed([3, 2, 2, 8], 600)),
        ("read_only", seed([4, 200, 1, 0], 400)),
    ];
    let (taken, done) = each_input("ledger", &seeds, 60, script::any);
    assert!(taken > done / 2, "{taken} of {done} scripts were stopped");
}
