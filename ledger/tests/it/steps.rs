//! Steps by small numbers, and the ledger as plain maps: what each step must come to, and what must be kept after it.

use std::collections::{BTreeMap, VecDeque};

use adit_ledger::{
    Account, Appended, Applied, Balance, Books, BooksError, Entry, EntryError, Hold, Ledger, Operation, Refused, StoredJob,
};
use adit_protocol::limits::REASON_BYTES_MAX;
use adit_protocol::{
    Attempt, Fuel, Grant, Leaf, Microcredits, Outcome, Payout, Receipt, Terms, TransferId, UnixMillis, UnpaidAttempt, VoidReason,
};

use crate::fixture::{client, entry_of, job, node, receipt, settle, stored, terms};

/// A step of a script, by small numbers, so that jobs, orders and times meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Grant {
        order: u8,
        customer: u64,
        amount: u64,
    },
    Hold {
        job: u64,
        amount: u64,
        expires: u64,
    },
    /// The variant is the attempt that ends the job.
    Settle {
        job: u64,
        variant: u64,
    },
    Attempt {
        job: u64,
        number: u64,
        variant: u64,
    },
    Void {
        job: u64,
    },
    Expire {
        now: u64,
    },
    Payout {
        order: u8,
        amount: u64,
    },
    State {
        fee_ppm: u32,
    },
    Unpaid {
        job: u64,
        reason_bytes: usize,
    },
    /// An earlier operation again: the one so many before the last, around the start. Where it is changed, under the same id with other
    /// contents, as far as it has an id and contents.
    Repeat {
        back: usize,
        is_changed: bool,
    },
}

/// What the job's receipt, in this variant, says that it costs.
pub(crate) fn cost(job: u64, variant: u64) -> u64 {
    1 + (job * 37 + variant * 101) % 400
}

/// What an attempt costs that does not end its job.
pub(crate) fn attempt_cost(job: u64, number: u64, variant: u64) -> u64 {
    (job * 29 + number * 53 + variant * 71) % 200
}

/// An entry of a job that costs so much, in one of several receipts of it, each of another attempt.
pub(crate) fn costing(n: u64, cost: u64, variant: u64) -> Entry {
    let attempt = Attempt(1 + variant as u32);
    entry_of(n, costly(Receipt { attempt, engine: format!("variant {variant}"), ..receipt(n) }, cost))
}

/// An entry of an attempt that does not end its job: cut short, stopped because another came first, or too late for that.
pub(crate) fn trying(n: u64, number: u64, variant: u64) -> Entry {
    let outcomes = [Outcome::Preempted, Outcome::Cancelled, Outcome::Finished { exit_code: 0 }];
    let (attempt, outcome) = (Attempt(number as u32), outcomes[((n + number) % 3) as usize]);
    let receipt = Receipt { attempt, outcome, engine: format!("attempt {variant}"), ..receipt(n) };
    entry_of(n, costly(receipt, attempt_cost(n, number, variant)))
}

fn costly(mut receipt: Receipt, cost: u64) -> Receipt {
    receipt.usage.fuel = Fuel(60_000_000 * cost);
    receipt.cost = receipt.price.cost(&receipt.usage).unwrap();
    assert_eq!(receipt.cost, Microcredits(cost));
    receipt
}

pub(crate) fn attempt(entry: Entry) -> Operation {
    Operation::Attempt(Box::new(entry))
}

pub(crate) fn hold_of(n: u64, amount: u64, expires: u64) -> Hold {
    Hold { job: job(n), customer: client(n), amount: Microcredits(amount), expires: UnixMillis(expires) }
}

pub(crate) fn void(n: u64, reason: VoidReason) -> Operation {
    Operation::Void { job: job(n), customer: client(n), reason, time: UnixMillis(9) }
}

/// An attempt at a job that is not paid, for a reason of so many bytes.
pub(crate) fn unpaid(n: u64, reason_bytes: usize) -> UnpaidAttempt {
    UnpaidAttempt { job: job(n), attempt: Attempt(1), time: UnixMillis(n), reason: "x".repeat(reason_bytes) }
}

pub(crate) fn customer(n: u64) -> Account {
    Account::Customer(client(n))
}

pub(crate) fn owner() -> Account {
    Account::Owner(node().public())
}

/// The ledger as plain maps.
#[derive(Debug, Default, Clone)]
pub(crate) struct Model {
    pub(crate) fee_ppm: Option<(u32, u64)>,
    pub(crate) next: u64,
    pub(crate) posted: BTreeMap<Account, i128>,
    pub(crate) holds: BTreeMap<u64, Hold>,
    pub(crate) settled: BTreeMap<u64, (u64, u64)>,
    /// By job and number, what was paid and did not end its job: index and variant.
    pub(crate) attempts: BTreeMap<(u64, u64), (u64, u64)>,
    /// Of each open hold, all that was ever put aside for it, and what was paid out of it.
    spent: BTreeMap<u64, (u64, u64)>,
    pub(crate) orders: BTreeMap<u8, (Step, u64)>,
    /// The leaves that concern an account.
    pub(crate) statements: BTreeMap<Account, Vec<u64>>,
    /// The attempts that the node was not paid for.
    pub(crate) unpaid: Vec<UnpaidAttempt>,
    /// What was given last, each as its step and as it was given.
    given: VecDeque<(Step, Operation)>,
}

/// Operations that a step can repeat. Models are copied, so they do not remember all.
const REMEMBERED_MAX: usize = 200;

impl Step {
    /// A step by numbers below given bounds: from a generator, or from bytes. Most jobs meet more than once.
    pub(crate) fn draw(jobs: u64, mut below: impl FnMut(u64) -> u64) -> Self {
        match below(24) {
            0 => Self::Grant { order: below(12) as u8, customer: below(3), amount: below(9_000) },
            1..=7 => Self::Hold { job: below(jobs), amount: 150 + below(350), expires: below(100) },
            8..=13 => Self::Settle { job: below(jobs), variant: below(2) },
            14 | 15 => Self::Void { job: below(jobs) },
            16 => Self::Expire { now: below(60) },
            17 | 18 => Self::Payout { order: below(12) as u8, amount: below(700) },
            19 => Self::Unpaid { job: below(jobs), reason_bytes: below(300) as usize },
            20..=22 => Self::Attempt { job: below(jobs), number: 1 + below(4), variant: below(2) },
            _ => Self::State { fee_ppm: [0, 50_000, 1_000_000, 1_000_001][below(4) as usize] },
        }
    }

    /// The same id with other contents; the same step where it has none of both.
    fn changed(&self) -> Self {
        match self.clone() {
            Self::Grant { order, customer, amount } => Self::Grant { order, customer, amount: amount + 1 },
            Self::Payout { order, amount } => Self::Payout { order, amount: amount + 1 },
            Self::Hold { job, amount, expires } => Self::Hold { job, amount: amount - 1, expires },
            Self::Settle { job, variant } => Self::Settle { job, variant: 1 - variant },
            Self::Attempt { job, number, variant } => Self::Attempt { job, number, variant: 1 - variant },
            same => same,
        }
    }
}

impl Model {
    /// Counts a leaf, which concerns so many.
    fn record(&mut self, parties: &[Account]) -> u64 {
        for party in parties {
            self.statements.entry(*party).or_default().push(self.next);
        }
        self.next += 1;
        self.next - 1
    }

    fn shift(&mut self, from: Account, to: Account, amount: u64) {
        *self.posted.entry(from).or_default() -= i128::from(amount);
        *self.posted.entry(to).or_default() += i128::from(amount);
    }

    pub(crate) fn posted(&self, account: Account) -> i128 {
        self.posted.get(&account).copied().unwrap_or(0)
    }

    /// Whether an attempt at a job was paid that did not end it.
    pub(crate) fn has_tried(&self, n: u64) -> bool {
        self.attempts.range((n, 0)..=(n, u64::MAX)).next().is_some()
    }

    pub(crate) fn held(&self, account: Account) -> i128 {
        let of = |hold: &&Hold| Account::Customer(hold.customer) == account;
        self.holds.values().filter(of).map(|hold| i128::from(hold.amount.0)).sum()
    }

    fn available(&self, account: Account) -> i128 {
        self.posted(account) - self.held(account)
    }

    /// The operation of a step, and what must become of it.
    pub(crate) fn step(&mut self, step: &Step) -> (Operation, Result<Applied, Refused>) {
        let Step::Repeat { back, is_changed } = *step else {
            let (operation, outcome) = self.carry_out(step);
            self.given.push_back((step.clone(), operation.clone()));
            if self.given.len() > REMEMBERED_MAX {
                self.given.pop_front();
            }
            return (operation, outcome);
        };
        let at = back % self.given.len().max(1);
        match self.given.iter().rev().nth(at).cloned() {
            Some((earlier, _)) if is_changed => self.carry_out(&earlier.changed()),
            Some((earlier, operation)) => (operation, self.carry_out(&earlier).1),
            None => self.carry_out(&Step::Expire { now: 0 }),
        }
    }

    fn carry_out(&mut self, step: &Step) -> (Operation, Result<Applied, Refused>) {
        match *step {
            Step::Repeat { .. } => unreachable!("what is repeated is no repetition"),
            Step::State { fee_ppm } => {
                let operation = Operation::State(Terms { fee_ppm, ..terms() });
                let outcome = match self.fee_ppm {
                    Some((old, index)) if old == fee_ppm => Ok(Applied::Before { index: Some(index) }),
                    _ if fee_ppm > 1_000_000 => Err(BooksError::Terms.into()),
                    _ => {
                        let index = self.record(&[]);
                        self.fee_ppm = Some((fee_ppm, index));
                        Ok(Applied::Recorded { index })
                    }
                };
                (operation, outcome)
            }
            Step::Grant { order, customer: n, amount } => {
                let id = TransferId([order; 16]);
                let grant = Grant { id, customer: client(n), amount: Microcredits(amount), time: UnixMillis(self.next) };
                let outcome = self.order(order, step, customer(n), |model| {
                    model.shift(Account::Issuer, customer(n), amount);
                    Ok(())
                });
                (Operation::Grant(grant), outcome)
            }
            Step::Payout { order, amount } => {
                let id = TransferId([order; 16]);
                let payout = Payout { id, owner: node().public(), amount: Microcredits(amount), time: UnixMillis(self.next) };
                let outcome = self.order(order, step, owner(), |model| {
                    let left = model.posted(owner()) - i128::from(amount);
                    if left < 0 {
                        return Err(BooksError::Overdrawn { account: owner(), left, asked: amount.into() }.into());
                    }
                    model.shift(owner(), Account::Issuer, amount);
                    Ok(())
                });
                (Operation::Payout(payout), outcome)
            }
            Step::Hold { job: n, amount, expires } => {
                let hold = hold_of(n, amount, expires);
                (Operation::Hold(hold), self.hold(n, hold))
            }
            Step::Settle { job: n, variant } => (settle(costing(n, cost(n, variant), variant)), self.settle(n, variant)),
            Step::Attempt { job: n, number, variant } => (attempt(trying(n, number, variant)), self.attempt(n, number, variant)),
            Step::Void { job: n } => {
                self.spent.remove(&n);
                let outcome = match (self.holds.remove(&n), self.settled.get(&n)) {
                    (Some(_), _) => Ok(Applied::Recorded { index: self.record(&[customer(n)]) }),
                    (None, Some((index, _))) => Err(Refused::AlreadySettled { job: job(n), index: *index }),
                    (None, None) => Err(Refused::NoHold { job: job(n) }),
                };
                (void(n, VoidReason::Refused), outcome)
            }
            Step::Expire { now } => {
                let mut over: Vec<_> = self
                    .holds
                    .iter()
                    .filter(|(_, hold)| hold.expires.0 <= now)
                    .map(|(n, hold)| (hold.expires, job(*n), *n))
                    .collect();
                over.sort();
                let expired = over.into_iter().map(|(_, job, n)| {
                    self.holds.remove(&n);
                    self.spent.remove(&n);
                    (job, self.record(&[customer(n)]))
                });
                (Operation::Expire { now: UnixMillis(now) }, Ok(Applied::Expired(expired.collect())))
            }
            Step::Unpaid { job: n, reason_bytes } => {
                let attempt = unpaid(n, reason_bytes);
                let operation = Operation::Unpaid { node: node().public(), attempt: Box::new(attempt.clone()) };
                if reason_bytes > REASON_BYTES_MAX {
                    let (job, part, bytes_max) = (job(n), "reason", REASON_BYTES_MAX);
                    return (operation, Err(EntryError::TooLarge { job, part, bytes: reason_bytes, bytes_max }.into()));
                }
                self.unpaid.push(attempt);
                (operation, Ok(Applied::Noted))
            }
        }
    }

    fn order(
        &mut self,
        order: u8,
        step: &Step,
        party: Account,
        carry_out: impl FnOnce(&mut Self) -> Result<(), Refused>,
    ) -> Result<Applied, Refused> {
        if let Some((known, index)) = self.orders.get(&order) {
            let same = known == step;
            let other = Refused::OtherOrder { id: TransferId([order; 16]), index: *index };
            return if same { Ok(Applied::Before { index: Some(*index) }) } else { Err(other) };
        }
        self.fee_ppm.ok_or(BooksError::NoTerms)?;
        carry_out(self)?;
        let index = self.record(&[party]);
        self.orders.insert(order, (step.clone(), index));
        Ok(Applied::Recorded { index })
    }

    fn hold(&mut self, n: u64, hold: Hold) -> Result<Applied, Refused> {
        self.fee_ppm.ok_or(BooksError::NoTerms)?;
        if let Some((index, _)) = self.settled.get(&n) {
            return Err(Refused::AlreadySettled { job: job(n), index: *index });
        }
        let known = self.holds.get(&n);
        if known == Some(&hold) {
            return Ok(Applied::Before { index: None });
        }
        let held = known.map_or(0, |known| known.amount.0);
        if known.is_some() && held >= hold.amount.0 {
            return Err(Refused::OtherHold { job: job(n) });
        }
        let (available, asked) = (self.available(customer(n)), hold.amount.0 - held);
        if available < i128::from(asked) {
            return Err(Refused::Insufficient { customer: client(n), available, asked });
        }
        self.holds.insert(n, hold);
        self.spent.entry(n).or_default().0 += asked;
        Ok(Applied::Held)
    }

    fn attempt(&mut self, n: u64, number: u64, variant: u64) -> Result<Applied, Refused> {
        let job = job(n);
        if let Some((index, known)) = self.attempts.get(&(n, number)) {
            let other = EntryError::Paid { job, attempt: Attempt(number as u32), index: *index };
            return if *known == variant { Ok(Applied::Before { index: Some(*index) }) } else { Err(other.into()) };
        }
        if let Some((index, _)) = self.settled.get(&n) {
            return Err(Refused::AlreadySettled { job, index: *index });
        }
        let left = self.pay(n, attempt_cost(n, number, variant))?;
        self.holds.insert(n, left);
        let index = self.record(&[customer(n), owner()]);
        self.attempts.insert((n, number), (index, variant));
        Ok(Applied::Recorded { index })
    }

    /// Pays out of a job's hold. What is left of that.
    fn pay(&mut self, n: u64, cost: u64) -> Result<Hold, Refused> {
        let hold = self.holds.remove(&n).ok_or(Refused::NoHold { job: job(n) })?;
        let Some(left) = hold.amount.0.checked_sub(cost) else {
            self.holds.insert(n, hold);
            return Err(BooksError::OverHold { cost, held: hold.amount.0 }.into());
        };
        let fee = cost * u64::from(self.fee_ppm.expect("a hold was placed under terms").0) / 1_000_000;
        self.shift(customer(n), owner(), cost - fee);
        self.shift(customer(n), Account::Fee, fee);
        let (aside, spent) = self.spent.get_mut(&n).expect("what is held was put aside");
        *spent += cost;
        assert_eq!(*aside - *spent, left, "all attempts together cost what is not left of what was put aside");
        Ok(Hold { amount: Microcredits(left), ..hold })
    }

    fn settle(&mut self, n: u64, variant: u64) -> Result<Applied, Refused> {
        let (job, cost) = (job(n), cost(n, variant));
        if let Some((index, known)) = self.settled.get(&n) {
            if *known != variant {
                return Err(EntryError::Conflict { job, index: *index }.into());
            }
            let entry = costing(n, cost, variant);
            let stored = StoredJob { index: *index, ..stored(0, &entry) };
            return Ok(Applied::Settled(Appended::Existing(Box::new(stored))));
        }
        let number = 1 + variant;
        if let Some((index, _)) = self.attempts.get(&(n, number)) {
            return Err(EntryError::Paid { job, attempt: Attempt(number as u32), index: *index }.into());
        }
        self.pay(n, cost)?;
        self.spent.remove(&n);
        let index = self.record(&[customer(n), owner()]);
        self.settled.insert(n, (index, variant));
        Ok(Applied::Settled(Appended::New { index }))
    }

    /// Checks all that the ledger keeps, against this and against the fold of its own log.
    pub(crate) fn check(&self, ledger: &Ledger, books: &mut Books, folded: &mut u64) {
        let reader = ledger.reader();
        let balances = reader.balances().unwrap();
        assert_eq!(balances.iter().map(|(_, balance)| balance.posted).sum::<i128>(), 0);
        for (account, balance) in &balances {
            assert_eq!(*balance, Balance { posted: self.posted(*account), held: self.held(*account) }, "{account:?}");
            assert!(*account == Account::Issuer || balance.available() >= 0 && balance.held >= 0, "{account:?} {balance:?}");
        }
        while let Some(bytes) = reader.leaf(*folded).unwrap() {
            let leaf = Leaf::from_bytes(&bytes).unwrap();
            if let Some(settled) = leaf.paid() {
                assert!(settled.receipt.receipt.cost <= settled.held);
            }
            books.apply(&leaf).unwrap();
            *folded += 1;
        }
        assert_eq!(*folded, self.next);
        books.check().unwrap();
        for (account, posted) in books.accounts() {
            assert_eq!(posted, self.posted(account), "{account:?}, folded");
        }
    }
}
