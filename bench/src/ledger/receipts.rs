//! Receipts of small jobs, as nodes sign them under load.

use adit_ledger::{Entry, Hold, Ledger, Operation};
use adit_protocol::limits::BATCH_LEAVES_MAX;
use adit_protocol::{
    Attempt, BlobRef, ByteCount, Digest, Fuel, Grant, IdempotencyKey, JobId, JobSpec, KnownRoots, Leaf, MeterId, Microcredits,
    NodeTimes, Outcome, Price, Profile, PublicKey, Receipt, SecretKey, Settled, SignedReceipt, Terms, TransferId, UnixMillis,
    Usage, sign_receipts,
};
use anyhow::{Context, Result, ensure};

/// Customers, who take turns.
const CUSTOMERS: u64 = 16;
/// Nodes, of which each signs a batch in its turn.
const NODES: u64 = 4;
/// What is held for a job, which costs about a tenth.
const HELD: Microcredits = Microcredits(10_000);
/// When everything happens.
const TIME: UnixMillis = UnixMillis(1_760_000_000_000);

/// What the gateway keeps.
const FEE_PPM: u32 = 50_000;

/// Makes receipts, no two for one job.
pub(super) struct Receipts {
    gateway: SecretKey,
    nodes: Vec<SecretKey>,
    next: u64,
}

impl Receipts {
    /// Receipts from number `first` on.
    pub(super) fn from(first: u64) -> Self {
        let nodes = (0..NODES).map(|n| SecretKey::from_seed([n as u8 + 1; 32])).collect();
        Self { gateway: SecretKey::from_seed([99; 32]), nodes, next: first }
    }

    pub(super) fn gateway(&self) -> &SecretKey {
        &self.gateway
    }

    /// A ledger that has nothing yet gets the gateway's terms, and credits for every customer.
    pub(super) fn begin(&self, ledger: &mut Ledger) -> Result<()> {
        let terms = Terms { gateway: self.gateway.public(), fee_ppm: FEE_PPM, time: TIME };
        let grants = (0..CUSTOMERS).map(|n| {
            let id = TransferId([n as u8; 16]);
            Operation::Grant(Grant { id, customer: customer(n), amount: Microcredits(u64::MAX / CUSTOMERS), time: TIME })
        });
        let operations: Vec<Operation> = std::iter::once(Operation::State(terms)).chain(grants).collect();
        ensure!(ledger.apply(&operations)?.iter().all(Result::is_ok), "the ledger refuses to begin");
        Ok(())
    }

    /// The next `count`, as a gateway has them when they are settled: in batches with one signature, each checked.
    pub(super) fn entries(&mut self, count: usize) -> Result<Vec<Entry>> {
        let (mut entries, mut known) = (Vec::with_capacity(count), KnownRoots::default());
        for signed in self.signed(count, BATCH_LEAVES_MAX) {
            let receipt = signed.verify_with(&mut known).context("a receipt of our own does not hold")?;
            let output = Some(output(receipt.receipt().times.started.0));
            entries.push(Entry { receipt, settled: TIME, reason: String::new(), output, queue_us: 40, rtt_us: 120 });
        }
        Ok(entries)
    }

    /// The next `count` with a signature over each `batch`.
    pub(super) fn signed(&mut self, count: usize, batch: usize) -> Vec<SignedReceipt> {
        let mut signed = Vec::with_capacity(count);
        while signed.len() < count {
            let node = &self.nodes[(self.next / batch as u64 % NODES) as usize];
            let numbers = self.next..self.next + batch.min(count - signed.len()) as u64;
            let receipts = numbers.clone().map(|n| receipt(n, node.public(), self.gateway.public())).collect();
            signed.extend(sign_receipts(node, receipts));
            self.next = numbers.end;
        }
        signed
    }
}

/// The hold that an entry is settled from.
pub(super) fn hold(entry: &Entry) -> Operation {
    let customer = entry.receipt.receipt().client;
    Operation::Hold(Hold { job: entry.job(), customer, amount: HELD, expires: UnixMillis(u64::MAX) })
}

/// Entries as operations, each behind its hold.
pub(super) fn operations(entries: Vec<Entry>) -> Vec<Operation> {
    entries.into_iter().flat_map(|entry| [hold(&entry), Operation::Settle(Box::new(entry))]).collect()
}

/// The bytes that the log has of an entry.
pub(super) fn leaf_bytes(entry: &Entry) -> Vec<u8> {
    let receipt = entry.receipt.signed().public();
    let fee = Microcredits(receipt.receipt.cost.0 / 20);
    Leaf::Settlement(Box::new(Settled { receipt, held: HELD, fee, time: TIME })).to_bytes()
}

fn customer(n: u64) -> PublicKey {
    PublicKey([(n % CUSTOMERS) as u8 + 1; 32])
}

fn output(n: u64) -> Vec<u8> {
    format!("{n:064}").into_bytes()
}

fn receipt(n: u64, node: PublicKey, gateway: PublicKey) -> Receipt {
    let (client, output) = (customer(n), output(n));
    let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(&n.to_le_bytes()));
    let usage = Usage {
        fuel: Fuel(60_000_000 + n % 1_000_000),
        memory_peak: ByteCount(1 << 20),
        bytes_in: ByteCount(64),
        bytes_out: ByteCount(output.len() as u64),
        ..Usage::default()
    };
    let price = Price { per_compute_minute: 1_000, ..Price::default() };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_le_bytes());
    Receipt {
        job: JobId::derive(&client, &IdempotencyKey(key)),
        attempt: Attempt(1),
        client,
        node,
        gateway,
        spec: spec.digest(),
        module: spec.module.digest,
        input: spec.input_digest(),
        output: Digest::of(&output),
        outcome: Outcome::Finished { exit_code: 0 },
        profile: Profile::Deterministic,
        meter: MeterId([3; 32]),
        engine: "wasmtime 48.0.8".into(),
        usage,
        gpu: None,
        // The number, so that an entry's output can be told from its receipt.
        times: NodeTimes { started: UnixMillis(n), fetch_us: 90, compile_us: 0, run_us: 210 },
        price,
        cost: price.cost(&usage).expect("a small job has a cost"),
        salt: Some(spec.salt),
    }
}
