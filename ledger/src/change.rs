//! A batch of operations on its way into one transaction.

use std::collections::{BTreeMap, HashMap};

use adit_protocol::limits::{LEAF_BYTES_MAX, REASON_BYTES_MAX};
use adit_protocol::{
    Attempt, Grant, JobId, Leaf, Microcredits, PaidKind, Payout, PublicKey, Terms, TransferId, UnixMillis, UnpaidAttempt,
    VoidReason, Voided,
};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::books::{ACCOUNT_BYTES, Account, Balance, BooksError, Line, Paid, Posting};
use crate::operation::{Applied, EXPIRED_MAX, Hold, Operation, Refused, UNPAID_MAX};
use crate::reader::{check_leaf, read_attempt, read_job, read_leaf};
use crate::recent::{IndexKey, SharedRecent, Sweep, keys};
use crate::row::Row;
use crate::schema::{
    ACCOUNTS, ATTEMPTS, HOLDS, JOBS, LEAVES, META, META_ACCOUNTS_SUM, META_ATTEMPTS_SUM, META_HOLDS_SUM, META_INDEXED,
    META_JOBS_SUM, META_ORDERS_SUM, META_TERMS, ORDERS, OUTPUTS, ROWS, STATEMENTS, TILES, UNPAID,
};
use crate::sums::{Sums, TableSum};
use crate::tree::{Edge, Place};
use crate::{Appended, Corruption, Entry, EntryError, StoreError};

/// What a batch leaves, once it is durable.
pub(crate) struct Ended {
    pub(crate) edge: Edge,
    pub(crate) terms: Option<Terms>,
    pub(crate) sums: Sums,
    /// What leads to its leaves.
    pub(crate) fresh: Vec<(IndexKey, u64)>,
    /// What it took into the tables of what leads to earlier ones.
    pub(crate) sweep: Sweep,
}

/// What an operation comes to: done or refused, where the store works.
type Outcome = Result<Result<Applied, Refused>, StoreError>;

/// The tables, open for writing, with what is written once for the whole batch.
pub(crate) struct Change<'txn> {
    gateway: PublicKey,
    leaves: Table<'txn, u64, &'static [u8]>,
    tiles: Table<'txn, Place, &'static [u8]>,
    rows: Table<'txn, u64, &'static [u8]>,
    outputs: Table<'txn, u64, &'static [u8]>,
    jobs: Table<'txn, &'static [u8; 16], u64>,
    attempts: Table<'txn, (&'static [u8; 16], u32), u64>,
    statements: Table<'txn, (&'static [u8; ACCOUNT_BYTES], bool, u64), ()>,
    accounts: Table<'txn, &'static [u8; ACCOUNT_BYTES], &'static [u8; 32]>,
    holds: Table<'txn, &'static [u8; 16], (&'static [u8; 32], u64, u64)>,
    orders: Table<'txn, &'static [u8; 16], u64>,
    unpaid: Table<'txn, (&'static [u8; 32], u64), &'static [u8]>,
    meta: Table<'txn, &'static str, &'static [u8]>,
    edge: Edge,
    terms: Option<Terms>,
    /// Over the tables that say what was done before and who has what, and what they were when the batch began.
    sums: Sums,
    sums_before: Sums,
    /// What leads to the leaves before, as far as the tables may lack it.
    recent: &'txn SharedRecent,
    /// What leads to the leaves of this batch.
    fresh: Vec<(IndexKey, u64)>,
    /// The jobs that this batch settled.
    settled: HashMap<JobId, u64>,
    /// Holds that this batch placed, raised or paid out of and that have not ended: most end in the batch in which they were placed, and never touch
    /// the table.
    placed: BTreeMap<JobId, Hold>,
    /// Accounts that were looked at, as they are now.
    balances: BTreeMap<Account, Balance>,
    /// How many leaves there were before.
    begun: u64,
    /// Tiles that became full.
    full: Vec<(Place, Vec<u8>)>,
    has_changed: bool,
}

impl<'txn> Change<'txn> {
    pub(crate) fn begin(
        transaction: &'txn WriteTransaction,
        gateway: PublicKey,
        edge: Edge,
        terms: Option<Terms>,
        sums: Sums,
        recent: &'txn SharedRecent,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            gateway,
            leaves: transaction.open_table(LEAVES)?,
            tiles: transaction.open_table(TILES)?,
            rows: transaction.open_table(ROWS)?,
            outputs: transaction.open_table(OUTPUTS)?,
            jobs: transaction.open_table(JOBS)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            statements: transaction.open_table(STATEMENTS)?,
            accounts: transaction.open_table(ACCOUNTS)?,
            holds: transaction.open_table(HOLDS)?,
            orders: transaction.open_table(ORDERS)?,
            unpaid: transaction.open_table(UNPAID)?,
            meta: transaction.open_table(META)?,
            begun: edge.size(),
            edge,
            terms,
            sums,
            sums_before: sums,
            recent,
            fresh: Vec::new(),
            settled: HashMap::new(),
            placed: BTreeMap::new(),
            balances: BTreeMap::new(),
            full: Vec::new(),
            has_changed: false,
        })
    }

    /// Writes what is written once. Returns what is so then; nothing where nothing has changed.
    pub(crate) fn end(mut self) -> Result<Option<Ended>, StoreError> {
        if !self.has_changed {
            return Ok(None);
        }
        for (job, Hold { customer, amount, expires, .. }) in &self.placed {
            let hold = (&customer.0, amount.0, expires.0);
            if let Some(before) = self.holds.insert(&job.0, hold)? {
                self.sums.holds.take(TableSum::of(HOLDS, &job.0, before.value()));
            }
            self.sums.holds.add(TableSum::of(HOLDS, &job.0, hold));
        }
        for (account, balance) in &self.balances {
            let (key, balance) = (account.to_key(), balance.to_bytes());
            if let Some(before) = self.accounts.insert(&key, &balance)? {
                self.sums.accounts.take(TableSum::of(ACCOUNTS, &key, before.value()));
            }
            self.sums.accounts.add(TableSum::of(ACCOUNTS, &key, &balance));
        }
        let full = self.full.iter().map(|(place, tile)| (*place, tile.as_slice()));
        for (place, tile) in full.chain(self.edge.partial()) {
            self.tiles.insert(place, tile)?;
        }
        let sweep = self.sweep()?;
        self.write_sums(sweep.indexed.is_some())?;
        Ok(Some(Ended { edge: self.edge, terms: self.terms, sums: self.sums, fresh: self.fresh, sweep }))
    }

    /// Takes entries of leaves before into their tables.
    fn sweep(&mut self) -> Result<Sweep, StoreError> {
        let sweep = self.recent.read().sweep(self.edge.size() - self.begun, self.begun);
        for (key, index) in &sweep.entries {
            match key {
                IndexKey::Job(job) => {
                    if self.jobs.insert(job, index)?.is_none() {
                        self.sums.jobs.add(TableSum::of(JOBS, job, *index));
                    }
                }
                IndexKey::Statement(account, is_other, index) => _ = self.statements.insert((account, *is_other, *index), ())?,
            }
        }
        if let Some(indexed) = sweep.indexed {
            self.meta.insert(META_INDEXED, indexed.to_le_bytes().as_slice())?;
        }
        Ok(sweep)
    }

    /// Writes the sums that have changed; that over the jobs once a sweep is over, when all that it swept is in the table.
    fn write_sums(&mut self, is_swept: bool) -> Result<(), StoreError> {
        let (sums, before) = (&self.sums, &self.sums_before);
        let rows = [
            (META_ORDERS_SUM, sums.orders, before.orders),
            (META_ATTEMPTS_SUM, sums.attempts, before.attempts),
            (META_ACCOUNTS_SUM, sums.accounts, before.accounts),
            (META_HOLDS_SUM, sums.holds, before.holds),
        ];
        for (row, sum, _) in rows.into_iter().filter(|(_, sum, before)| sum != before) {
            self.meta.insert(row, sum.to_bytes().as_slice())?;
        }
        if is_swept {
            self.meta.insert(META_JOBS_SUM, self.sums.jobs.to_bytes().as_slice())?;
        }
        Ok(())
    }

    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::State(terms) => self.state(*terms),
            Operation::Grant(grant) => self.grant(*grant),
            Operation::Hold(hold) => self.hold(hold),
            Operation::Attempt(entry) => self.attempt(entry),
            Operation::Settle(entry) => self.settle(entry),
            Operation::Void { job, customer, reason, time } => self.void(*job, *customer, *reason, *time),
            Operation::Expire { now } => self.expire(*now),
            Operation::Payout(payout) => self.payout(*payout),
            Operation::Unpaid { node, attempt } => self.note_unpaid(node, attempt),
        }
    }

    fn state(&mut self, terms: Terms) -> Outcome {
        if let Some(old) = self.terms.filter(|old| (old.gateway, old.fee_ppm) == (terms.gateway, terms.fee_ppm)) {
            let index = self.meta.get(META_TERMS)?.and_then(|index| Some(u64::from_le_bytes(index.value().try_into().ok()?)));
            debug_assert!(index.is_some(), "terms {old:?} stand in a leaf");
            return Ok(Ok(Applied::Before { index }));
        }
        if terms.gateway != self.gateway {
            return Ok(Err(BooksError::Terms.into()));
        }
        let leaf = Leaf::Terms(terms);
        Ok(match self.record(&leaf, None)? {
            Ok(index) => {
                self.terms = Some(terms);
                self.meta.insert(META_TERMS, index.to_le_bytes().as_slice())?;
                Ok(Applied::Recorded { index })
            }
            Err(refused) => Err(refused),
        })
    }

    fn grant(&mut self, grant: Grant) -> Outcome {
        let same = |leaf: &Leaf| matches!(leaf, Leaf::Grant(old) if Grant { time: grant.time, ..*old } == grant);
        self.order(grant.id, &Leaf::Grant(grant), same)
    }

    fn payout(&mut self, payout: Payout) -> Outcome {
        let same = |leaf: &Leaf| matches!(leaf, Leaf::Payout(old) if Payout { time: payout.time, ..*old } == payout);
        self.order(payout.id, &Leaf::Payout(payout), same)
    }

    /// Carries out an order, or finds that it was carried out before. The first time is the one that stands.
    fn order(&mut self, id: TransferId, leaf: &Leaf, is_same: impl Fn(&Leaf) -> bool) -> Outcome {
        if let Some(index) = self.orders.get(&id.0)?.map(|index| index.value()) {
            let same = is_same(&self.leaf(index)?);
            return Ok(if same { Ok(Applied::Before { index: Some(index) }) } else { Err(Refused::OtherOrder { id, index }) });
        }
        Ok(match self.record(leaf, None)? {
            Ok(index) => {
                self.orders.insert(&id.0, index)?;
                self.sums.orders.add(TableSum::of(ORDERS, &id.0, index));
                Ok(Applied::Recorded { index })
            }
            Err(refused) => Err(refused),
        })
    }

    fn hold(&mut self, hold: &Hold) -> Outcome {
        let Hold { job, customer, amount, .. } = *hold;
        if self.terms.is_none() {
            return Ok(Err(BooksError::NoTerms.into()));
        }
        if let Some(index) = self.settled(job)? {
            return Ok(Err(Refused::AlreadySettled { job, index }));
        }
        let held = match self.held(job)? {
            Some(known) if known == *hold => return Ok(Ok(Applied::Before { index: None })),
            Some(known) if known.customer == customer && known.amount < amount => known.amount,
            Some(_) => return Ok(Err(Refused::OtherHold { job })),
            None => Microcredits(0),
        };
        let (balance, more) = (self.balance(Account::Customer(customer))?, amount.0 - held.0);
        let account = Account::Customer(customer);
        let available = balance.checked_available(account)?;
        if available < i128::from(more) {
            return Ok(Err(Refused::Insufficient { customer, available, asked: more }));
        }
        self.set(account, balance.hold(account, more.into())?);
        self.placed.insert(job, *hold);
        Ok(Ok(Applied::Held))
    }

    fn settle(&mut self, entry: &Entry) -> Outcome {
        let (job, attempt) = (entry.job(), entry.attempt());
        if let Err(error) = entry.check(self.gateway) {
            return Ok(Err(error.into()));
        }
        // Whoever placed a hold in this batch has looked.
        if !self.placed.contains_key(&job)
            && let Some(index) = self.settled(job)?
        {
            return Ok(self.compare(index, entry)?.map(Applied::Settled).map_err(Refused::from));
        }
        if let Some(index) = self.paid(job, attempt)? {
            return Ok(Err(EntryError::Paid { job, attempt, index }.into()));
        }
        let index = match self.pay(entry, PaidKind::Settlement)? {
            Ok(index) => index,
            Err(refused) => return Ok(Err(refused)),
        };
        self.settled.insert(job, index);
        Ok(Ok(Applied::Settled(Appended::New { index })))
    }

    fn attempt(&mut self, entry: &Entry) -> Outcome {
        let (job, attempt) = (entry.job(), entry.attempt());
        if let Err(error) = entry.check(self.gateway) {
            return Ok(Err(error.into()));
        }
        if let Some(index) = self.paid(job, attempt)? {
            self.leaf(index)?;
            let stored = read_attempt(&self.leaves, &self.rows, &self.outputs, index, (job, attempt))?;
            let same = stored.receipt.receipt == *entry.receipt.receipt();
            let other = EntryError::Paid { job, attempt, index };
            return Ok(if same { Ok(Applied::Before { index: Some(index) }) } else { Err(other.into()) });
        }
        if let Some(index) = self.settled(job)? {
            return Ok(Err(Refused::AlreadySettled { job, index }));
        }
        let index = match self.pay(entry, PaidKind::Attempt)? {
            Ok(index) => index,
            Err(refused) => return Ok(Err(refused)),
        };
        self.attempts.insert((&job.0, attempt.0), index)?;
        self.sums.attempts.add(TableSum::of(ATTEMPTS, (&job.0, attempt.0), index));
        Ok(Ok(Applied::Recorded { index }))
    }

    /// Pays for an attempt out of its job's hold, in a leaf of this kind, and keeps what the leaf does not say.
    fn pay(&mut self, entry: &Entry, kind: PaidKind) -> Result<Result<u64, Refused>, StoreError> {
        let (job, receipt) = (entry.job(), entry.receipt.receipt());
        let Some(hold) = self.held(job)? else { return Ok(Err(Refused::NoHold { job })) };
        if hold.customer != receipt.client {
            return Ok(Err(Refused::ForeignHold { job }));
        }
        let fee = self.terms.ok_or(StoreError::Books(BooksError::NoTerms))?.fee(receipt.cost);
        let paid = Paid::new(receipt, hold.amount, fee, entry.settled);
        let line = match kind {
            PaidKind::Settlement => Line::Settlement(paid),
            PaidKind::Attempt => Line::Attempt(paid),
        };
        let bytes = Leaf::paid_bytes(kind, &entry.receipt, hold.amount, fee, entry.settled);
        let recorded = self.record_line(&line, &bytes, Some(&hold))?;
        if let Ok(index) = recorded {
            self.rows.insert(index, Row::of(entry).encode(index).as_slice())?;
            if let Some(output) = &entry.output {
                self.outputs.insert(index, output.as_slice())?;
            }
        }
        Ok(recorded)
    }

    /// The receipt decides, not its proof: a node that sends a receipt again may have signed it in another batch.
    fn compare(&self, index: u64, entry: &Entry) -> Result<Result<Appended, EntryError>, StoreError> {
        let job = entry.job();
        self.leaf(index)?;
        let stored = read_job(&self.leaves, &self.rows, &self.outputs, index, job)?;
        if stored.receipt.receipt != *entry.receipt.receipt() {
            return Ok(Err(EntryError::Conflict { job, index }));
        }
        Ok(Ok(Appended::Existing(Box::new(stored))))
    }

    fn void(&mut self, job: JobId, customer: PublicKey, reason: VoidReason, time: UnixMillis) -> Outcome {
        let Some(hold) = self.held(job)? else {
            return Ok(Err(match self.settled(job)? {
                Some(index) => Refused::AlreadySettled { job, index },
                None => Refused::NoHold { job },
            }));
        };
        if hold.customer != customer {
            return Ok(Err(Refused::ForeignHold { job }));
        }
        Ok(self.give_back(&hold, reason, time)?.map(|index| Applied::Recorded { index }))
    }

    fn expire(&mut self, now: UnixMillis) -> Outcome {
        let mut over = Vec::new();
        for row in self.holds.iter()? {
            let (job, hold) = row?;
            over.push((hold.value().2, JobId(*job.value())));
        }
        over.retain(|(_, job)| !self.placed.contains_key(job));
        over.extend(self.placed.values().map(|hold| (hold.expires.0, hold.job)));
        over.retain(|(expires, _)| *expires <= now.0);
        over.sort_unstable();
        let mut expired = Vec::new();
        for (_, job) in over.into_iter().take(EXPIRED_MAX) {
            let hold = self.held(job)?.ok_or(StoreError::Corrupt { index: 0, fault: Corruption::Missing })?;
            match self.give_back(&hold, VoidReason::Expired, now)? {
                Ok(index) => expired.push((job, index)),
                Err(refused) => return Ok(Err(refused)),
            }
        }
        Ok(Ok(Applied::Expired(expired)))
    }

    /// Notes an attempt behind the others of its node, and forgets the oldest ones that are over [`UNPAID_MAX`].
    fn note_unpaid(&mut self, node: &PublicKey, attempt: &UnpaidAttempt) -> Outcome {
        let bytes = attempt.reason.len();
        if bytes > REASON_BYTES_MAX {
            let error = EntryError::TooLarge { job: attempt.job, part: "reason", bytes, bytes_max: REASON_BYTES_MAX };
            return Ok(Err(error.into()));
        }
        let last = self.unpaid.range((&node.0, 0)..=(&node.0, u64::MAX))?.next_back().transpose()?;
        let number = last.map_or(0, |(key, _)| key.value().1 + 1);
        let attempt = postcard::to_allocvec(attempt).expect("an attempt always encodes");
        self.unpaid.insert((&node.0, number), attempt.as_slice())?;
        if let Some(end) = number.checked_sub(UNPAID_MAX) {
            self.unpaid.retain_in((&node.0, 0)..=(&node.0, end), |_, _| false)?;
        }
        self.has_changed = true;
        Ok(Ok(Applied::Noted))
    }

    fn give_back(&mut self, hold: &Hold, reason: VoidReason, time: UnixMillis) -> Result<Result<u64, Refused>, StoreError> {
        let Hold { job, customer, amount, .. } = *hold;
        self.record(&Leaf::Void(Voided { job, customer, held: amount, reason, time }), Some(hold))
    }

    /// Adds a leaf and moves what it moves, out of `hold` where there is one, which ends with it or goes on with what is left.
    fn record(&mut self, leaf: &Leaf, hold: Option<&Hold>) -> Result<Result<u64, Refused>, StoreError> {
        self.record_line(&Line::of(leaf), &leaf.to_bytes(), hold)
    }

    /// As [`Change::record`], of a leaf with these bytes that is this line of the books.
    fn record_line(&mut self, line: &Line, bytes: &[u8], hold: Option<&Hold>) -> Result<Result<u64, Refused>, StoreError> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Ok(Err(too_large(line, bytes.len())));
        }
        debug_assert_eq!(Leaf::from_bytes(bytes).ok().map(|leaf| Line::of(&leaf)), Some(*line), "a leaf is the line that it is");
        let postings = match line.postings(self.terms.as_ref()) {
            Ok(postings) => postings,
            Err(error) => return Ok(Err(error.into())),
        };
        let rest = match line {
            Line::Attempt(paid) => Some(paid.left),
            _ => None,
        };
        if let Err(error) = self.post(postings.into_iter().flatten(), hold, rest)? {
            // What is held is there to be spent: else the books are wrong, and nobody shall guess how.
            return if hold.is_some() { Err(error.into()) } else { Ok(Err(error.into())) };
        }
        let index = self.edge.size();
        if self.leaves.insert(index, bytes)?.is_some() {
            return Err(StoreError::Corrupt { index, fault: Corruption::Gap });
        }
        self.edge.push(bytes, &mut self.full);
        self.fresh.extend(keys(line, index).map(|key| (key, index)));
        match (hold, rest) {
            (Some(hold), Some(rest)) => _ = self.placed.insert(hold.job, Hold { amount: rest, ..*hold }),
            (Some(hold), None) => self.end_hold(hold.job)?,
            (None, _) => {}
        }
        self.has_changed = true;
        Ok(Ok(index))
    }

    fn end_hold(&mut self, job: JobId) -> Result<(), StoreError> {
        self.placed.remove(&job);
        if self.stored_hold(job)?.is_some()
            && let Some(before) = self.holds.remove(&job.0)?
        {
            self.sums.holds.take(TableSum::of(HOLDS, &job.0, before.value()));
        }
        Ok(())
    }

    /// Changes balances, all or none. Of `hold` the `rest` stays held.
    fn post(
        &mut self,
        postings: impl IntoIterator<Item = Posting>,
        hold: Option<&Hold>,
        rest: Option<Microcredits>,
    ) -> Result<Result<(), BooksError>, StoreError> {
        let mut changed = BTreeMap::new();
        if let Some(Hold { customer, amount, .. }) = hold {
            let account = Account::Customer(*customer);
            let balance = self.balance(account)?;
            let released = i128::from(amount.0) - rest.map_or(0, |rest| i128::from(rest.0));
            changed.insert(account, balance.hold(account, -released)?);
        }
        for posting in postings {
            let before = match changed.get(&posting.account) {
                Some(balance) => *balance,
                None => self.balance(posting.account)?,
            };
            match before.post(posting) {
                Ok(after) => changed.insert(posting.account, after),
                Err(error) => return Ok(Err(error)),
            };
        }
        self.balances.extend(changed);
        Ok(Ok(()))
    }

    fn balance(&mut self, account: Account) -> Result<Balance, StoreError> {
        if let Some(balance) = self.balances.get(&account) {
            return Ok(*balance);
        }
        let stored = self.accounts.get(&account.to_key())?;
        Ok(stored.map_or(Balance::default(), |balance| Balance::from_bytes(balance.value())))
    }

    fn set(&mut self, account: Account, balance: Balance) {
        self.balances.insert(account, balance);
        self.has_changed = true;
    }

    fn settled(&self, job: JobId) -> Result<Option<u64>, StoreError> {
        match self.settled.get(&job).copied().or_else(|| self.recent.read().job(job)) {
            Some(index) => Ok(Some(index)),
            None => Ok(self.jobs.get(&job.0)?.map(|index| index.value())),
        }
    }

    /// Where an attempt is that was paid and did not end its job.
    fn paid(&self, job: JobId, attempt: Attempt) -> Result<Option<u64>, StoreError> {
        Ok(self.attempts.get((&job.0, attempt.0))?.map(|index| index.value()))
    }

    fn held(&self, job: JobId) -> Result<Option<Hold>, StoreError> {
        match self.placed.get(&job) {
            Some(hold) => Ok(Some(*hold)),
            None => self.stored_hold(job),
        }
    }

    fn stored_hold(&self, job: JobId) -> Result<Option<Hold>, StoreError> {
        Ok(self.holds.get(&job.0)?.map(|hold| {
            let (customer, amount, expires) = hold.value();
            Hold { job, customer: PublicKey(*customer), amount: Microcredits(amount), expires: UnixMillis(expires) }
        }))
    }

    /// A leaf that was written before. One of this batch is in no tile yet, so its bytes are taken as they are.
    fn leaf(&self, index: u64) -> Result<Leaf, StoreError> {
        if index < self.begun {
            check_leaf(&self.leaves, &self.tiles, index)?;
        }
        read_leaf(&self.leaves, index)
    }
}

fn too_large(line: &Line, bytes: usize) -> Refused {
    let paid = line.paid().expect("only a receipt has a text of its node's");
    EntryError::TooLarge { job: paid.job, part: "receipt", bytes, bytes_max: LEAF_BYTES_MAX }.into()
}
