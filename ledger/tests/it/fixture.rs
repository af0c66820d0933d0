//! Receipts and entries, each by a number.

use adit_ledger::{Entry, Ledger, StoredJob};
use adit_protocol::{
    Attempt, BlobRef, ByteCount, Digest, Fuel, IdempotencyKey, JobId, JobSpec, MeterId, NodeTimes, Outcome, Price, Profile,
    PublicKey, Receipt, SecretKey, UnixMillis, Usage, sign_receipts,
};

use crate::disk::Disk;

pub(crate) fn gateway() -> PublicKey {
    SecretKey::from_seed([9; 32]).public()
}

pub(crate) fn node() -> SecretKey {
    SecretKey::from_seed([4; 32])
}

/// One of three clients takes turns.
pub(crate) fn client(n: u64) -> PublicKey {
    PublicKey([n as u8 % 3; 32])
}

pub(crate) fn job(n: u64) -> JobId {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_le_bytes());
    JobId::derive(&client(n), &IdempotencyKey(key))
}

pub(crate) fn output(n: u64) -> Vec<u8> {
    format!("output {n}").into_bytes()
}

pub(crate) fn receipt(n: u64) -> Receipt {
    let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(&n.to_le_bytes()));
    let usage = Usage { fuel: Fuel(60_000_000 + n), memory_peak: ByteCount(65_536), ..Usage::default() };
    let price = Price { per_compute_minute: 1_000, ..Price::default() };
    Receipt {
        job: job(n),
        attempt: Attempt(1),
        client: client(n),
        node: node().public(),
        gateway: gateway(),
        spec: spec.digest(),
        module: spec.module.digest,
        input: spec.input.digest,
        output: Digest::of(&output(n)),
        outcome: Outcome::Finished { exit_code: 0 },
        profile: Profile::Deterministic,
        meter: MeterId([3; 32]),
        engine: "wasmtime 48.0.8".into(),
        usage,
        times: NodeTimes { started: UnixMillis(n), fetch_us: 1, compile_us: 2, run_us: 3 },
        price,
        cost: price.cost(&usage).unwrap(),
        salt: Some(spec.salt),
    }
}

/// An entry of `receipt`, whose own numbers say which it is. Every other one has an inline output.
pub(crate) fn entry_of(n: u64, receipt: Receipt) -> Entry {
    Entry {
        receipt: sign_receipts(&node(), vec![receipt]).remove(0).verify().unwrap(),
        settled: UnixMillis(1_700_000_000_000 + n),
        reason: format!("reason {n}"),
        output: n.is_multiple_of(2).then(|| output(n)),
        queue_us: 10 * n,
        rtt_us: 100 * n,
    }
}

pub(crate) fn entry(n: u64) -> Entry {
    entry_of(n, receipt(n))
}

pub(crate) fn entries(numbers: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    numbers.into_iter().map(entry).collect()
}

/// Another receipt of the same job: its second attempt.
pub(crate) fn rival(n: u64) -> Entry {
    entry_of(n, Receipt { attempt: Attempt(2), ..receipt(n) })
}

/// What the ledger has to answer for `entry`, recorded at `index`.
pub(crate) fn stored(index: u64, entry: &Entry) -> StoredJob {
    StoredJob {
        index,
        receipt: entry.receipt.signed().clone(),
        settled: entry.settled,
        reason: entry.reason.clone(),
        output: entry.output.clone(),
        queue_us: entry.queue_us,
        rtt_us: entry.rtt_us,
    }
}

pub(crate) fn open(disk: &Disk) -> Ledger {
    Ledger::open_with(disk.backend(), gateway()).unwrap()
}

/// A ledger with the entries of these numbers, closed.
pub(crate) fn disk_with(numbers: impl IntoIterator<Item = u64>) -> Disk {
    let disk = Disk::default();
    let outcomes = open(&disk).append(&entries(numbers)).unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    disk
}

/// The least generator that will do (SplitMix64), so that a seed is a test case.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
