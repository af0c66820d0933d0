//! Receipts and entries, each by a number.

use adit_ledger::{Appended, Applied, CommitError, Entry, EntryError, Hold, Ledger, Operation, Refused, StoredJob};
use adit_protocol::{
    Attempt, BlobRef, ByteCount, Digest, Fuel, IdempotencyKey, JobId, JobSpec, MeterId, NodeTimes, Outcome, Price, Profile,
    PublicKey, Receipt, SecretKey, UnixMillis, Usage, sign_receipts,
};
use adit_protocol::{Grant, Microcredits, Terms, TransferId};

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
        input: spec.input_digest(),
        output: Digest::of(&output(n)),
        outcome: Outcome::Finished { exit_code: 0 },
        profile: Profile::Deterministic,
        meter: MeterId([3; 32]),
        engine: "wasmtime 48.0.8".into(),
        usage,
        gpu: None,
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

/// What the ledger has to answer for `entry`, the `n`th that was recorded.
pub(crate) fn stored(n: u64, entry: &Entry) -> StoredJob {
    StoredJob {
        index: FIRST + n,
        receipt: entry.receipt.signed().clone(),
        settled: entry.settled,
        reason: entry.reason.clone(),
        output: entry.output.clone(),
        queue_us: entry.queue_us,
        rtt_us: entry.rtt_us,
    }
}

/// The index of the first receipt's leaf: the gateway's terms and what each client was granted come before.
pub(crate) const FIRST: u64 = 4;
/// What each client was granted.
pub(crate) const GRANTED: u64 = 1_000_000_000;
/// What the gateway keeps.
pub(crate) const FEE_PPM: u32 = 50_000;
/// What is held for a job.
pub(crate) const HELD: u64 = 1_500;

pub(crate) fn terms() -> Terms {
    Terms { gateway: gateway(), fee_ppm: FEE_PPM, time: UnixMillis(1) }
}

pub(crate) fn grant(n: u64) -> Grant {
    Grant { id: TransferId([n as u8; 16]), customer: client(n), amount: Microcredits(GRANTED), time: UnixMillis(2) }
}

/// The ledger on a disk; on an empty one, with terms and grants.
pub(crate) fn open(disk: &Disk) -> Ledger {
    begun(Ledger::open_with(disk.backend(), gateway()).unwrap())
}

/// The ledger with terms and grants, where it was empty.
pub(crate) fn begun(mut ledger: Ledger) -> Ledger {
    if ledger.tree().size == 0 {
        let grants = (0..3).map(|n| Operation::Grant(grant(n)));
        let outcomes = ledger.apply(&std::iter::once(Operation::State(terms())).chain(grants).collect::<Vec<_>>()).unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    ledger
}

/// What is held for the job of an entry.
pub(crate) fn hold(entry: &Entry) -> Operation {
    let customer = entry.receipt.receipt().client;
    Operation::Hold(Hold { job: entry.job(), customer, amount: Microcredits(HELD), expires: UnixMillis(u64::MAX) })
}

pub(crate) fn settle(entry: Entry) -> Operation {
    Operation::Settle(Box::new(entry))
}

/// Has the ledger record entries, each with its hold, in one batch. What becomes of the holds is not told.
pub(crate) fn append(ledger: &mut Ledger, entries: &[Entry]) -> Result<Vec<Result<Appended, EntryError>>, CommitError> {
    let operations: Vec<Operation> = entries.iter().flat_map(|entry| [hold(entry), settle(entry.clone())]).collect();
    let outcomes = ledger.apply(&operations)?;
    Ok(outcomes.into_iter().skip(1).step_by(2).map(appended).collect())
}

pub(crate) fn appended(outcome: Result<Applied, Refused>) -> Result<Appended, EntryError> {
    match outcome {
        Ok(Applied::Settled(appended)) => Ok(appended),
        Err(Refused::Entry(error)) => Err(error),
        other => panic!("{other:?} of an entry"),
    }
}

/// A ledger with the entries of these numbers, closed.
pub(crate) fn disk_with(numbers: impl IntoIterator<Item = u64>) -> Disk {
    let disk = Disk::default();
    let outcomes = append(&mut open(&disk), &entries(numbers)).unwrap();
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
