//! What a key may know of its own account, its receipts' proofs among it, read from the ledger.

use adit_ledger::{Account, Reader, StoreError, UnpaidPage};
use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{Answer, Attempt, HoldStatus, JobId, JobSpec, Leaf, LeafBytes, Microcredits, PublicKey, Settled, UnixMillis};
use adit_tlog::{LogProof, Published};

use crate::core::fitting_page;
use crate::job::Past;

/// What the ledger knows of a job that has no settlement: its paid attempts, and what they cost.
pub(crate) fn past(ledger: &Reader, job: JobId, spec: &JobSpec) -> Result<Past, StoreError> {
    let mut past = Past::default();
    for (attempt, index) in ledger.attempts(job)? {
        past.last_attempt = past.last_attempt.max(attempt.0);
        if let Some(Ok(Leaf::Attempt(settled))) = ledger.leaf(index)?.map(|bytes| Leaf::from_bytes(&bytes)) {
            let receipt = &settled.receipt.receipt;
            past.paid.0 = past.paid.0.saturating_add(receipt.cost.0);
            let cost_max = receipt.price.cost_max(&spec.limits, spec.bytes_in().0).unwrap_or(Microcredits(u64::MAX));
            past.dearest = past.dearest.max(cost_max);
        }
    }
    Ok(past)
}

/// The leaves about `key`, as a customer and as an owner.
pub(crate) fn statement(ledger: &Reader, key: PublicKey, from: u64, limit: u32) -> Result<Answer, StoreError> {
    let limit = (limit as usize).min(ANSWER_ROWS_MAX);
    let mut indexes = Vec::new();
    for account in [Account::Customer(key), Account::Owner(key)] {
        indexes.extend(ledger.statement(account, from, limit + 1)?);
    }
    indexes.sort_unstable();
    // A job that a node ran for its own owner concerns both accounts.
    indexes.dedup();
    let beyond = indexes.get(limit).copied();
    indexes.truncate(limit);
    let mut rows = Vec::with_capacity(indexes.len());
    for index in indexes {
        if let Some(leaf) = ledger.leaf(index)? {
            rows.push((index, LeafBytes(leaf)));
        }
    }
    let (rows, next) = fitting_page(rows, beyond);
    Ok(Answer::Statement { rows, next })
}

/// What is held of a customer's credits, behind the hold that ends then and is for that job.
pub(crate) fn holds(ledger: &Reader, key: PublicKey, behind: Option<(UnixMillis, JobId)>) -> Result<Answer, StoreError> {
    let own = ledger.holds()?.into_iter().filter(|hold| hold.customer == key);
    let own = own.filter(|hold| behind.is_none_or(|last| (hold.expires, hold.job) > last));
    let mut holds: Vec<HoldStatus> =
        own.map(|hold| HoldStatus { job: hold.job, amount: hold.amount, expires: hold.expires }).collect();
    holds.sort_by_key(|hold| (hold.expires, hold.job));
    holds.truncate(ANSWER_ROWS_MAX);
    Ok(Answer::Holds(holds))
}

/// The attempts of a node that were not paid.
pub(crate) fn unpaid(ledger: &Reader, key: PublicKey, from: u64, limit: u32) -> Result<Answer, StoreError> {
    let UnpaidPage { rows, next } = ledger.unpaid(&key, from, (limit as usize).min(ANSWER_ROWS_MAX))?;
    let (rows, next) = fitting_page(rows, next);
    Ok(Answer::Unpaid { rows, next })
}

/// The proof that a job's settlement is under the last checkpoint, for the two whose job it is.
pub(crate) fn proof(ledger: &Reader, published: &Published, key: PublicKey, job: JobId) -> Result<Answer, StoreError> {
    match ledger.job(job)? {
        Some(stored) => prove(ledger, published, key, stored.index),
        None => Ok(Answer::Proof(None)),
    }
}

/// As [`proof`], of one paid attempt at a job, whether that settled it or not.
pub(crate) fn attempt_proof(
    ledger: &Reader,
    published: &Published,
    key: PublicKey,
    job: JobId,
    attempt: Attempt,
) -> Result<Answer, StoreError> {
    if let Some((_, index)) = ledger.attempts(job)?.into_iter().find(|(paid, _)| *paid == attempt) {
        return prove(ledger, published, key, index);
    }
    match ledger.job(job)?.filter(|stored| stored.receipt.receipt.attempt == attempt) {
        Some(stored) => prove(ledger, published, key, stored.index),
        None => Ok(Answer::Proof(None)),
    }
}

/// The proof that the leaf at `index`, which pays a receipt, is under the last checkpoint; nothing for others than its client and its node.
fn prove(ledger: &Reader, published: &Published, key: PublicKey, index: u64) -> Result<Answer, StoreError> {
    let misplaced = || Answer::Unavailable(format!("leaf {index} is not where its checkpoint says"));
    let Some(leaf) = ledger.leaf(index)? else { return Ok(misplaced()) };
    let is_theirs = |paid: &Settled| [paid.receipt.receipt.client, paid.receipt.receipt.node].contains(&key);
    if !Leaf::from_bytes(&leaf).is_ok_and(|leaf| leaf.paid().is_some_and(is_theirs)) {
        return Ok(Answer::Proof(None));
    }
    let Some(checkpoint) = published.get().filter(|checkpoint| checkpoint.head.size > index) else {
        return Ok(Answer::Unavailable(format!("leaf {index} is not under a checkpoint yet; ask again in a second")));
    };
    let Some(hashes) = ledger.prove_leaf(index, checkpoint.head.size)? else { return Ok(misplaced()) };
    let proof = LogProof { extra: leaf, index, hashes, checkpoint: checkpoint.note.to_vec() };
    Ok(Answer::Proof(Some(String::from_utf8_lossy(&proof.to_bytes()).into_owned())))
}

#[cfg(test)]
mod tests {
    use adit_ledger::{Entry, Hold, Ledger, Operation};
    use adit_protocol::{
        BlobRef, Fuel, Grant, MeterId, NodeTimes, Outcome, Price, Receipt, SecretKey, SignedReceipt, Terms, TransferId, Usage,
        sign_receipts,
    };
    use adit_tlog::{PublishedCheckpoint, sign_checkpoint, verify_checkpoint};
    use redb::backends::InMemoryBackend;

    use super::*;

    const CLIENT: PublicKey = PublicKey([2; 32]);
    const JOB: JobId = JobId([1; 16]);
    const TIME: UnixMillis = UnixMillis(1_000);

    fn gateway() -> SecretKey {
        SecretKey::from_seed([9; 32])
    }

    fn receipt(attempt: u32, outcome: Outcome) -> SignedReceipt {
        let node = SecretKey::from_seed([4; 32]);
        let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        let usage = Usage { fuel: Fuel(60_000_000), ..Usage::default() };
        let price = Price { per_compute_minute: 1_000, ..Price::default() };
        let receipt = Receipt {
            job: JOB,
            attempt: Attempt(attempt),
            client: CLIENT,
            node: node.public(),
            gateway: gateway().public(),
            spec: spec.digest(),
            module: spec.module.digest,
            input: spec.input_digest(),
            output: BlobRef::of(b"output").digest,
            outcome,
            profile: spec.profile,
            meter: MeterId([3; 32]),
            engine: "wasmtime".into(),
            usage,
            gpu: None,
            times: NodeTimes::default(),
            price,
            cost: price.cost(&usage).unwrap(),
            salt: Some(spec.salt),
        };
        sign_receipts(&node, vec![receipt]).remove(0)
    }

    fn entry(receipt: &SignedReceipt) -> Box<Entry> {
        let receipt = receipt.clone().verify().unwrap();
        Box::new(Entry { receipt, settled: TIME, reason: String::new(), output: None, queue_us: 0, rtt_us: 0 })
    }

    /// A ledger in which the client has credits, with these operations.
    fn ledger(operations: impl IntoIterator<Item = Operation>) -> Ledger {
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway().public()).unwrap();
        let terms = Operation::State(Terms { gateway: gateway().public(), fee_ppm: 0, time: TIME });
        let amount = Microcredits(1_000_000);
        let grant = Operation::Grant(Grant { id: TransferId([1; 16]), customer: CLIENT, amount, time: TIME });
        let done = ledger.apply(&[terms, grant].into_iter().chain(operations).collect::<Vec<_>>()).unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        ledger
    }

    fn hold(job: JobId, expires: UnixMillis) -> Operation {
        Operation::Hold(Hold { job, customer: CLIENT, amount: Microcredits(1_000), expires })
    }

    /// Of an attempt that was paid and did not end its job there was no proof.
    #[test]
    fn each_paid_attempt_is_proven_to_the_two_whose_it_is() {
        let receipts = [receipt(1, Outcome::Cancelled), receipt(2, Outcome::Finished { exit_code: 0 })];
        let [lost, ended] = receipts.each_ref().map(entry);
        let ledger = ledger([hold(JOB, TIME), Operation::Attempt(lost), Operation::Settle(ended)]);
        let (reader, head, published) = (ledger.reader(), ledger.tree(), Published::default());
        let ask = |key, attempt| attempt_proof(reader, &published, key, JOB, Attempt(attempt)).unwrap();
        assert!(matches!(ask(CLIENT, 1), Answer::Unavailable(_)), "no checkpoint yet");

        published.set(PublishedCheckpoint { head, note: sign_checkpoint(&gateway(), &head).into() });
        for (receipt, ends_job) in receipts.iter().zip([false, true]) {
            for key in [CLIENT, receipt.receipt.node] {
                let Answer::Proof(Some(text)) = ask(key, receipt.receipt.attempt.0) else { panic!("no proof") };
                let proof = LogProof::from_bytes(text.as_bytes()).unwrap();
                let leaf = Leaf::from_bytes(&proof.extra).unwrap();
                assert_eq!(leaf.paid().unwrap().receipt, receipt.public());
                assert_eq!(matches!(leaf, Leaf::Settlement(_)), ends_job);
                assert_eq!(verify_checkpoint(&proof.checkpoint, &gateway().public()).unwrap(), head);
                assert_eq!(proof.hashes, reader.prove_leaf(proof.index, head.size).unwrap().unwrap());
            }
            assert_eq!(ask(PublicKey([7; 32]), receipt.receipt.attempt.0), Answer::Proof(None));
        }
        assert_eq!(ask(CLIENT, 3), Answer::Proof(None));
        assert_eq!(proof(reader, &published, CLIENT, JOB).unwrap(), ask(CLIENT, 2), "the job's own is that of its end");
        assert_eq!(proof(reader, &published, PublicKey([7; 32]), JOB).unwrap(), Answer::Proof(None));
    }

    #[test]
    fn holds_are_told_page_by_page() {
        let count = ANSWER_ROWS_MAX + 3;
        let id = |n: usize| JobId([(n >> 8) as u8, n as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // Many end at one moment, and those with smaller ids end later.
        let ledger = ledger((0..count).map(|n| hold(id(n), UnixMillis(5_000 - (n / 150) as u64))));
        let page = |behind| match holds(ledger.reader(), CLIENT, behind).unwrap() {
            Answer::Holds(holds) => holds,
            other => panic!("{other:?}"),
        };
        let mut told = page(None);
        assert_eq!(told.len(), ANSWER_ROWS_MAX);
        told.extend(page(told.last().map(|hold| (hold.expires, hold.job))));
        let places: Vec<_> = told.iter().map(|hold| (hold.expires, hold.job)).collect();
        assert!(places.is_sorted() && places.len() == count, "{places:?}");
        assert_eq!(page(places.last().copied()), []);
    }
}
