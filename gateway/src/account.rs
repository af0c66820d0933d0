//! What a key may know of its own account, its receipts' proofs among it, read from the ledger.

use adit_ledger::{Account, Reader, StoreError, UnpaidPage};
use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{Answer, HoldStatus, JobId, JobSpec, Leaf, LeafBytes, Microcredits, PublicKey};
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

/// What is held of a customer's credits.
pub(crate) fn holds(ledger: &Reader, key: PublicKey) -> Result<Answer, StoreError> {
    let own = ledger.holds()?.into_iter().filter(|hold| hold.customer == key);
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
    let Some(stored) =
        ledger.job(job)?.filter(|stored| [stored.receipt.receipt.client, stored.receipt.receipt.node].contains(&key))
    else {
        return Ok(Answer::Proof(None));
    };
    let index = stored.index;
    let Some(checkpoint) = published.get().filter(|checkpoint| checkpoint.head.size > index) else {
        return Ok(Answer::Unavailable(format!("leaf {index} is not under a checkpoint yet; ask again in a second")));
    };
    let (Some(leaf), Some(hashes)) = (ledger.leaf(index)?, ledger.prove_leaf(index, checkpoint.head.size)?) else {
        return Ok(Answer::Unavailable(format!("leaf {index} is not where its checkpoint says")));
    };
    let proof = LogProof { extra: leaf, index, hashes, checkpoint: checkpoint.note.to_vec() };
    Ok(Answer::Proof(Some(String::from_utf8_lossy(&proof.to_bytes()).into_owned())))
}
