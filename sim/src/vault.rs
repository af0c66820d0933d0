//! The oracles of the ledger, over all lives of the gateway.

use std::collections::{BTreeMap, BTreeSet};

use adit_ledger::{Account, Books, Reader};
use adit_protocol::{Attempt, Digest, JobId, Leaf, Microcredits, Settled};

use crate::gateway::ATTEMPTS_WORTH;

/// Leaves that are read at once.
const PAGE: usize = 1_000;

/// What was durable, and what was promised to be.
#[derive(Debug, Default)]
pub(crate) struct Vault {
    /// The leaves that were committed, each by its digest.
    leaves: Vec<Digest>,
    /// The settled jobs, each with its leaf.
    settled: BTreeMap<JobId, u64>,
    /// The attempts that were paid and ended no job.
    paid: BTreeSet<(JobId, Attempt)>,
    /// What each job may cost and has cost, over all its attempts and submissions.
    costs: BTreeMap<JobId, Costs>,
    /// What clients were told: leaf and receipt of each job.
    promised: BTreeMap<JobId, (u64, Digest)>,
    /// The fold of the leaves.
    books: Books,
}

/// What a job may cost and has cost.
#[derive(Debug, Default)]
struct Costs {
    /// Its client's limit.
    max: Option<Microcredits>,
    /// The most that one of its attempts could cost.
    dearest: u64,
    paid: u64,
}

impl Vault {
    /// A client has this job, with this limit.
    pub(crate) fn may_cost(&mut self, job: JobId, max: Option<Microcredits>) {
        self.costs.entry(job).or_default().max = max;
    }

    /// A node was given an attempt that can cost so much.
    pub(crate) fn leased(&mut self, job: JobId, cost_max: u64) {
        let costs = self.costs.entry(job).or_default();
        costs.dearest = costs.dearest.max(cost_max);
    }

    /// All that is paid for a job is within its client's limit, else within some times the dearest of its attempts.
    fn pay(&mut self, settled: &Settled) -> Result<(), String> {
        let (job, cost) = (settled.receipt.receipt.job, settled.receipt.receipt.cost.0);
        let costs = self.costs.entry(job).or_default();
        costs.paid = costs.paid.saturating_add(cost);
        let most = costs.max.map_or(costs.dearest.saturating_mul(ATTEMPTS_WORTH), |max| max.0);
        if costs.paid > most {
            return Err(format!("job {job} has cost {} by now, and may cost {most}: {costs:?}", costs.paid));
        }
        Ok(())
    }

    pub(crate) fn promised(&mut self, job: JobId, index: u64, receipt: Digest) -> Result<(), String> {
        match self.settled.get(&job) {
            Some(settled) if *settled == index => {}
            other => return Err(format!("a client was told that job {job} is settled at {index}, and it is at {other:?}")),
        }
        match self.promised.insert(job, (index, receipt)) {
            Some(before) if before != (index, receipt) => {
                Err(format!("job {job} was settled twice: {before:?} and then {index}"))
            }
            _ => Ok(()),
        }
    }

    /// Reads the leaves that are new, and checks what is cheap to check.
    pub(crate) fn check_new(&mut self, reader: &Reader) -> Result<(), String> {
        loop {
            let from = self.leaves.len() as u64;
            let page = reader.leaves(from, PAGE).map_err(|error| error.to_string())?;
            if page.is_empty() {
                break;
            }
            for bytes in page {
                self.take_in(&bytes)?;
            }
        }
        self.check_balances(reader)
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), String> {
        let index = self.leaves.len() as u64;
        let leaf = Leaf::from_bytes(bytes).map_err(|error| error.to_string())?;
        if let Leaf::Settlement(settled) = &leaf {
            let job = settled.receipt.receipt.job;
            if let Some(before) = self.settled.insert(job, index) {
                return Err(format!("job {job} was settled at {before} and again at {index}"));
            }
        }
        if let Leaf::Attempt(paid) = &leaf {
            let (job, attempt) = (paid.receipt.receipt.job, paid.receipt.receipt.attempt);
            if !self.paid.insert((job, attempt)) || self.settled.contains_key(&job) {
                return Err(format!("attempt {attempt} of job {job} was paid a second time, or after its job was settled"));
            }
        }
        if let Leaf::Settlement(settled) | Leaf::Attempt(settled) = &leaf {
            self.pay(settled)?;
        }
        self.books.apply(&leaf).map_err(|error| format!("leaf {index}: {error}"))?;
        self.leaves.push(Digest::of(bytes));
        Ok(())
    }

    /// Credits are neither made nor lost, and nobody has less than nothing.
    fn check_balances(&self, reader: &Reader) -> Result<(), String> {
        let balances = reader.balances().map_err(|error| error.to_string())?;
        let (mut sum, mut held) = (0, 0);
        for (account, balance) in balances {
            sum += balance.posted;
            held += balance.held;
            if account != Account::Issuer && (balance.available() < 0 || balance.held < 0) {
                return Err(format!("{account:?} has {balance:?}"));
            }
            if balance.posted != self.books.posted(account) {
                return Err(format!("{account:?} has {balance:?}, and by the leaves {}", self.books.posted(account)));
            }
        }
        let holds = reader.holds().map_err(|error| error.to_string())?;
        let due: i128 = holds.iter().map(|hold| i128::from(hold.amount.0)).sum();
        if (sum, held) != (0, due) {
            return Err(format!("all accounts sum to {sum}; {held} are held, and by the holds {due}"));
        }
        Ok(())
    }

    /// Reads everything anew: the whole ledger against its log, all that was durable before, and all that was promised.
    pub(crate) fn check_all(&mut self, reader: &Reader) -> Result<(), String> {
        reader.check_books().map_err(|error| format!("the ledger does not agree with its log: {error}"))?;
        for (from, page) in self.leaves.chunks(PAGE).enumerate() {
            let read = reader.leaves((from * PAGE) as u64, page.len()).map_err(|error| error.to_string())?;
            if !read.iter().map(|bytes| Digest::of(bytes)).eq(page.iter().copied()) {
                return Err("leaves that were durable are gone or others".to_owned());
            }
        }
        for (job, (index, receipt)) in &self.promised {
            let stored = reader.job(*job).map_err(|error| error.to_string())?;
            if stored.is_none_or(|stored| (stored.index, stored.receipt.digest()) != (*index, *receipt)) {
                return Err(format!("job {job}: the receipt that its client was promised at {index} is gone"));
            }
        }
        self.check_new(reader)
    }
}
