//! What a job cost in all: beside the receipt that ended it there are those of attempts that were cut short, each of which is paid.

use std::collections::BTreeMap;

use adit_client::{JobError, Update};
use adit_protocol::{Attempt, Digest, Microcredits, Receipt};

use crate::kept::{JobStore, KeptJob};

/// What a job's updates tell of attempts that are paid and do not end it.
///
/// Only who hears every word of a job knows what it cost. A gateway tells whoever comes later of the newest attempt alone.
#[derive(Debug)]
pub(crate) struct Spending {
    paid: BTreeMap<Attempt, Microcredits>,
    /// Words that were missed, until it is known what they were about.
    gap: Option<Gap>,
    /// The attempt that was told of after a gap. It may have been cut short and paid within that.
    replayed: Option<Attempt>,
    /// Whether an attempt may have been paid that nobody will tell of any more.
    is_partial: bool,
    hedging: Hedging,
}

#[derive(Debug)]
struct Gap {
    /// Whether it ends where the job was submitted. What was before is then another submission under the same key, if there was one.
    is_before: bool,
    /// Whether the job has no attempt since, because it waits for its first.
    is_queued: bool,
}

/// Whether a job may have two attempts at once, of which the one that ends it is not always the later.
#[derive(Debug)]
enum Hedging {
    Known(bool),
    /// The job was asked for by somebody else, or by this user some time ago.
    Kept(JobStore),
}

/// The attempts that did not end a job.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherAttempts {
    /// How many of them were paid, as far as is known.
    pub(crate) count: usize,
    /// What they cost together.
    pub(crate) cost: Microcredits,
    /// Whether there may be more.
    pub(crate) may_be_more: bool,
}

/// A job that came to no outcome, with the attempts that are paid nevertheless.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", others.describe_before())]
pub(crate) struct NoOutcomeError {
    #[source]
    error: JobError,
    pub(crate) others: OtherAttempts,
}

impl Spending {
    /// Of a job that this submission makes.
    pub(crate) fn of_new_job(may_hedge: bool) -> Self {
        Self::after(None, Hedging::Known(may_hedge))
    }

    /// Of a job that may have been submitted before under the same key.
    pub(crate) fn of_submission(may_hedge: bool) -> Self {
        Self::after(Some(Gap { is_before: true, is_queued: false }), Hedging::Known(may_hedge))
    }

    /// Of a job that is known by its id alone.
    pub(crate) fn of_attached(kept: JobStore) -> Self {
        Self::after(Some(Gap { is_before: false, is_queued: false }), Hedging::Kept(kept))
    }

    fn after(gap: Option<Gap>, hedging: Hedging) -> Self {
        Self { paid: BTreeMap::new(), gap, replayed: None, is_partial: false, hedging }
    }

    /// Takes in what became of the job.
    pub(crate) fn heed(&mut self, update: &Update) {
        match update {
            Update::Queued => {
                if let Some(gap) = &mut self.gap {
                    gap.is_queued = true;
                }
            }
            Update::Started { attempt, .. } => self.started(*attempt),
            Update::Interim(receipt) => self.cut_short(receipt.receipt()),
            Update::Ended(done) => self.ended(done.receipt.receipt()),
            Update::Reconnecting { .. } => self.gap = Some(Gap { is_before: false, is_queued: false }),
            _ => {}
        }
    }

    fn started(&mut self, attempt: Attempt) {
        let Some(gap) = self.gap.take() else { return };
        // A gateway that died before it had stored what was paid gives the number again.
        self.paid.retain(|paid, _| *paid < attempt);
        self.is_partial |= self.lacks_before(attempt);
        self.replayed = (!gap.is_queued).then_some(attempt);
    }

    fn cut_short(&mut self, receipt: &Receipt) {
        self.paid.insert(receipt.attempt, receipt.cost);
        self.replayed = self.replayed.filter(|replayed| *replayed != receipt.attempt);
    }

    fn ended(&mut self, receipt: &Receipt) {
        if self.gap.take().is_some() {
            self.is_partial |= self.lacks_before(receipt.attempt) || self.hedging.may_hedge(&receipt.spec);
            self.replayed = None;
        }
        self.paid.remove(&receipt.attempt);
        self.replayed = self.replayed.filter(|replayed| *replayed != receipt.attempt);
    }

    /// Whether there was an attempt before this one of which nothing is known.
    fn lacks_before(&self, attempt: Attempt) -> bool {
        self.paid.range(..attempt).count() + 1 < attempt.0 as usize
    }

    /// The attempts that did not end the job.
    pub(crate) fn others(&self) -> OtherAttempts {
        let was_missed = self.gap.as_ref().is_some_and(|gap| !gap.is_before);
        OtherAttempts {
            count: self.paid.len(),
            cost: Microcredits(self.paid.values().fold(0, |sum, cost| sum.saturating_add(cost.0))),
            may_be_more: self.is_partial || self.replayed.is_some() || was_missed,
        }
    }

    /// The error that a job ended with, with what was paid nevertheless.
    pub(crate) fn with_others(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast() {
            Ok(error) => NoOutcomeError { error, others: self.others() }.into(),
            Err(error) => error,
        }
    }
}

impl Hedging {
    fn may_hedge(&self, spec: &Digest) -> bool {
        match self {
            Self::Known(may_hedge) => *may_hedge,
            Self::Kept(store) => match KeptJob::load(&store.job_path(spec)) {
                Ok(kept) if kept.spec.digest() == *spec => kept.spec.placement.hedge,
                _ => true,
            },
        }
    }
}

impl OtherAttempts {
    /// What a job costs with them whose last receipt is for so much; nothing where that is not known.
    pub(crate) fn total_with(&self, last: Microcredits) -> Option<Microcredits> {
        (!self.may_be_more).then(|| self.known_with(last))
    }

    /// What is known of that.
    fn known_with(&self, last: Microcredits) -> Microcredits {
        Microcredits(self.cost.0.saturating_add(last.0))
    }

    /// The price for people.
    pub(crate) fn describe_total_with(&self, last: Microcredits) -> String {
        let total = self.known_with(last);
        match (self.count, self.may_be_more) {
            (0, false) => total.to_string(),
            (_, false) => format!("{total}, {} of them for {}", self.cost, self.describe_count()),
            (0, true) => format!("{total} for its last attempt; `adit invoice` lists each that was paid"),
            (_, true) => format!("{total} at least; `adit invoice` lists each attempt that was paid"),
        }
    }

    fn describe_before(&self) -> String {
        if self.count == 0 { String::new() } else { format!("{} paid for {}; ", self.cost, self.describe_count()) }
    }

    fn describe_count(&self) -> String {
        match self.count {
            1 => "an attempt that was cut short".to_owned(),
            count => format!("{count} attempts that were cut short"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use adit_client::{Done, Output};
    use adit_protocol::{BlobRef, JobId, JobSpec, SecretKey, VerifiedReceipt, sign_receipts};

    use super::*;
    use crate::config::Config;
    use crate::dirs::Dirs;
    use crate::proof::tests::good;

    fn receipt(attempt: u32) -> VerifiedReceipt {
        let receipt = Receipt { attempt: Attempt(attempt), ..good().receipt.receipt };
        sign_receipts(&SecretKey::from_seed([4; 32]), vec![receipt]).remove(0).verify().unwrap()
    }

    /// `s2` is the start of the second attempt, `i2` its receipt where it did not end the job, `e2` where it did; `q` waits, `x` is a lost
    /// connection.
    fn update(word: &str) -> Update {
        let (kind, number) = word.split_at(1);
        let number = || number.parse().unwrap();
        match kind {
            "q" => Update::Queued,
            "s" => Update::Started { node: good().receipt.receipt.node, attempt: Attempt(number()) },
            "i" => Update::Interim(Box::new(receipt(number()))),
            "e" => {
                let (receipt, output) = (receipt(number()), Output::Inline(b"output".to_vec()));
                Update::Ended(Box::new(Done { receipt, reason: String::new(), output, queue_us: 0, rtt_us: 0 }))
            }
            "x" => Update::Reconnecting { reason: String::new() },
            _ => panic!("{word}"),
        }
    }

    /// How many receipts make up the price after these words; nothing where that is not known.
    fn receipts_paid(mut spending: Spending, words: &str) -> Option<u64> {
        words.split(' ').filter(|word| !word.is_empty()).for_each(|word| spending.heed(&update(word)));
        let each = good().receipt.receipt.cost;
        let last = if words.contains('e') { each } else { Microcredits(0) };
        spending.others().total_with(last).map(|total| total.0 / each.0)
    }

    fn kept_jobs(dir: &Path) -> JobStore {
        let [config, cache, data, state] = ["config", "cache", "data", "state"].map(|name| dir.join(name));
        let dirs = Dirs { config, cache, data, state };
        JobStore::of_user(&Config::from_text(dirs, PathBuf::from("config.toml"), "", |_| None).unwrap()).unwrap()
    }

    #[test]
    fn who_hears_every_word_knows_what_all_attempts_cost() {
        for (words, want) in [
            ("", 0),
            ("q", 0),
            ("s1 e1", 1),
            ("q s1 i1 s2 e2", 2),
            // The first one lost its node.
            ("s1 s2 e2", 1),
            ("s1 i1 s2 i2", 2),
            // A hedge, the loser of which is paid after the end.
            ("s1 s2 e2 i1", 2),
            ("s1 s2 e1 i2", 2),
        ] {
            assert_eq!(receipts_paid(Spending::of_new_job(true), words), Some(want), "{words}");
        }
    }

    #[test]
    fn what_a_lost_connection_hid_is_not_guessed() {
        for (words, want) in [
            ("s1 x", None),
            ("s1 x s1 e1", Some(1)),
            ("s1 x e1", Some(1)),
            ("s1 i1 s2 x e2", Some(2)),
            // The first may have been cut short meanwhile.
            ("s1 x e2", None),
            ("s1 x s2 e2", None),
            ("s1 x s1 s2 e2", None),
            ("s1 x s1 i1 s2 e2", Some(2)),
            ("s1 e1 x", None),
            ("s1 e1 x e1", Some(1)),
            // What the gateway that died had not stored, the next one does not know, and is not paid.
            ("s1 i1 x s1 e1", Some(1)),
            ("s1 i1 s2 x q s1 e1", Some(1)),
            ("s1 i1 x q s2 e2", Some(2)),
        ] {
            assert_eq!(receipts_paid(Spending::of_new_job(false), words), want, "{words}");
        }
        // Another attempt may have run beside it.
        assert_eq!(receipts_paid(Spending::of_new_job(true), "s1 x e1"), None);
    }

    #[test]
    fn job_that_is_known_already_has_a_price_where_nothing_was_missed() {
        for (words, want) in [
            ("", Some(0)),
            ("q", Some(0)),
            ("e1", Some(1)),
            ("e2", None),
            ("s1 e1", Some(1)),
            ("s1 i1 s2 e2", Some(2)),
            // Told as running, the first may have been cut short already.
            ("s1 s2 e2", None),
            ("q s1 s2 e2", Some(1)),
            ("q s2 e2", None),
        ] {
            assert_eq!(receipts_paid(Spending::of_submission(false), words), want, "{words}");
        }
        assert_eq!(receipts_paid(Spending::of_submission(true), "e1"), None);
    }

    #[test]
    fn whoever_attaches_later_knows_the_price_where_the_job_is_kept_and_had_one_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let attached = || Spending::of_attached(kept_jobs(dir.path()));
        for (words, want) in [("e1", None), ("", None), ("q", None), ("q s1 e1", Some(1))] {
            assert_eq!(receipts_paid(attached(), words), want, "{words}");
        }
        let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        let keep = |spec: &JobSpec, as_job: &JobSpec| {
            let path = kept_jobs(dir.path()).job_path(&as_job.digest());
            KeptJob::new(spec, Path::new("module"), None, &[]).save(&path).unwrap();
        };
        keep(&spec, &spec);
        assert_eq!((receipts_paid(attached(), "e1"), receipts_paid(attached(), "e2")), (Some(1), None));
        let plain = spec.clone();
        spec.placement.hedge = true;
        keep(&spec, &plain);
        assert_eq!(receipts_paid(attached(), "e1"), None, "it is another job's file");
    }

    #[test]
    fn people_are_told_of_attempts_that_were_cut_short() {
        let others = |count, may_be_more| OtherAttempts { count, cost: Microcredits(count as u64 * 10), may_be_more };
        for (others, want) in [
            (others(0, false), "0.000042 credits"),
            (others(1, false), "0.000052 credits, 0.000010 credits of them for an attempt that was cut short"),
            (others(2, false), "0.000062 credits, 0.000020 credits of them for 2 attempts that were cut short"),
            (others(0, true), "0.000042 credits for its last attempt; `adit invoice` lists each that was paid"),
            (others(1, true), "0.000052 credits at least; `adit invoice` lists each attempt that was paid"),
        ] {
            assert_eq!(others.describe_total_with(Microcredits(42)), want);
        }
        let mut spending = Spending::of_new_job(false);
        let lost = || JobError::NodeLost { job: JobId([1; 16]), attempts: 2, reason: "gone".into() }.into();
        let bare = crate::screen::describe(&spending.with_others(lost()));
        assert!(bare.starts_with("job 0101") && bare.ends_with("last: gone"), "{bare}");
        ["s1", "i1"].iter().for_each(|word| spending.heed(&update(word)));
        let told = crate::screen::describe(&spending.with_others(lost()));
        let cost = good().receipt.receipt.cost;
        assert_eq!(told, format!("{cost} paid for an attempt that was cut short; {bare}"));
    }
}
