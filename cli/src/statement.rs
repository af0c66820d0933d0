//! What a gateway's ledger has about one key: the leaves of its log, read page by page and checked.

use std::collections::HashSet;
use std::fmt::Display;

use adit_client::Client;
use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{
    Answer, Attempt, JobId, Leaf, Microcredits, PublicKey, Query, Receipt, Settled, SignedReceipt, TransferId, UnixMillis,
    UnpaidAttempt,
};

use crate::exit::ProofError;
use crate::link::{ask, unexpected};

/// A leaf that concerns a key, with its index in the log.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) index: u64,
    pub(crate) leaf: Leaf,
}

/// Every leaf about the client's key, oldest first, from index `from` on.
///
/// # Errors
/// Where the gateway gives what is no leaf, what is not about this key, or a receipt that does not hold.
pub(crate) async fn facts(client: &Client, from: u64) -> anyhow::Result<Vec<Fact>> {
    let (mut told, mut facts, mut next) = (Told::of(client), Vec::new(), Some(from));
    while let Some(from) = next {
        let Answer::Statement { rows, next: after } =
            ask(client, Query::Statement { from, limit: ANSWER_ROWS_MAX as u32 }).await?
        else {
            return Err(unexpected(&Answer::Unavailable("something else".into())));
        };
        next = next_page(rows.last().map(|(index, _)| *index), after)?;
        for (index, bytes) in rows {
            let leaf = Leaf::from_bytes(&bytes.0).map_err(|error| wrong(index, error))?;
            told.take(index, from, &leaf).map_err(|error| wrong(index, error))?;
            facts.push(Fact { index, leaf });
        }
    }
    Ok(facts)
}

/// Where to go on behind a page whose last row has this number. A page without rows, or that leads back, would be asked for for ever.
pub(crate) fn next_page(last: Option<u64>, next: Option<u64>) -> anyhow::Result<Option<u64>> {
    match (last, next) {
        (_, None) => Ok(None),
        (Some(last), Some(next)) if last < next => Ok(Some(next)),
        (_, Some(next)) => Err(ProofError(format!("the gateway says to go on at {next}, and does not get ahead")).into()),
    }
}

/// What a gateway has told of its log, each leaf once and in order: a bill must not count one twice.
#[derive(Debug)]
pub(crate) struct Told {
    key: PublicKey,
    gateway: PublicKey,
    last: Option<u64>,
    settled: HashSet<JobId>,
    attempts: HashSet<(JobId, Attempt)>,
    ordered: HashSet<TransferId>,
}

impl Told {
    pub(crate) fn of(client: &Client) -> Self {
        Self::new(client.key(), client.gateway())
    }

    pub(crate) fn new(key: PublicKey, gateway: PublicKey) -> Self {
        let (settled, attempts, ordered) = Default::default();
        Self { key, gateway, last: None, settled, attempts, ordered }
    }

    /// Takes in the leaf at `index`, of those from `from` on.
    fn take(&mut self, index: u64, from: u64, leaf: &Leaf) -> Result<(), String> {
        self.take_index(index, from)?;
        check(leaf, &self.key, &self.gateway)?;
        if let Some(paid) = leaf.paid() {
            let receipt = &paid.receipt.receipt;
            if self.settled.contains(&receipt.job) {
                return Err("its job was settled in an earlier leaf".to_owned());
            }
            self.take_attempt(receipt)?;
        }
        let is_new = match leaf {
            Leaf::Settlement(settled) => self.settled.insert(settled.receipt.receipt.job),
            Leaf::Attempt(_) => true,
            Leaf::Grant(grant) => self.ordered.insert(grant.id),
            Leaf::Payout(payout) => self.ordered.insert(payout.id),
            Leaf::Void(_) | Leaf::Terms(_) => true,
        };
        if is_new { Ok(()) } else { Err("the same order stands in another leaf".to_owned()) }
    }

    /// Takes in the index of the next leaf, of those from `from` on.
    pub(crate) fn take_index(&mut self, index: u64, from: u64) -> Result<(), String> {
        if index < from || self.last.is_some_and(|last| index <= last) {
            return Err("the gateway told it out of order".to_owned());
        }
        self.last = Some(index);
        Ok(())
    }

    /// Takes in a receipt that the key paid for, told without its leaf.
    pub(crate) fn take_receipt(&mut self, signed: &SignedReceipt) -> Result<(), String> {
        check_receipt(signed, &self.gateway)?;
        if signed.receipt.client != self.key {
            return Err("another key paid for it".to_owned());
        }
        self.take_attempt(&signed.receipt)
    }

    fn take_attempt(&mut self, receipt: &Receipt) -> Result<(), String> {
        let is_new = self.attempts.insert((receipt.job, receipt.attempt));
        if is_new { Ok(()) } else { Err("the same attempt was paid in another leaf".to_owned()) }
    }
}

/// Every attempt of the client's key, as a node, that was not paid, oldest first.
pub(crate) async fn unpaid(client: &Client) -> anyhow::Result<Vec<UnpaidAttempt>> {
    let (mut attempts, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let (rows, after) = match ask(client, Query::Unpaid { from, limit: ANSWER_ROWS_MAX as u32 }).await? {
            Answer::Unpaid { rows, next } => (rows, next),
            other => return Err(unexpected(&other)),
        };
        next = next_page(rows.last().map(|(number, _)| *number), after)?;
        attempts.extend(rows.into_iter().map(|(_, attempt)| attempt));
    }
    Ok(attempts)
}

/// What is wrong with what the gateway told of a leaf.
pub(crate) fn wrong(index: u64, error: impl Display) -> anyhow::Error {
    ProofError(format!("leaf {index} of the gateway's log: {error}")).into()
}

/// A leaf is about the key, and a receipt in it holds and is this gateway's.
fn check(leaf: &Leaf, key: &PublicKey, gateway: &PublicKey) -> Result<(), String> {
    let concerns = match leaf {
        Leaf::Grant(grant) => grant.customer == *key,
        Leaf::Payout(payout) => payout.owner == *key,
        Leaf::Void(voided) => voided.customer == *key,
        Leaf::Settlement(paid) | Leaf::Attempt(paid) => [paid.receipt.receipt.client, paid.receipt.receipt.node].contains(key),
        Leaf::Terms(_) => false,
    };
    if !concerns {
        return Err("it is not about this key".to_owned());
    }
    let Some(paid) = leaf.paid() else { return Ok(()) };
    check_receipt(&paid.receipt, gateway)?;
    let receipt = &paid.receipt.receipt;
    if paid.fee > receipt.cost {
        return Err("the fee is more than the cost".to_owned());
    }
    if receipt.outcome.is_interim() && matches!(leaf, Leaf::Settlement(_)) {
        return Err("an attempt that was cut short does not end its job".to_owned());
    }
    Ok(())
}

/// A receipt holds and is this gateway's.
fn check_receipt(signed: &SignedReceipt, gateway: &PublicKey) -> Result<(), String> {
    match signed.clone().verify() {
        Ok(receipt) if receipt.receipt().gateway != *gateway => Err("the receipt is for another gateway".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What a node's owner gets of a paid attempt.
pub(crate) fn earned(settled: &Settled) -> Microcredits {
    Microcredits(settled.receipt.receipt.cost.0.saturating_sub(settled.fee.0))
}

/// Times from `since` on and before `until`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Period {
    pub(crate) since: Option<UnixMillis>,
    pub(crate) until: Option<UnixMillis>,
}

impl Period {
    pub(crate) fn holds(&self, time: UnixMillis) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// A sum that does not wrap.
pub(crate) fn total(amounts: impl Iterator<Item = Microcredits>) -> anyhow::Result<Microcredits> {
    let sum = amounts.map(|amount| u128::from(amount.0)).sum::<u128>();
    Ok(Microcredits(u64::try_from(sum).map_err(|_| anyhow::anyhow!("the sum, {sum} microcredits, does not fit 64 bits"))?))
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Grant, TransferId};

    use super::*;
    use crate::proof::tests::{good, partial};

    fn settled() -> Settled {
        let receipt = good().receipt.public();
        let cost = receipt.receipt.cost;
        Settled { receipt, held: cost, fee: Microcredits(0), time: UnixMillis(5) }
    }

    #[test]
    fn leaf_must_hold_and_be_about_the_key() {
        let settled = settled();
        let (client, node, gateway) =
            (settled.receipt.receipt.client, settled.receipt.receipt.node, settled.receipt.receipt.gateway);
        let leaf = Leaf::Settlement(Box::new(settled.clone()));
        assert_eq!((check(&leaf, &client, &gateway), check(&leaf, &node, &gateway)), (Ok(()), Ok(())));
        assert!(check(&leaf, &PublicKey([7; 32]), &gateway).unwrap_err().contains("not about this key"));
        let mut dear = settled.clone();
        dear.fee.0 = dear.receipt.receipt.cost.0 + 1;
        assert!(check(&Leaf::Settlement(Box::new(dear)), &client, &gateway).unwrap_err().contains("more than the cost"));
        let mut forged = settled;
        forged.receipt.receipt.usage.fuel.0 += 1;
        assert!(check(&Leaf::Settlement(Box::new(forged)), &client, &gateway).is_err());
        let grant = Grant { id: TransferId([1; 16]), customer: client, amount: Microcredits(1), time: UnixMillis(0) };
        assert_eq!(check(&Leaf::Grant(grant), &client, &gateway), Ok(()));
        assert!(check(&Leaf::Grant(grant), &node, &gateway).is_err());
    }

    #[test]
    fn leaf_is_counted_once_and_is_this_gateways() {
        let settled = settled();
        let (client, gateway) = (settled.receipt.receipt.client, settled.receipt.receipt.gateway);
        let leaf = Leaf::Settlement(Box::new(settled));
        let mut told = Told::new(client, gateway);
        told.take(4, 0, &leaf).unwrap();
        assert!(told.take(4, 0, &leaf).unwrap_err().contains("out of order"));
        assert!(told.take(3, 0, &leaf).unwrap_err().contains("out of order"));
        assert!(told.take(9, 10, &leaf).unwrap_err().contains("out of order"));
        assert!(told.take(400, 5, &leaf).unwrap_err().contains("settled in an earlier leaf"));
        let mut elsewhere = Told::new(client, PublicKey([1; 32]));
        assert!(elsewhere.take(4, 0, &leaf).unwrap_err().contains("another gateway"));
    }

    #[test]
    fn attempt_is_counted_once_and_before_its_job_is_settled() {
        let receipt = partial().receipt.public();
        let (client, gateway, held) = (receipt.receipt.client, receipt.receipt.gateway, receipt.receipt.cost);
        let cut = Settled { receipt, held, fee: Microcredits(0), time: UnixMillis(5) };
        let attempt = Leaf::Attempt(Box::new(cut.clone()));
        let settlement = Leaf::Settlement(Box::new(settled()));
        let mut told = Told::new(client, gateway);
        told.take(4, 0, &attempt).unwrap();
        assert!(told.take(5, 0, &attempt).unwrap_err().contains("paid in another leaf"));
        told.take(6, 0, &settlement).unwrap();
        let mut late = Told::new(client, gateway);
        late.take(4, 0, &settlement).unwrap();
        assert!(late.take(5, 0, &attempt).unwrap_err().contains("settled in an earlier leaf"));
        let mut twice = Told::new(client, gateway);
        twice.take(4, 0, &Leaf::Attempt(Box::new(settled()))).unwrap();
        assert!(twice.take(5, 0, &settlement).unwrap_err().contains("paid in another leaf"));
        let ended = check(&Leaf::Settlement(Box::new(cut)), &client, &gateway);
        assert!(ended.unwrap_err().contains("does not end its job"));
    }

    /// They were listed as paid for, whosever they were and as often as they came.
    #[test]
    fn receipt_is_counted_once_and_is_the_keys_and_this_gateways() {
        let mut receipt = good().receipt;
        let (client, gateway) = (receipt.receipt.client, receipt.receipt.gateway);
        let mut told = Told::new(client, gateway);
        told.take_receipt(&receipt).unwrap();
        // Another attempt at the same job.
        told.take_receipt(&partial().receipt).unwrap();
        assert!(told.take_receipt(&receipt).unwrap_err().contains("paid in another leaf"));
        assert!(Told::new(PublicKey([7; 32]), gateway).take_receipt(&receipt).unwrap_err().contains("another key paid"));
        assert!(Told::new(client, PublicKey([1; 32])).take_receipt(&receipt).unwrap_err().contains("another gateway"));
        receipt.receipt.usage.fuel.0 += 1;
        let mut fresh = Told::new(client, gateway);
        assert!(fresh.take_receipt(&receipt).is_err());
        // One that does not hold takes no place.
        fresh.take_receipt(&good().receipt).unwrap();
    }

    #[test]
    fn page_leads_on_or_is_the_last() {
        for (last, next) in [(None, None), (Some(7), None), (Some(7), Some(8)), (Some(7), Some(u64::MAX))] {
            assert_eq!(next_page(last, next).unwrap(), next);
        }
        for (last, next) in [(None, 1), (Some(7), 7), (Some(7), 0)] {
            assert!(next_page(last, Some(next)).unwrap_err().is::<ProofError>(), "{last:?} {next}");
        }
    }

    #[test]
    fn period_has_its_beginning_and_not_its_end() {
        let period = Period { since: Some(UnixMillis(5)), until: Some(UnixMillis(7)) };
        let held: Vec<u64> = (4..9).filter(|ms| period.holds(UnixMillis(*ms))).collect();
        assert_eq!(held, [5, 6]);
        assert!(Period::default().holds(UnixMillis(0)));
    }

    #[test]
    fn sums_do_not_wrap() {
        assert_eq!(total([Microcredits(1), Microcredits(2)].into_iter()).unwrap(), Microcredits(3));
        assert!(total([Microcredits(u64::MAX), Microcredits(1)].into_iter()).is_err());
    }
}
