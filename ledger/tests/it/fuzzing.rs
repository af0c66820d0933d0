//! The fuzz targets of this crate on stable Rust: see `fuzz/driver.rs`.

use std::time::Duration;

use adit_ledger::TreeHead;
use adit_protocol::{Leaf, Microcredits, Payout, Settled, TransferId, UnixMillis, VoidReason, Voided};
use adit_tlog::{log_origin, sign_checkpoint};

use crate::fixture::{Rng, client, entry, grant, job, terms};
use crate::{oracle, script};

#[path = "../../../fuzz/driver.rs"]
mod driver;

use driver::{Effort, Seeds, mutated, seeds};

/// Tries seeds and what is made of them; one of so many inputs must be what the seeds are.
fn each_input(target: &str, seeds: &Seeds, rounds: u64, one_of: u64, check: impl Fn(&[u8]) -> bool) {
    let mutate = |seeds: &Seeds, round| mutated(seeds, round, &[0, 1, b'0', b'\n', 0x7f, 0x80, 0xff]);
    let tried = driver::each_input(target, seeds, Effort { rounds, time_max: Duration::MAX }, mutate, check);
    assert!(tried.taken > tried.inputs / one_of, "{target}: {tried:?} show little");
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
    seeds(
        [
            ("terms", Leaf::Terms(terms())),
            ("grant", Leaf::Grant(grant(1))),
            ("settlement", Leaf::Settlement(Box::new(settled(1)))),
            ("void", Leaf::Void(voided)),
            ("payout", Leaf::Payout(payout)),
            ("attempt", Leaf::Attempt(Box::new(settled(2)))),
        ]
        .map(|(name, leaf)| (name, leaf.to_bytes())),
    )
}

#[test]
fn any_bytes_are_one_leaf_or_none() {
    each_input("leaf", &leaves(), 4_000, 10, oracle::leaf);
}

/// Notes, and texts that the oracle has the gateway sign.
fn checkpoints() -> Seeds {
    let key = oracle::gateway();
    let head = TreeHead { size: 70_000, root: [7; 32] };
    let text = format!("{}\n70000\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", log_origin(&key.public()));
    let empty = text.replace("70000", "0");
    let extended = format!("{text}extension\nanother\n");
    let witnessed = [sign_checkpoint(&key, &head).as_slice(), "\u{2014} witness AAAAAAAA\n".as_bytes()].concat();
    seeds([
        ("note", sign_checkpoint(&key, &head)),
        ("witnessed", witnessed),
        ("by_hand", oracle::note(text.as_bytes(), &key)),
        ("text", text.into_bytes()),
        ("empty", empty.into_bytes()),
        ("extended", extended.into_bytes()),
    ])
}

#[test]
fn any_bytes_are_the_gateways_checkpoint_or_none() {
    each_input("checkpoint", &checkpoints(), 3_000, 10, oracle::checkpoint);
}

#[test]
fn any_part_of_the_tree_is_there_or_not() {
    let numbers = |numbers: [u64; 4]| numbers.map(u64::to_le_bytes).concat();
    let seeds = seeds([
        ("whole_tile", numbers([1, 1, 1, 3 * 256])),
        ("part", numbers([3 * 2, 3 * 600, 1, 3 * 88])),
        ("above", numbers([1, 3 * 600, 4, 3 * 2])),
    ]);
    // Of the target `checkpoint` too.
    each_input("checkpoint", &seeds, 4_000, 50, oracle::tiles);
}

#[test]
fn any_script_on_a_failing_disk_loses_nothing_acknowledged() {
    let seed = |fault: [u8; 4], length| {
        let mut rng = Rng(length);
        fault.into_iter().chain((0..length).map(|_| rng.next() as u8)).collect::<Vec<_>>()
    };
    let seeds = seeds([
        ("dead", seed([0, 128, 2, 7], 200)),
        ("once", seed([1, 60, 0, 0], 60)),
        ("full", seed([2, 20, 1, 0], 900)),
        ("no_blocks", seed([3, 2, 2, 8], 600)),
        ("read_only", seed([4, 200, 1, 0], 400)),
    ]);
    each_input("ledger", &seeds, 60, 2, script::any);
}
