//! `docs/receipt-format.md` has bytes of everything that an auditor reads. They are what this software writes, and it reads them.
//!
//! `ADIT_BLESS=1` writes the document's blocks anew, after a deliberate change of a format.

use std::fs;
use std::path::Path;

use adit_ledger::{Appended, Applied, Entry, Hold, Ledger, Operation};
use adit_protocol::{
    Attempt, BlobRef, ByteCount, Digest, Fuel, Grant, IdempotencyKey, JobId, JobSpec, Leaf, MeterId, Microcredits, NodeTimes,
    Outcome, Payout, Price, Profile, Receipt, Salt, SecretKey, Settled, SignedReceipt, Terms, TransferId, UnixMillis, Usage,
    VoidReason, sign_receipts,
};
use adit_tlog::{
    Cosigner, LogProof, Policy, UnixSeconds, log_key, log_verifier_key, sign_checkpoint, verify_checkpoint, with_cosignatures,
};
use redb::backends::InMemoryBackend;

const TIME: UnixMillis = UnixMillis(1_800_000_000_000);

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// Three receipts. One node signed the first two together: of a job that is settled by it, and of an attempt at another job that its owner
/// cut short. The third is of that job's next attempt.
pub(crate) fn receipts() -> Vec<SignedReceipt> {
    let (gateway, node, client) = (key(9), key(4), key(2));
    let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
    spec.salt = Salt([0x5a; 32]);
    let usage = Usage {
        fuel: Fuel(90_000_000_000),
        memory_peak: ByteCount(1 << 20),
        memory_fuel: 90_000_000_000 << 20,
        bytes_in: ByteCount(5),
        bytes_out: ByteCount(6),
        host_calls: 3,
        gpu_ns: 0,
    };
    let price =
        Price { per_compute_minute: 1_000, per_gib_compute_minute: 100, per_gib_in: 500, per_gib_out: 500, per_gpu_minute: 0 };
    let cut_short = Usage { fuel: Fuel(30_000_000_000), memory_fuel: 30_000_000_000 << 20, bytes_out: ByteCount(0), ..usage };
    let receipt = |n: u8, attempt: u32, outcome: Outcome, usage: Usage| Receipt {
        job: JobId::derive(&client.public(), &IdempotencyKey([n; 16])),
        attempt: Attempt(attempt),
        client: client.public(),
        node: node.public(),
        gateway: gateway.public(),
        spec: spec.digest(),
        module: spec.module.digest,
        input: spec.input_digest(),
        output: Digest::of(b"output"),
        outcome,
        profile: Profile::Deterministic,
        meter: MeterId([3; 32]),
        engine: "wasmtime 48.0.8".to_owned(),
        usage,
        gpu: None,
        times: NodeTimes { started: TIME, fetch_us: 200, compile_us: 0, run_us: 1_500_000 },
        price,
        cost: price.cost(&usage).unwrap(),
        salt: Some(spec.salt),
    };
    let finished = Outcome::Finished { exit_code: 0 };
    let cut = Receipt { output: Digest::of(b""), ..receipt(2, 1, Outcome::Preempted, cut_short) };
    let mut receipts = sign_receipts(&node, vec![receipt(1, 1, finished, usage), cut]);
    receipts.extend(sign_receipts(&node, vec![receipt(2, 2, finished, usage)]));
    receipts
}

/// A job that reads more than its standard input.
fn with_named_input() -> JobSpec {
    let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
    spec.add_input("weights".parse().unwrap(), BlobRef::of(b"1234567"));
    spec
}

/// A log with a leaf of each kind.
pub(crate) fn ledger(receipts: &[SignedReceipt]) -> Ledger {
    let (gateway, customer, owner) = (key(9).public(), key(2).public(), key(4).public());
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
    let (job, other, retried) = (receipts[0].receipt.job, JobId([0x0b; 16]), receipts[1].receipt.job);
    let hold = |job| Operation::Hold(Hold { job, customer, amount: Microcredits(2_000), expires: UnixMillis(TIME.0 + 1) });
    let entry = |n: usize| {
        let receipt = receipts[n].clone().verify().unwrap();
        Box::new(Entry { receipt, settled: TIME, reason: String::new(), output: None, queue_us: 0, rtt_us: 0 })
    };
    let operations = [
        Operation::State(Terms { gateway, fee_ppm: 50_000, time: TIME }),
        Operation::Grant(Grant { id: TransferId([0x1d; 16]), customer, amount: Microcredits(1_000_000), time: TIME }),
        hold(job),
        Operation::Settle(entry(0)),
        hold(other),
        Operation::Void { job: other, customer, reason: VoidReason::Cancelled, time: TIME },
        Operation::Payout(Payout { id: TransferId([0x2d; 16]), owner, amount: Microcredits(1_000), time: TIME }),
        hold(retried),
        Operation::Attempt(entry(1)),
        hold(retried),
        Operation::Settle(entry(2)),
    ];
    let done = ledger.apply(&operations).unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert!(matches!(done.last(), Some(Ok(Applied::Settled(Appended::New { index: 6 })))));
    ledger
}

/// Each vector by its name.
fn vectors() -> Vec<(String, String)> {
    let (gateway, receipts) = (key(9), receipts());
    let ledger = ledger(&receipts);
    let (reader, head) = (ledger.reader(), ledger.tree());
    let leaves = reader.leaves(0, 16).unwrap();
    let mut rows = vec![
        ("receipt".to_owned(), lines(&receipts[0].receipt.to_bytes())),
        ("named inputs".to_owned(), lines(&with_named_input().input_digest().0)),
        ("public receipt".to_owned(), lines(&receipts[0].receipt.public().to_bytes())),
        ("batch proof".to_owned(), lines(&receipts[0].to_bytes()[receipts[0].receipt.to_bytes().len()..])),
        ("cost".to_owned(), format!("{}\n", receipts[0].receipt.cost.0)),
    ];
    for (leaf, name) in leaves.iter().zip(["terms", "grant", "settlement", "void", "payout", "attempt", "second settlement"]) {
        rows.push((format!("{name} leaf"), lines(leaf)));
        rows.push((format!("{name} leaf hash"), lines(&tlog_tiles::record_hash(leaf).0)));
    }
    rows.push(("root".to_owned(), lines(&head.root)));
    rows.push(("log key".to_owned(), format!("{}\n", log_verifier_key(&gateway.public()))));
    let checkpoint = sign_checkpoint(&gateway, &head);
    rows.push(("checkpoint".to_owned(), String::from_utf8(checkpoint.clone()).unwrap()));
    let witness = Cosigner::new("witness.example", key(5)).unwrap();
    rows.push(("witness key".to_owned(), format!("{}\n", witness.key())));
    let cosignature = witness.cosign(&checkpoint, UnixSeconds(1_800_000_000)).unwrap();
    let checkpoint = with_cosignatures(&checkpoint, [cosignature.line.as_str()]);
    let hashes = reader.prove_leaf(2, head.size).unwrap().unwrap();
    let proof = LogProof { extra: leaves[2].clone(), index: 2, hashes, checkpoint };
    rows.push(("proof".to_owned(), String::from_utf8(proof.to_bytes()).unwrap()));
    rows
}

/// Hexadecimal, 32 bytes a line.
fn lines(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| hex::encode(line) + "\n").collect()
}

/// The document with these blocks, each behind the line that names it.
fn with_vectors(document: &str, vectors: &[(String, String)]) -> String {
    let mut document = document.to_owned();
    for (name, text) in vectors {
        let mark = format!("<!-- vector: {name} -->\n```text\n");
        let start = document.find(&mark).unwrap_or_else(|| panic!("no place for the vector `{name}`")) + mark.len();
        let end = start + document[start..].find("```\n").unwrap();
        document.replace_range(start..end, text);
    }
    assert_eq!(document.matches("<!-- vector:").count(), vectors.len(), "a vector that nobody computes");
    document
}

#[test]
fn document_has_the_bytes_that_are_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receipt-format.md");
    let document = fs::read_to_string(&path).unwrap();
    let due = with_vectors(&document, &vectors());
    if std::env::var_os("ADIT_BLESS").is_some() {
        fs::write(&path, &due).unwrap();
        return;
    }
    assert!(document == due, "docs/receipt-format.md has other bytes than are written; ADIT_BLESS=1 writes them anew");
}

#[test]
fn vectors_are_read_and_hold() {
    let vectors = vectors();
    let of = |name: &str| vectors.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let bytes = |name: &str| hex::decode(of(name).replace('\n', "")).unwrap();
    let receipt = SignedReceipt::from_bytes(&[bytes("receipt"), bytes("batch proof")].concat()).unwrap();
    receipt.clone().verify().unwrap();
    let public = SignedReceipt::from_bytes(&[bytes("public receipt"), bytes("batch proof")].concat()).unwrap();
    assert_eq!(receipt.public(), public);
    public.clone().verify().unwrap();
    let Leaf::Settlement(settled) = Leaf::from_bytes(&bytes("settlement leaf")).unwrap() else { panic!("another leaf") };
    assert_eq!((settled.receipt, settled.fee), (public, Microcredits(75)));
    let Leaf::Attempt(cut) = Leaf::from_bytes(&bytes("attempt leaf")).unwrap() else { panic!("another leaf") };
    cut.receipt.clone().verify().unwrap();
    assert_eq!(cut.receipt.receipt.outcome, Outcome::Preempted);
    let parts = |settled: &Settled| [settled.held, settled.receipt.receipt.cost, settled.fee, settled.left()].map(|part| part.0);
    assert_eq!(parts(&cut), [2_000, 501, 25, 1_499]);
    let Leaf::Settlement(next) = Leaf::from_bytes(&bytes("second settlement leaf")).unwrap() else { panic!("another leaf") };
    assert_eq!((next.receipt.receipt.job, parts(&next)), (cut.receipt.receipt.job, [2_000, 1_501, 75, 499]));

    let gateway = key(9).public();
    assert_eq!(verify_checkpoint(of("checkpoint").as_bytes(), &gateway).unwrap().root.as_slice(), bytes("root"));
    let proof = LogProof::from_bytes(of("proof").as_bytes()).unwrap();
    let head = proof.verify(&bytes("settlement leaf")).unwrap();
    assert_eq!((head.size, head.root.as_slice()), (7, bytes("root").as_slice()));
    let policy = format!("witness w {}quorum w\n", of("witness key"));
    let policy = Policy::from_bytes(policy.as_bytes()).unwrap().for_log(log_key(&gateway));
    assert_eq!(policy.check(&proof.checkpoint).unwrap().witnesses.len(), 1);
}
