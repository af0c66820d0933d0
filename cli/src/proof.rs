//! A receipt with its settlement in a file: what a client keeps, and what `adit verify` reads.

use std::io::{self, Write};
use std::path::Path;

use adit_protocol::{JobId, SignedReceipt, SignedSettlement, decode_exact};
use adit_tlog::LogProof;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::exit::{ProofError, usage};
use crate::sink::{Sink, is_device};
use crate::verify;

/// The version of receipt files.
const VERSION: u32 = 1;

/// The largest receipt file that is read: a receipt is under 2 KiB, and an object of `adit run --json` around it a little more.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The file of the receipt at this leaf where another receipt of its job has the file that it would be in.
pub(crate) fn second_name(job: JobId, index: u64) -> String {
    format!("{job}.leaf-{index}.receipt")
}

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
        self.settlement.as_ref().map(|s| hex::encode(settlement_bytes(s)))
    }

    /// With what `stored`, a file's content, has of the same receipt, so that the file can be written anew and loses no promise and no proof.
    /// Nothing where one file cannot have both: `stored` is of another receipt, or the promises or the proofs of both name two leaves.
    pub(crate) fn joined_with(self, stored: Self) -> Option<Self> {
        let promised = |proof: &Self| proof.settlement.as_ref().map(|signed| signed.settlement.index);
        let differ = |of: fn(&Self) -> Option<u64>| of(&self).zip(of(&stored)).is_some_and(|(new, old)| new != old);
        if self.receipt != stored.receipt || differ(promised) || differ(Self::leaf) {
            return None;
        }
        // The newer checkpoint may have more cosignatures.
        let log = if self.is_logged() { self.log } else { stored.log.or(self.log) };
        Some(Self { receipt: self.receipt, settlement: stored.settlement.or(self.settlement), log })
    }

    /// Whether its proof in the log is there and holds.
    fn is_logged(&self) -> bool {
        self.log.is_some() && verify::fault(&Self { settlement: None, ..self.clone() }).is_none()
    }

    /// The index that its proof in the log names; nothing where there is none, or it is no proof.
    pub(crate) fn leaf(&self) -> Option<u64> {
        self.log.as_ref().and_then(|text| LogProof::from_bytes(text.as_bytes()).ok()).map(|proof| proof.index)
    }

    /// Writes the file with what it has of this receipt already, and gives what it then has. Nothing where what is there cannot stand in one
    /// file with this, or is no receipt file: it is left as it is.
    pub(crate) fn save_joined(self, path: &Path) -> anyhow::Result<Option<Self>> {
        let is_there = path.try_exists().with_context(|| path.display().to_string())?;
        let joined = match is_there.then(|| Self::load(path)) {
            None => Some(self),
            Some(Ok(stored)) => self.joined_with(stored),
            Some(Err(error)) if error.is::<ProofError>() => None,
            Some(Err(error)) => return Err(error),
        };
        if let Some(joined) = &joined {
            joined.write(path)?;
        }
        Ok(joined)
    }

    /// Writes the file, or into the pipe. What a file that is there proves beyond this stays, and so does one of the same job that was paid by
    /// another receipt: the job ran twice, and where this one is paid too, it has a file of its own beside that, `JOB.leaf-INDEX.receipt`.
    ///
    /// # Errors
    /// Where the file cannot be written, or has another word of the gateway's about this very receipt; both are kept then.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        // To read from a pipe is to wait for ever: its other end may be ours.
        let stored = if is_device(path) { None } else { Self::load(path).ok() };
        let Some(stored) = stored else { return self.write(path) };
        let job = self.receipt.receipt.job;
        let is_same = self.receipt == stored.receipt;
        if let Some(joined) = self.clone().joined_with(stored.clone()) {
            return joined.write(path);
        }
        if !is_same && (job != stored.receipt.receipt.job || stored.index().is_none()) {
            return self.write(path);
        }
        let Some(index) = self.index() else { return Ok(()) };
        let second = path.with_file_name(second_name(job, index));
        let (path, beside) = (path.display(), second.display());
        if self.clone().save_joined(&second)?.is_none() {
            bail!(ProofError(format!("{path} and {beside} hold other receipts; that of job {job}, leaf {index}, is not kept")));
        }
        if is_same {
            bail!(ProofError(format!("{path} has another word of the gateway's about this receipt; this one is in {beside}")));
        }
        tracing::warn!("{path} holds another paid receipt of this job and is left as it is; this one is in {beside}");
        Ok(())
    }

    /// The index of its leaf in the log, as it is proven or else promised.
    fn index(&self) -> Option<u64> {
        self.leaf().or(self.settlement.as_ref().map(|signed| signed.settlement.index))
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let (receipt, settlement, log_proof) = (Some(self.receipt_hex()), self.settlement_hex(), self.log.clone());
        let form = Form { version: VERSION, receipt, settlement, log_proof };
        let mut text = serde_json::to_vec(&form).context("a receipt file always encodes")?;
        text.push(b'\n');
        let mut writer = Sink::File(path.to_owned()).open()?;
        writer.write_all(&text).with_context(|| format!("cannot write {}", path.display()))?;
        writer.commit()
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
            Some(text) => Some(settlement_from_bytes(&from_hex(&text)?)?),
            None => None,
        };
        Ok(Self { receipt, settlement, log: form.log_proof })
    }
}

fn settlement_bytes(settlement: &SignedSettlement) -> Vec<u8> {
    postcard::to_allocvec(settlement).expect("a settlement always encodes")
}

fn settlement_from_bytes(bytes: &[u8]) -> Result<SignedSettlement, String> {
    let settlement = decode_exact(bytes).map_err(|e| format!("not a settlement: {e}"))?;
    // Postcard reads numbers that are longer than they must be.
    if settlement_bytes(&settlement) == bytes {
        Ok(settlement)
    } else {
        Err("not a settlement: it is written in another way".to_owned())
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|e| format!("not hexadecimal: {e}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use adit_ledger::{Entry, Hold, Ledger, Operation};
    use adit_protocol::{
        Attempt, BlobRef, ByteCount, Fuel, Grant, JobId, JobSpec, MeterId, Microcredits, NodeTimes, Outcome, Price, PublicKey,
        Receipt, SecretKey, Settlement, Terms, TransferId, UnixMillis, Usage, sign_receipts, sign_settlements,
    };
    use adit_tlog::{Cosigner, UnixSeconds, sign_checkpoint, with_cosignatures};
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
        // Of another job it takes the place, and so where it is paid and the other is not.
        let elsewhere = Receipt { job: JobId([7; 16]), ..good().receipt.receipt };
        let elsewhere = sign_receipts(&SecretKey::from_seed([4; 32]), vec![elsewhere]).remove(0);
        let other = Proof { receipt: elsewhere, settlement: None, log: None };
        assert_eq!(save(other.clone()), other);
        assert_eq!(save(bare(partial())), bare(partial()));
        assert_eq!(save(good()), good());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// A gateway that went back to an older ledger has a job run and paid again, and what proved the first payment was written over.
    #[test]
    fn each_paid_receipt_of_a_job_and_each_word_about_one_has_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.receipt");
        let second = |index| dir.path().join(second_name(good().receipt.receipt.job, index));
        good().save(&path).unwrap();
        let again = Proof { settlement: good().settlement, ..partial() };
        // Once more changes nothing.
        for _ in 0..2 {
            again.save(&path).unwrap();
            assert_eq!((Proof::load(&path).unwrap(), Proof::load(&second(7)).unwrap()), (good(), again.clone()));
        }
        let mut third = partial().receipt.receipt;
        third.attempt = Attempt(3);
        let third = sign_receipts(&SecretKey::from_seed([4; 32]), vec![third]).remove(0);
        let third = Proof { receipt: third, ..again.clone() };
        assert!(third.save(&path).unwrap_err().is::<ProofError>());
        assert_eq!((Proof::load(&path).unwrap(), Proof::load(&second(7)).unwrap()), (good(), again));

        let mut moved = Proof { log: None, ..good() };
        moved.settlement.as_mut().unwrap().settlement.index = 8;
        let proven = Proof { settlement: None, log: Some(log_proof(&good().receipt, 9)), ..good() };
        for (word, index) in [(moved, 8), (proven, 9)] {
            let told = word.save(&path).unwrap_err();
            assert!(told.is::<ProofError>() && told.to_string().contains("another word"), "{told}");
            assert_eq!((Proof::load(&path).unwrap(), Proof::load(&second(index)).unwrap()), (good(), word));
        }
    }

    /// What is there was read first, which of a pipe that is open here never ends.
    #[test]
    fn receipt_is_written_into_a_pipe() {
        let (mut reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        good().save(Path::new(&path)).unwrap();
        drop(writer);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert_eq!(Proof::from_json(&text).unwrap(), good());
    }

    /// Proofs were written over promises, and nothing over both.
    #[test]
    fn file_loses_no_promise_and_no_proof_of_its_receipt() {
        let bare = || Proof { settlement: None, log: None, ..good() };
        let promised = || Proof { log: None, ..good() };
        let proven = || Proof { settlement: None, ..good() };
        let rows = [
            (bare(), bare(), bare()),
            (bare(), good(), good()),
            (good(), bare(), good()),
            (proven(), promised(), good()),
            (promised(), proven(), good()),
        ];
        for (new, stored, want) in rows {
            assert_eq!(new.joined_with(stored), Some(want));
        }
        // A newer proof takes the place of an older, and nothing else does.
        let mut cosigned = LogProof::from_bytes(good().log.unwrap().as_bytes()).unwrap();
        let witness = Cosigner::new("witness.example", SecretKey::from_seed([5; 32])).unwrap();
        let line = witness.cosign(&cosigned.checkpoint, UnixSeconds(1)).unwrap().line;
        cosigned.checkpoint = with_cosignatures(&cosigned.checkpoint, [line.as_str()]);
        let newer = Proof { log: Some(String::from_utf8(cosigned.to_bytes()).unwrap()), ..bare() };
        assert_eq!(newer.clone().joined_with(good()), Some(Proof { log: newer.log, ..good() }));
        let bad = || Proof { log: Some("no proof".into()), ..promised() };
        assert_eq!((proven().joined_with(bad()), bad().joined_with(good())), (Some(good()), Some(good())));
        // A promise and a proof that name two leaves are evidence together.
        let moved = Proof { log: Some(log_proof(&good().receipt, 8)), ..bare() };
        assert_eq!(moved.clone().joined_with(promised()), Some(Proof { log: moved.log.clone(), ..good() }));
    }

    #[test]
    fn what_cannot_stand_in_one_file_leaves_it_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.receipt");
        let moved = Proof { settlement: None, log: Some(log_proof(&good().receipt, 8)), ..good() };
        let mut again = Proof { log: None, ..good() };
        again.settlement.as_mut().unwrap().settlement.index = 8;
        for other in [partial(), moved, again] {
            assert_eq!(Proof { settlement: None, ..good() }.save_joined(&path).unwrap().unwrap().leaf(), Some(7));
            assert_eq!(Proof { log: None, ..good() }.save_joined(&path).unwrap(), Some(good()));
            assert_eq!(other.save_joined(&path).unwrap(), None);
            assert_eq!(Proof::load(&path).unwrap(), good());
        }
        std::fs::write(&path, "no receipt").unwrap();
        assert_eq!(good().save_joined(&path).unwrap(), None);
        assert_eq!(std::fs::read(&path).unwrap(), b"no receipt");
    }

    #[test]
    fn settlement_has_one_encoding() {
        let bytes = settlement_bytes(&good().settlement.unwrap());
        assert_eq!(settlement_from_bytes(&bytes).unwrap(), good().settlement.unwrap());
        // Behind gateway, job and receipt stands the index, 7.
        let at = 32 + 16 + 32;
        assert_eq!(bytes[at], 7);
        let padded = [&bytes[..at], &[0x87, 0], &bytes[at + 1..]].concat();
        assert_eq!(decode_exact::<SignedSettlement>(&padded).unwrap(), good().settlement.unwrap());
        assert!(settlement_from_bytes(&padded).unwrap_err().contains("written in another way"));
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
