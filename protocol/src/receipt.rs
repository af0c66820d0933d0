use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::batch::{BatchError, BatchProof, KnownTree, prove_batch};
use crate::frame::{decode_exact, is_written_as, take, take_array};
use crate::limits::BATCH_LEAVES_MAX;
use crate::{
    Attempt, Digest, FrameError, GpuRun, JobId, JobSpec, MeterId, Microcredits, Outcome, Price, PriceError, Profile, PublicKey,
    Salt, SecretKey, Signature, UnixMillis, Usage,
};

/// What a node's signature over a receipt is for.
const RECEIPT_DOMAIN: &str = "adit receipt v5";
/// What a gateway's signature over a settlement is for.
const SETTLEMENT_DOMAIN: &str = "adit settlement v1";

/// One finished attempt: what ran, for whom, where, how it ended, what it used and what that costs.
///
/// Canonical bytes are the postcard encoding of the fields in this order; other encodings of the same values are refused. A node signs
/// the [public form](Receipt::public), so that its signature can be checked by those who must not know what was read and written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The job.
    pub job: JobId,
    /// Which try of it.
    pub attempt: Attempt,
    /// Who asked for it and pays.
    pub client: PublicKey,
    /// Who ran it and is paid.
    pub node: PublicKey,
    /// Who placed it.
    pub gateway: PublicKey,
    /// [`JobSpec::digest`] of what was asked.
    pub spec: Digest,
    /// The module that ran.
    pub module: Digest,
    /// What it read, [`JobSpec::input_digest`]; in the public form, a [commitment](Salt::commit_input) to that.
    pub input: Digest,
    /// What it wrote; in the public form, a commitment to that.
    pub output: Digest,
    /// How it ended.
    pub outcome: Outcome,
    /// Which promises the run kept; only `deterministic` receipts can be re-computed.
    pub profile: Profile,
    /// What a unit of fuel meant.
    pub meter: MeterId,
    /// The engine that ran it, such as `wasmtime 48.0.8`. Informative: it must not change the bill.
    pub engine: String,
    /// What it used.
    pub usage: Usage,
    /// What it did with a GPU; nothing where it was given none.
    pub gpu: Option<GpuRun>,
    /// What the node's clocks saw. Not billed.
    pub times: NodeTimes,
    /// What the node asked.
    pub price: Price,
    /// [`Price::cost`] of the usage.
    pub cost: Microcredits,
    /// What the commitments of the public form are made with: the specification's. The public form has none.
    pub salt: Option<Salt>,
}

/// What a node's clocks saw of an attempt. Measured, so never part of a bill.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTimes {
    /// When the lease arrived, by the node's wall clock.
    pub started: UnixMillis,
    /// Microseconds until module and input were there.
    pub fetch_us: u64,
    /// Microseconds of compilation, 0 where the module was known.
    pub compile_us: u64,
    /// Microseconds that the guest ran.
    pub run_us: u64,
}

/// A receipt with its node's signature, direct or by its batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReceipt {
    /// What is said.
    pub receipt: Receipt,
    /// That its node says it.
    pub proof: BatchProof,
}

/// A receipt whose signature and cost hold. Made only by [`SignedReceipt::verify`], so that nothing else can be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    signed: SignedReceipt,
    /// What the node signed: the ledger writes it down as it is.
    statement: Vec<u8>,
}

/// A receipt that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The signature or its batch path is wrong.
    #[error("receipt of job {job}: {error}")]
    Batch {
        /// The job that the receipt names.
        job: JobId,
        /// What is wrong.
        error: BatchError,
    },
    /// The cost is not what the price makes of the usage.
    #[error("receipt of job {job}: costs {claimed:?} by its own word, {computed:?} by its price and usage")]
    Cost {
        /// The job that the receipt names.
        job: JobId,
        /// What the receipt says.
        claimed: Microcredits,
        /// What the formula says.
        computed: Result<Microcredits, PriceError>,
    },
    /// The bytes are not the canonical encoding of a receipt.
    #[error("not a receipt: {0}")]
    Encoding(#[from] FrameError),
}

/// A receipt that is about something other than was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("receipt of job {job}: its {field} is not what was leased")]
pub struct ReceiptMismatch {
    /// The job that the receipt names.
    pub job: JobId,
    /// The field at fault.
    pub field: &'static str,
}

impl Receipt {
    /// The canonical bytes: postcard, fields in declaration order.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a receipt always encodes")
    }

    /// What everybody may read, and what the node signs: input and output are commitments, and the salt is left out. The public form of
    /// a public form is itself.
    pub fn public(&self) -> Self {
        match self.salt {
            Some(salt) => Self {
                input: salt.commit_input(&self.input),
                output: salt.commit_output(&self.output),
                salt: None,
                ..self.clone()
            },
            None => self.clone(),
        }
    }

    /// Takes a receipt from the front of `bytes`, as its derived decoding would: the fields in their order, those that are bytes as they
    /// stand, which are most of a receipt.
    fn take(bytes: &mut &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            job: JobId(take_array(bytes)?),
            attempt: take(bytes)?,
            client: PublicKey(take_array(bytes)?),
            node: PublicKey(take_array(bytes)?),
            gateway: PublicKey(take_array(bytes)?),
            spec: Digest(take_array(bytes)?),
            module: Digest(take_array(bytes)?),
            input: Digest(take_array(bytes)?),
            output: Digest(take_array(bytes)?),
            outcome: take(bytes)?,
            profile: take(bytes)?,
            meter: MeterId(take_array(bytes)?),
            engine: take(bytes)?,
            usage: take(bytes)?,
            gpu: take(bytes)?,
            times: take(bytes)?,
            price: take(bytes)?,
            cost: take(bytes)?,
            salt: take(bytes)?,
        })
    }

    /// The statement that the node signs.
    fn statement(&self) -> Vec<u8> {
        if self.salt.is_some() { self.public().to_bytes() } else { self.to_bytes() }
    }
}

/// Signs `receipts` as one batch, in order.
///
/// # Panics
/// As [`prove_batch`], where there are none or too many.
pub fn sign_receipts(key: &SecretKey, receipts: Vec<Receipt>) -> Vec<SignedReceipt> {
    let statements: Vec<Vec<u8>> = receipts.iter().map(Receipt::statement).collect();
    let proofs = prove_batch(key, RECEIPT_DOMAIN, &statements);
    receipts.into_iter().zip(proofs).map(|(receipt, proof)| SignedReceipt { receipt, proof }).collect()
}

impl SignedReceipt {
    /// Takes a receipt with its proof from the front of `bytes`, as its derived decoding would.
    pub(crate) fn take(bytes: &mut &[u8]) -> Result<Self, FrameError> {
        Ok(Self { receipt: Receipt::take(bytes)?, proof: BatchProof::take(bytes)? })
    }

    /// The bytes that are stored and written to receipt files: postcard.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a receipt always encodes")
    }

    /// Reads what [`SignedReceipt::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`VerifyError::Encoding`] for anything but the one canonical encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VerifyError> {
        let receipt: Self = decode_exact(bytes)?;
        if !is_written_as(&receipt, bytes) {
            return Err(VerifyError::Encoding(FrameError::NotCanonical));
        }
        Ok(receipt)
    }

    /// What everybody may read of it, with the same proof.
    pub fn public(&self) -> Self {
        Self { receipt: self.receipt.public(), proof: self.proof.clone() }
    }

    /// The digest that a settlement names.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Checks the node's signature and the cost formula.
    ///
    /// # Errors
    /// [`VerifyError`] says which of the two is wrong.
    pub fn verify(self) -> Result<VerifiedReceipt, VerifyError> {
        self.verify_with(&mut KnownRoots::default())
    }

    /// As [`SignedReceipt::verify`], without checking a signature again that another receipt of the same batch brought before.
    ///
    /// # Errors
    /// As [`SignedReceipt::verify`].
    pub fn verify_with(self, known: &mut KnownRoots) -> Result<VerifiedReceipt, VerifyError> {
        let statement = self.receipt.statement();
        self.check_statement(&statement, known)?;
        Ok(VerifiedReceipt { signed: self, statement })
    }

    /// As [`SignedReceipt::verify_with`], for those who settle nothing.
    ///
    /// # Errors
    /// As [`SignedReceipt::verify`].
    pub fn check_with(&self, known: &mut KnownRoots) -> Result<(), VerifyError> {
        self.check_statement(&self.receipt.statement(), known)
    }

    /// As [`SignedReceipt::check_with`], where the receipt's statement stands somewhere already.
    pub(crate) fn check_statement(&self, statement: &[u8], known: &mut KnownRoots) -> Result<(), VerifyError> {
        let receipt = &self.receipt;
        debug_assert_eq!(statement, receipt.statement());
        known
            .vouch(RECEIPT_DOMAIN, &receipt.node, statement, &self.proof)
            .map_err(|error| VerifyError::Batch { job: receipt.job, error })?;
        let computed = receipt.price.cost(&receipt.usage);
        if computed != Ok(receipt.cost) {
            return Err(VerifyError::Cost { job: receipt.job, claimed: receipt.cost, computed });
        }
        Ok(())
    }
}

/// Batch roots whose signature was checked not long ago: the statements of one batch come close to each other, and checking their one
/// signature once is enough. Holds the last [`KnownRoots::CAPACITY`], so that batches of several signers may interleave.
#[derive(Debug, Default)]
pub struct KnownRoots(VecDeque<Vouched>);

/// A signer's word for a root under a domain. The signature is part of it: it is stored with the statement and checked again by others,
/// so another one for the same root must be checked too.
#[derive(Debug)]
struct Vouched {
    domain: &'static str,
    signer: PublicKey,
    signature: Signature,
    tree: KnownTree,
}

impl KnownRoots {
    /// Roots that are remembered.
    pub const CAPACITY: usize = 16;

    fn vouch(
        &mut self,
        domain: &'static str,
        signer: &PublicKey,
        statement: &[u8],
        proof: &BatchProof,
    ) -> Result<(), BatchError> {
        let is_claimed = |known: &Vouched| (known.domain, &known.signer, &known.signature) == (domain, signer, &proof.signature);
        // The newest first: the next statement is most likely of the same batch as the last.
        if self.0.iter_mut().rev().any(|known| is_claimed(known) && known.tree.has(proof, statement)) {
            return Ok(());
        }
        let mut tree = KnownTree::new(proof.verify(signer, domain, statement)?);
        tree.has(proof, statement);
        if self.0.len() == Self::CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(Vouched { domain, signer: *signer, signature: proof.signature, tree });
        Ok(())
    }
}

impl VerifiedReceipt {
    /// The receipt.
    pub fn receipt(&self) -> &Receipt {
        &self.signed.receipt
    }

    /// The receipt with its proof.
    pub fn signed(&self) -> &SignedReceipt {
        &self.signed
    }

    /// The canonical bytes of the receipt's public form, which its node signed.
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// Checks that the receipt is about `spec`, and that its usage is within the limits that were asked.
    ///
    /// # Errors
    /// [`ReceiptMismatch`] names the first field that is not.
    pub fn check_spec(&self, spec: &JobSpec) -> Result<(), ReceiptMismatch> {
        let r = self.receipt();
        let rows = [
            ("specification digest", r.spec == spec.digest()),
            ("module", r.module == spec.module.digest),
            ("input", r.input == spec.input_digest()),
            ("profile", r.profile == spec.profile),
            ("fuel", r.usage.fuel <= spec.limits.fuel),
            ("peak memory", r.usage.memory_peak <= spec.limits.memory),
            ("memory-fuel", r.usage.memory_fuel <= u128::from(spec.limits.memory.0) * u128::from(r.usage.fuel.0)),
            ("input bytes", r.usage.bytes_in <= spec.bytes_in()),
            ("output bytes", r.usage.bytes_out <= spec.limits.output),
            ("GPU time", r.usage.gpu_ns <= spec.limits.gpu_ns),
            ("outcome", spec.gpu.is_some() || !matches!(r.outcome, Outcome::OutOfGpuTime | Outcome::GpuLost)),
            ("GPU", r.gpu.as_ref().map(|run| spec.gpu.is_some_and(|need| run.is_within(&need))) == spec.gpu.map(|_| true)),
            ("GPU time at its end", r.outcome != Outcome::OutOfGpuTime || r.usage.gpu_ns == spec.limits.gpu_ns),
            ("salt", r.salt == Some(spec.salt)),
            ("cost", spec.max_price.is_none_or(|max| r.cost <= max)),
        ];
        match rows.into_iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(ReceiptMismatch { job: r.job, field }),
            None => Ok(()),
        }
    }
}

/// The gateway's word that a receipt is stored for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The gateway that gives it.
    pub gateway: PublicKey,
    /// The job.
    pub job: JobId,
    /// [`SignedReceipt::digest`] of the receipt.
    pub receipt: Digest,
    /// The index of its leaf in the gateway's log.
    pub index: u64,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
}

/// A settlement with its gateway's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedSettlement {
    /// What is said.
    pub settlement: Settlement,
    /// That its gateway says it.
    pub proof: BatchProof,
}

/// Signs `settlements`, in batches of at most [`BATCH_LEAVES_MAX`], in order.
pub fn sign_settlements(key: &SecretKey, settlements: &[Settlement]) -> Vec<SignedSettlement> {
    let mut signed = Vec::with_capacity(settlements.len());
    for batch in settlements.chunks(BATCH_LEAVES_MAX) {
        let statements: Vec<Vec<u8>> = batch.iter().map(Settlement::bytes).collect();
        let proofs = prove_batch(key, SETTLEMENT_DOMAIN, &statements);
        signed.extend(batch.iter().zip(proofs).map(|(settlement, proof)| SignedSettlement { settlement: *settlement, proof }));
    }
    signed
}

impl Settlement {
    fn bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a settlement always encodes")
    }
}

impl SignedSettlement {
    /// Checks that the named gateway signed this settlement, and that it is about `receipt`.
    ///
    /// # Errors
    /// [`VerifyError`] where the signature is wrong; a settlement of another receipt is a wrong signature for this one.
    pub fn verify(&self, receipt: &SignedReceipt) -> Result<(), VerifyError> {
        self.verify_with(receipt, &mut KnownRoots::default())
    }

    /// As [`SignedSettlement::verify`], without checking a signature again that another settlement of the same batch brought before.
    ///
    /// # Errors
    /// As [`SignedSettlement::verify`].
    pub fn verify_with(&self, receipt: &SignedReceipt, known: &mut KnownRoots) -> Result<(), VerifyError> {
        let s = &self.settlement;
        let error = |error| VerifyError::Batch { job: s.job, error };
        if s.receipt != receipt.digest() || s.job != receipt.receipt.job || s.gateway != receipt.receipt.gateway {
            return Err(error(BatchError::Signature));
        }
        known.vouch(SETTLEMENT_DOMAIN, &s.gateway, &s.bytes(), &self.proof).map_err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GPU_CLASS_BYTES_MAX;
    use crate::{BlobRef, ByteCount, Comparison, Fuel, GpuNeed, PaidKind, Tolerance};

    fn spec() -> JobSpec {
        JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"))
    }

    fn receipt(node: &SecretKey) -> Receipt {
        let spec = spec();
        let usage = Usage { fuel: Fuel(60_000_000), memory_peak: ByteCount(65_536), ..Usage::default() };
        let price = Price { per_compute_minute: 1_000, ..Price::default() };
        Receipt {
            job: JobId([1; 16]),
            attempt: Attempt(1),
            client: PublicKey([2; 32]),
            node: node.public(),
            gateway: SecretKey::from_seed([9; 32]).public(),
            spec: spec.digest(),
            module: spec.module.digest,
            input: spec.input.digest,
            output: Digest::of(b"output"),
            outcome: Outcome::Finished { exit_code: 0 },
            profile: Profile::Deterministic,
            meter: MeterId([3; 32]),
            engine: "wasmtime 48.0.8".into(),
            usage,
            gpu: None,
            times: NodeTimes::default(),
            price,
            cost: price.cost(&usage).unwrap(),
            salt: Some(spec.salt),
        }
    }

    fn signed() -> SignedReceipt {
        let node = SecretKey::from_seed([4; 32]);
        sign_receipts(&node, vec![receipt(&node)]).remove(0)
    }

    #[test]
    fn signed_receipt_verifies_and_survives_its_bytes() {
        let read = SignedReceipt::from_bytes(&signed().to_bytes()).unwrap();
        assert_eq!(read, signed());
        read.verify().unwrap().check_spec(&spec()).unwrap();
    }

    #[test]
    fn public_form_verifies_and_names_neither_input_nor_output() {
        let receipt = signed();
        let public = receipt.public();
        assert_eq!(SignedReceipt::from_bytes(&public.to_bytes()).unwrap().verify().unwrap().signed(), &public);
        assert_eq!((public.public(), public.receipt.salt), (public.clone(), None));
        for secret in [&receipt.receipt.input.0, &receipt.receipt.output.0] {
            assert!(!public.to_bytes().windows(32).any(|bytes| bytes == secret));
        }
        // Whoever knows the salt can open a commitment, and no other value fits.
        assert_eq!(public.receipt.input, spec().salt.commit_input(&spec().input.digest));
        let claimed = Receipt { input: Digest::of(b"another"), ..receipt.receipt.clone() };
        assert!(SignedReceipt { receipt: claimed, ..receipt }.verify().is_err());
        assert_eq!(public.verify().unwrap().check_spec(&spec()).unwrap_err().field, "input");
    }

    #[test]
    fn any_changed_byte_is_rejected() {
        let bytes = signed().to_bytes();
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            let verdict = SignedReceipt::from_bytes(&bad).and_then(SignedReceipt::verify);
            assert!(verdict.is_err(), "byte {i} of {}", bytes.len());
        }
    }

    #[test]
    fn truncated_and_prolonged_receipts_are_rejected() {
        let bytes = signed().to_bytes();
        for n in 0..bytes.len() {
            assert!(SignedReceipt::from_bytes(&bytes[..n]).is_err(), "{n} bytes");
        }
        assert!(SignedReceipt::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn receipt_with_wrong_domain_is_rejected() {
        let node = SecretKey::from_seed([4; 32]);
        let receipt = receipt(&node);
        let proof = prove_batch(&node, SETTLEMENT_DOMAIN, &[receipt.statement()]).remove(0);
        let error = SignedReceipt { receipt, proof }.verify().unwrap_err();
        assert!(matches!(error, VerifyError::Batch { error: BatchError::Signature, .. }), "{error}");
    }

    #[test]
    fn known_root_vouches_for_its_own_batch_only() {
        let node = SecretKey::from_seed([4; 32]);
        let second = Receipt { attempt: Attempt(2), ..receipt(&node) };
        let batch = sign_receipts(&node, vec![receipt(&node), second]);
        let mut known = KnownRoots::default();
        for signed in batch.clone() {
            signed.verify_with(&mut known).unwrap();
        }
        let mut altered = batch[0].clone();
        altered.receipt.usage.host_calls = 7;
        assert!(altered.verify_with(&mut known).is_err());
        let mut unsigned = batch[1].clone();
        unsigned.proof.signature = signed().proof.signature;
        assert!(unsigned.verify_with(&mut known).is_err());
        batch[1].clone().verify_with(&mut known).unwrap();
    }

    /// The others of a batch make its root, and each receipt's own path must lead there all the same.
    #[test]
    fn receipt_whose_own_path_is_wrong_is_refused_amid_its_batch() {
        let node = SecretKey::from_seed([4; 32]);
        let attempts = (0..BATCH_LEAVES_MAX as u32).map(|n| Receipt { attempt: Attempt(n), ..receipt(&node) });
        let batch = sign_receipts(&node, attempts.collect());
        for wrong in [0, 1, 31, 62, 63] {
            for at in 0..6 {
                let mut known = KnownRoots::default();
                for (n, mut signed) in batch.iter().cloned().enumerate() {
                    if n == wrong {
                        signed.proof.path[at][0] ^= 1;
                        let (alone, amid) = (signed.clone().verify(), signed.verify_with(&mut known));
                        assert_eq!((alone.is_err(), &amid), (true, &alone), "{wrong}: {at}");
                    } else {
                        signed.verify_with(&mut known).unwrap();
                    }
                }
            }
        }
    }

    /// Settlements of receipts with short and long numbers and texts, in batches of several sizes.
    fn settlements() -> Vec<crate::Settled> {
        let node = SecretKey::from_seed([4; 32]);
        let mut all = Vec::new();
        for size in [1, 2, 5, BATCH_LEAVES_MAX] {
            let vary = |n| {
                let n: u32 = n as u32;
                let usage = Usage { host_calls: u64::MAX >> n, ..receipt(&node).usage };
                let engine = "e".repeat(5 * n as usize);
                let outcome = Outcome::Finished { exit_code: n as i32 - 1 };
                let gpu = (!n.is_multiple_of(3)).then(gpu_run);
                Receipt { attempt: Attempt(n << 3), engine, outcome, usage, gpu, ..receipt(&node).public() }
            };
            all.extend(sign_receipts(&node, (0..size).map(vary).collect()));
        }
        let settle = |(receipt, n): (SignedReceipt, u64)| crate::Settled {
            receipt,
            held: Microcredits(u64::MAX >> (n % 64)),
            fee: Microcredits(1 << (n % 64)),
            time: UnixMillis(n * n),
        };
        all.into_iter().zip(0..).map(settle).collect()
    }

    #[test]
    fn leaf_has_exactly_the_statement_of_its_receipt() {
        for settled in settlements() {
            for leaf in [crate::Leaf::Settlement, crate::Leaf::Attempt] {
                let bytes = leaf(Box::new(settled.clone())).to_bytes();
                assert_eq!(settled.statement_in(&bytes), settled.receipt.receipt.to_bytes());
            }
        }
    }

    #[test]
    fn leaf_of_a_verified_receipt_is_written_as_any_other() {
        let (node, price) = (SecretKey::from_seed([4; 32]), Price { per_compute_minute: 1_000, ..Price::default() });
        let salted =
            (0..3).map(|n| Receipt { price, attempt: Attempt(1 + 200 * n), salt: Some(Salt([7; 32])), ..receipt(&node) });
        let public =
            (0..130).map(|n| (n, receipt(&node).public())).map(|(n, receipt)| Receipt { attempt: Attempt(n), ..receipt });
        for receipts in [salted.collect(), public.clone().take(1).collect(), public.take(BATCH_LEAVES_MAX).collect::<Vec<_>>()] {
            for (receipt, n) in sign_receipts(&node, receipts).into_iter().zip(0..) {
                let (held, fee, time) = (Microcredits(u64::MAX >> n), Microcredits(1 << n), UnixMillis(n * n));
                let settled = Box::new(crate::Settled { receipt: receipt.public(), held, fee, time });
                let receipt = receipt.verify().unwrap();
                for (kind, leaf) in [
                    (PaidKind::Settlement, crate::Leaf::Settlement(settled.clone())),
                    (PaidKind::Attempt, crate::Leaf::Attempt(settled.clone())),
                ] {
                    assert_eq!(crate::Leaf::paid_bytes(kind, &receipt, held, fee, time), leaf.to_bytes());
                }
            }
        }
    }

    /// Whatever the bytes, also those that nobody would write and such as end too early, and to the same error.
    #[test]
    fn leaf_is_read_as_its_derived_decoding_reads_it() {
        let check = |bytes: &[u8]| assert_eq!(crate::Leaf::decode(bytes), decode_exact(bytes), "{bytes:x?}");
        for (n, settled) in settlements().into_iter().step_by(7).enumerate() {
            let leaf = [crate::Leaf::Settlement, crate::Leaf::Attempt][n % 2];
            let bytes = &leaf(Box::new(settled)).to_bytes()[1..];
            assert!(crate::Leaf::decode(bytes).is_ok());
            for at in 0..bytes.len() {
                check(&bytes[..at]);
                for flip in [0x01, 0x02, 0x80, 0xff] {
                    let mut changed = bytes.to_vec();
                    changed[at] ^= flip;
                    check(&changed);
                }
                // A number's last byte is followed by one that adds nothing.
                check(&[&bytes[..at], &[bytes[at] | 0x80, 0], &bytes[at + 1..]].concat());
                // Whatever stands here is said to be longer than there are bytes in the world.
                check(&[&bytes[..at], &[0xff; 9], &[0x01], &bytes[at + 1..]].concat());
            }
            check(&[bytes, &[0]].concat());
        }
    }

    #[test]
    fn leaf_that_is_checked_as_it_is_read_is_found_what_it_is() {
        for (n, settled) in settlements().into_iter().step_by(13).enumerate() {
            let leaf = [crate::Leaf::Settlement, crate::Leaf::Attempt][n % 2];
            let good = leaf(Box::new(settled)).to_bytes();
            for at in 0..good.len() {
                let mut bytes = good.clone();
                bytes[at] ^= 1;
                let apart = crate::Leaf::from_bytes(&bytes).map(|leaf| {
                    let Some(settled) = leaf.paid() else { return (leaf, Ok(())) };
                    let checked = settled.receipt.clone().verify().map(drop);
                    (leaf, checked)
                });
                assert_eq!(crate::Leaf::from_bytes_checked(&bytes, &mut KnownRoots::default()), apart, "byte {at}");
            }
            assert_eq!(crate::Leaf::from_bytes_checked(&good, &mut KnownRoots::default()).unwrap().1, Ok(()));
        }
    }

    #[test]
    fn receipt_that_asks_more_than_its_price_is_rejected() {
        let node = SecretKey::from_seed([4; 32]);
        let mut dear = receipt(&node);
        dear.cost.0 += 1;
        let error = sign_receipts(&node, vec![dear]).remove(0).verify().unwrap_err();
        assert!(matches!(error, VerifyError::Cost { .. }), "{error}");
    }

    #[test]
    fn receipt_over_its_limits_is_told_from_its_job() {
        let node = SecretKey::from_seed([4; 32]);
        type Change = fn(&mut Receipt);
        let rows: [(&str, Change); 10] = [
            ("fuel", |r| r.usage.fuel = Fuel(10_000_000_001)),
            ("peak memory", |r| r.usage.memory_peak = ByteCount((256 << 20) + 1)),
            ("module", |r| r.module = Digest([0; 32])),
            ("profile", |r| r.profile = Profile::Open),
            ("output bytes", |r| r.usage.bytes_out = ByteCount(u64::MAX >> 8)),
            ("GPU time", |r| r.usage.gpu_ns = 1),
            ("GPU", |r| r.gpu = Some(gpu_run())),
            ("outcome", |r| r.outcome = Outcome::OutOfGpuTime),
            ("outcome", |r| r.outcome = Outcome::GpuLost),
            ("salt", |r| r.salt = Some(Salt([1; 32]))),
        ];
        for (field, change) in rows {
            let mut changed = receipt(&node);
            change(&mut changed);
            changed.cost = changed.price.cost(&changed.usage).unwrap();
            let verified = sign_receipts(&node, vec![changed]).remove(0).verify().unwrap();
            assert_eq!(verified.check_spec(&spec()).unwrap_err().field, field);
        }
    }

    fn gpu_run() -> GpuRun {
        let (bytes_moved, memory_peak) = (ByteCount(u64::MAX), ByteCount(256 << 20));
        GpuRun { class: "gl/mesa/iris".into(), comparison: Comparison::Class, dispatches: 1 << 20, bytes_moved, memory_peak }
    }

    #[test]
    fn receipt_over_what_its_job_needs_of_a_gpu_is_told() {
        let node = SecretKey::from_seed([4; 32]);
        let mut spec = JobSpec { gpu: Some(GpuNeed::default()), ..spec() };
        spec.limits.gpu_ns = 300;
        type Change = fn(&mut Receipt, &mut GpuRun);
        let rows: [(Option<&str>, Change); 11] = [
            (None, |_, _| {}),
            (None, |r, _| r.outcome = Outcome::GpuLost),
            (None, |r, _| (r.outcome, r.usage.gpu_ns) = (Outcome::OutOfGpuTime, 300)),
            (None, |_, run| run.comparison = Comparison::Exact),
            (Some("GPU time"), |r, _| r.usage.gpu_ns = 301),
            (Some("GPU"), |_, run| run.dispatches += 1),
            (Some("GPU"), |_, run| run.memory_peak.0 += 1),
            (Some("GPU"), |_, run| run.class = "x".repeat(GPU_CLASS_BYTES_MAX + 1)),
            (Some("GPU"), |_, run| {
                run.comparison = Comparison::Tolerance(Tolerance { absolute_e9: 0, relative_e9: 0 });
            }),
            (None, |_, run| run.class = "x".repeat(GPU_CLASS_BYTES_MAX)),
            (Some("GPU"), |r, _| r.gpu = None),
        ];
        for (row, (field, change)) in rows.into_iter().enumerate() {
            let (mut changed, mut run) = (Receipt { spec: spec.digest(), gpu: Some(gpu_run()), ..receipt(&node) }, gpu_run());
            change(&mut changed, &mut run);
            changed.gpu = changed.gpu.map(|_| run);
            changed.cost = changed.price.cost(&changed.usage).unwrap();
            let verified = sign_receipts(&node, vec![changed]).remove(0).verify().unwrap();
            assert_eq!(verified.check_spec(&spec).err().map(|error| error.field), field, "row {row}");
        }
    }

    #[test]
    fn receipt_over_the_clients_price_limit_is_told() {
        let node = SecretKey::from_seed([4; 32]);
        let mut spec = spec();
        let mut receipt = receipt(&node);
        for (max, holds) in [(receipt.cost.0, true), (receipt.cost.0 - 1, false)] {
            spec.max_price = Some(Microcredits(max));
            receipt.spec = spec.digest();
            let verified = sign_receipts(&node, vec![receipt.clone()]).remove(0).verify().unwrap();
            assert_eq!(verified.check_spec(&spec).is_ok(), holds);
        }
    }

    #[test]
    fn settlement_is_bound_to_its_receipt_and_gateway() {
        let gateway = SecretKey::from_seed([9; 32]);
        let receipt = signed();
        let settlement = Settlement {
            gateway: gateway.public(),
            job: receipt.receipt.job,
            receipt: receipt.digest(),
            index: 7,
            time: UnixMillis(1),
        };
        let good = sign_settlements(&gateway, &[settlement]).remove(0);
        good.verify(&receipt).unwrap();

        let mut moved = good.clone();
        moved.settlement.index = 8;
        assert!(moved.verify(&receipt).is_err());
        let forged = sign_settlements(&SecretKey::from_seed([8; 32]), &[settlement]).remove(0);
        assert!(forged.verify(&receipt).is_err());
        let mut other = receipt.clone();
        other.receipt.usage.fuel.0 += 1;
        assert!(good.verify(&other).is_err());
    }
}
