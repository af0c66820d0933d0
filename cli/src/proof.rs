//! A receipt with its settlement in a file: what a client keeps, and what `adit verify` reads.

use std::io;
use std::path::Path;

use adit_protocol::{SignedReceipt, SignedSettlement, decode_exact};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::exit::{ProofError, usage};
use crate::sink::AtomicFile;

/// The version of receipt files.
const VERSION: u32 = 1;

/// The largest receipt file that is read: a receipt is under 2 KiB, and an object of `adit run --json` around it a little more.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A receipt, and the gateway's word that it is stored for good, where that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) receipt: SignedReceipt,
    pub(crate) settlement: Option<SignedSettlement>,
    /// That it stands in the gateway's public log: a C2SP tlog-proof, with the leaf as its extra data.
    pub(crate) log: Option<String>,
}

/// The file's form. An object of `adit run --json` has these fields too, so it can be verified as well.
#[derive(Debug, Serialize, Deserialize)]
struct Form {
    #[serde(default = "present_version")]
    version: u32,
    receipt: Option<String>,
    settlement: Option<String>,
    #[serde(default)]
    log_proof: Option<String>,
}

fn present_version() -> u32 {
    VERSION
}

impl Proof {
    /// The receipt's bytes in hexadecimal.
    pub(crate) fn receipt_hex(&self) -> String {
        hex::encode(self.receipt.to_bytes())
    }

    /// The settlement's bytes in hexadecimal: postcard, as on the wire.
    pub(crate) fn settlement_hex(&self) -> Option<String> {
        self.settlement.as_ref().map(|s| hex::encode(postcard::to_allocvec(s).expect("a settlement always encodes")))
    }

    /// Writes the file. What one that is there proves beyond this stays.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        match Self::load(path) {
            Ok(stored) => self.clone().joined_with(stored).write(path),
            Err(_) => self.write(path),
        }
    }

    /// The better proof of two, or both where they are about the same receipt.
    fn joined_with(self, stored: Self) -> Self {
        if self.receipt == stored.receipt {
            let (settlement, log) = (self.settlement.or(stored.settlement), self.log.or(stored.log));
            return Self { settlement, log, ..self };
        }
        // The job ran twice, and was settled by the other receipt.
        let is_of_same_job = self.receipt.receipt.job == stored.receipt.receipt.job;
        if is_of_same_job && self.settlement.is_none() && stored.settlement.is_some() { stored } else { self }
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let (receipt, settlement, log_proof) = (Some(self.receipt_hex()), self.settlement_hex(), self.log.clone());
        let form = Form { version: VERSION, receipt, settlement, log_proof };
        let mut text = serde_json::to_vec(&form).context("a receipt file always encodes")?;
        text.push(b'\n');
        AtomicFile::write(path, &text)
    }

    /// Reads a file, or an object of `adit run --json`. What is read is not verified.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let unreadable = |error: io::Error| usage(format!("{}: {error}", path.display()));
        let bytes = path.metadata().map_err(unreadable)?.len();
        if bytes > FILE_BYTES_MAX {
            bail!(ProofError(format!("{}: {bytes} bytes are too many for a receipt", path.display())));
        }
        let text = std::fs::read(path).map_err(unreadable)?;
        Self::from_json(&text).map_err(|reason| ProofError(format!("{}: {reason}", path.display())).into())
    }

    fn from_json(text: &[u8]) -> Result<Self, String> {
        let form: Form = serde_json::from_slice(text).map_err(|e| format!("not a receipt file: {e}"))?;
        if form.version != VERSION {
            return Err(format!("version {} of receipt files is not known here; version {VERSION} is", form.version));
        }
        let receipt = form.receipt.ok_or("it holds no receipt")?;
        let receipt = SignedReceipt::from_bytes(&from_hex(&receipt)?).map_err(|e| e.to_string())?;
        let settlement = match form.settlement {
            Some(text) => Some(decode_exact(&from_hex(&text)?).map_err(|e| format!("not a settlement: {e}"))?),
            None => None,
        };
        Ok(Self { receipt, settlement, log: form.log_proof })
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|e| format!("not hexadecimal: {e}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use adit_ledger::{Entry, Hold, Ledger, Operation};
    use adit_protocol::{
        Attempt, BlobRef, ByteCount, Fuel, Grant, JobId, JobSpec, MeterId, Microcredits, NodeTimes, Outcome, Price, PublicKey,
        Receipt, SecretKey, Settlement, Terms, TransferId, UnixMillis, Usage, sign_receipts, sign_settlements,
    };
    use adit_tlog::{LogProof, sign_checkpoint};
    use redb::backends::InMemoryBackend;

    use super::*;

    /// The key of every gateway in this crate's unit tests.
    pub(crate) fn gateway() -> SecretKey {
        SecretKey::from_seed([9; 32])
    }

    /// A proof that holds.
    pub(crate) fn good() -> Proof {
        let node = SecretKey::from_seed([4; 32]);
        let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        let usage = Usage { fuel: Fuel(60_000_000), memory_peak: ByteCount(65_536), ..Usage::default() };
        let price = Price { per_compute_minute: 1_000, ..Price::default() };
        let receipt = Receipt {
            job: JobId([1; 16]),
            attempt: Attempt(1),
            client: PublicKey([2; 32]),
            node: node.public(),
            gateway: gateway().public(),
            spec: spec.digest(),
            module: spec.module.digest,
            input: spec.input_digest(),
            output: BlobRef::of(b"output").digest,
            outcome: Outcome::Finished { exit_code: 0 },
            profile: spec.profile,
            meter: MeterId([3; 32]),
            engine: "wasmtime 48.0.8".into(),
            usage,
            gpu: None,
            times: NodeTimes { run_us: 1_240_000, ..NodeTimes::default() },
            price,
            cost: price.cost(&usage).unwrap(),
            salt: Some(spec.salt),
        };
        let receipt = sign_receipts(&node, vec![receipt]).remove(0);
        let settlement = Settlement {
            gateway: gateway().public(),
            job: receipt.receipt.job,
            receipt: receipt.digest(),
            index: 7,
            time: UnixMillis(1_000),
        };
        let settlement = sign_settlements(&gateway(), &[settlement]).remove(0);
        let log = Some(log_proof(&receipt, 7));
        Proof { receipt, settlement: Some(settlement), log }
    }

    /// The receipt of an attempt that its node's owner cut short, as a client is given it: without a promise.
    pub(crate) fn partial() -> Proof {
        let receipt = Receipt { attempt: Attempt(2), outcome: Outcome::Preempted, ..good().receipt.receipt };
        let receipt = sign_receipts(&SecretKey::from_seed([4; 32]), vec![receipt]).remove(0);
        Proof { receipt, settlement: None, log: None }
    }

    /// A log in which `receipt` is the leaf of this index, and the last.
    pub(crate) fn log_proof(receipt: &SignedReceipt, index: u64) -> String {
        log_proof_by(receipt, index, Operation::Settle)
    }

    /// As [`log_proof`], with the receipt paid by such an operation.
    pub(crate) fn log_proof_by(receipt: &SignedReceipt, index: u64, pay: fn(Box<Entry>) -> Operation) -> String {
        let (key, time) = (gateway(), UnixMillis(1_000));
        let gateway = key.public();
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
        let customer = receipt.receipt.client;
        let grant = |n: u64| Grant { id: TransferId([n as u8; 16]), customer, amount: Microcredits(1_000_000), time };
        let terms = Operation::State(Terms { gateway, fee_ppm: 0, time });
        let held = receipt.receipt.cost;
        let hold = Hold { job: receipt.receipt.job, customer, amount: held, expires: time };
        let entry = Entry {
            receipt: receipt.clone().verify().unwrap(),
            settled: time,
            reason: String::new(),
            output: None,
            queue_us: 0,
            rtt_us: 0,
        };
        let grants = (1..index).map(|n| Operation::Grant(grant(n)));
        let ends = [Operation::Hold(hold), pay(Box::new(entry))];
        let done = ledger.apply(&std::iter::once(terms).chain(grants).chain(ends).collect::<Vec<_>>()).unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        let (reader, head) = (ledger.reader(), ledger.tree());
        assert_eq!(head.size, index + 1);
        let proof = LogProof {
            extra: reader.leaf(index).unwrap().unwrap(),
            index,
            hashes: reader.prove_leaf(index, head.size).unwrap().unwrap(),
            checkpoint: sign_checkpoint(&key, &head),
        };
        String::from_utf8(proof.to_bytes()).unwrap()
    }

    #[test]
    fn receipt_file_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        for (name, proof) in [("whole", good()), ("bare", Proof { settlement: None, log: None, ..good() })] {
            let path = dir.path().join("receipts").join(name);
            proof.save(&path).unwrap();
            assert_eq!(Proof::load(&path).unwrap(), proof);
        }
    }

    /// A second `adit output` whose disk was full took the settlement away that the first had kept.
    #[test]
    fn what_a_file_proves_of_a_job_is_not_lost_by_a_later_save() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.receipt");
        let bare = |proof: Proof| Proof { settlement: None, log: None, ..proof };
        let save = |proof: Proof| {
            proof.save(&path).unwrap();
            Proof::load(&path).unwrap()
        };
        let unlogged = Proof { log: None, ..good() };
        assert_eq!(save(bare(good())), bare(good()));
        assert_eq!(save(unlogged.clone()), unlogged);
        // `adit receipts --save` has the log's proof and no settlement.
        assert_eq!(save(Proof { settlement: None, ..good() }), good());
        for lesser in [unlogged, bare(good()), bare(partial())] {
            assert_eq!(save(lesser), good());
        }
        // Of another job, or settled itself, it takes the place.
        let elsewhere = Receipt { job: JobId([7; 16]), ..good().receipt.receipt };
        let elsewhere = sign_receipts(&SecretKey::from_seed([4; 32]), vec![elsewhere]).remove(0);
        let other = Proof { receipt: elsewhere, settlement: None, log: None };
        assert_eq!(save(other.clone()), other);
        assert_eq!(save(good()), good());
        let settled = Proof { settlement: good().settlement, ..partial() };
        assert_eq!(save(settled.clone()), settled);
    }

    #[test]
    fn object_of_a_run_is_a_receipt_file_too() {
        let proof = good();
        let text = serde_json::json!({
            "job": "x", "outcome": "finished", "receipt": proof.receipt_hex(), "settlement": proof.settlement_hex(),
            "log_proof": proof.log,
        });
        assert_eq!(Proof::from_json(text.to_string().as_bytes()).unwrap(), proof);
    }

    #[test]
    fn what_is_no_receipt_says_why() {
        let rows = [
            ("", "not a receipt file"),
            ("{}", "it holds no receipt"),
            (r#"{"receipt":null,"settlement":null}"#, "it holds no receipt"),
            (r#"{"version":2,"receipt":"00"}"#, "version 2"),
            (r#"{"receipt":"0g"}"#, "not hexadecimal"),
            (r#"{"receipt":"00"}"#, "not a receipt"),
        ];
        for (text, want) in rows {
            let reason = Proof::from_json(text.as_bytes()).unwrap_err();
            assert!(reason.contains(want), "{text}: {reason}");
        }
    }
}
