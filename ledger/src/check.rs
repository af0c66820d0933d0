//! The whole ledger against its own log: what a start leaves out, because it takes as long as the log is.

use std::collections::{BTreeMap, BTreeSet};

use adit_protocol::{JobId, Leaf, PublicKey, Settled};
use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, Value};

use crate::books::{ACCOUNT_BYTES, Account, Balance, Books, BooksError, Line};
use crate::operation::UNPAID_MAX;
use crate::reader::{Corruption, StoreError, check_leaf, open_job, read_leaf, read_unpaid};
use crate::recent::{IndexKey, indexed, keys};
use crate::schema::{
    ACCOUNTS, ATTEMPTS, HOLDS, JOBS, LEAVES, META, META_TERMS, ORDERS, OUTPUTS, ROWS, STATEMENTS, TILES, UNPAID, check_balances,
};
use crate::sums::Sums;
use crate::tree::{Edge, Place};

/// The tables, and what the leaves read so far say of them.
struct Check {
    leaves: ReadOnlyTable<u64, &'static [u8]>,
    tiles: ReadOnlyTable<Place, &'static [u8]>,
    rows: ReadOnlyTable<u64, &'static [u8]>,
    outputs: ReadOnlyTable<u64, &'static [u8]>,
    jobs: ReadOnlyTable<&'static [u8; 16], u64>,
    attempts: ReadOnlyTable<(&'static [u8; 16], u32), u64>,
    orders: ReadOnlyTable<&'static [u8; 16], u64>,
    statements: ReadOnlyTable<(&'static [u8; ACCOUNT_BYTES], bool, u64), ()>,
    /// Below which leaf the indexes of jobs and accounts lack nothing.
    indexed: u64,
    books: Books,
    /// Customers of whom something was held that went back: they have an account, be there nothing in it.
    voided: BTreeSet<PublicKey>,
    edge: Edge,
    terms: Option<u64>,
    due: Due,
}

/// How many entries the tables must have.
#[derive(Default)]
struct Due {
    full_tiles: u64,
    rows: u64,
    jobs: u64,
    attempts: u64,
    outputs: u64,
    orders: u64,
    statements: u64,
}

/// Folds the log, and compares all tables to it. Reads leaf by leaf; what stays in memory are the books and the open holds.
pub(crate) fn check(transaction: &ReadTransaction) -> Result<Books, StoreError> {
    let mut check = Check {
        leaves: transaction.open_table(LEAVES)?,
        tiles: transaction.open_table(TILES)?,
        rows: transaction.open_table(ROWS)?,
        outputs: transaction.open_table(OUTPUTS)?,
        jobs: transaction.open_table(JOBS)?,
        attempts: transaction.open_table(ATTEMPTS)?,
        orders: transaction.open_table(ORDERS)?,
        statements: transaction.open_table(STATEMENTS)?,
        indexed: indexed(transaction)?,
        books: Books::default(),
        voided: BTreeSet::new(),
        edge: Edge::default(),
        terms: None,
        due: Due::default(),
    };
    let leaves = check.leaves.len()?;
    for index in 0..leaves {
        check.leaf(index)?;
    }
    check.tables(leaves)?;
    check.tree(leaves)?;
    check.terms(transaction)?;
    check.books.check()?;
    check_accounts(transaction, &check.books, check.voided)?;
    check_holds(transaction, &check.books)?;
    check_unpaid(transaction)?;
    // No leaf says of which job a hold is and when it ends.
    Sums::read(transaction)?;
    Ok(check.books)
}

impl Check {
    /// Takes in the leaf at `index`, and looks for all that was written with it.
    fn leaf(&mut self, index: u64) -> Result<(), StoreError> {
        let bytes = check_leaf(&self.leaves, &self.tiles, index)?;
        let leaf = read_leaf(&self.leaves, index)?;
        let mut full = Vec::new();
        self.edge.push(&bytes, &mut full);
        for ((level, index), tile) in full {
            self.due.full_tiles += 1;
            if self.tiles.get((level, index))?.is_none_or(|kept| kept.value() != tile) {
                return Err(StoreError::Corrupt { index, fault: Corruption::Tile { level } });
            }
        }
        match &leaf {
            Leaf::Terms(_) => self.terms = Some(index),
            Leaf::Grant(grant) => self.order(grant.id.0, index)?,
            Leaf::Payout(payout) => self.order(payout.id.0, index)?,
            Leaf::Attempt(settled) => self.attempt(settled, index)?,
            Leaf::Void(voided) => _ = self.voided.insert(voided.customer),
            Leaf::Settlement(_) => {}
        }
        if let Some(settled) = leaf.paid() {
            self.paid(settled, index)?;
        }
        let line = Line::of(&leaf);
        self.entries(&line, index)?;
        Ok(self.books.apply_line(&line)?)
    }

    fn order(&mut self, id: [u8; 16], index: u64) -> Result<(), StoreError> {
        self.due.orders += 1;
        leads_to(self.orders.get(&id)?.map(|found| found.value()), index)
    }

    fn attempt(&mut self, settled: &Settled, index: u64) -> Result<(), StoreError> {
        let receipt = &settled.receipt.receipt;
        self.due.attempts += 1;
        leads_to(self.attempts.get((&receipt.job.0, receipt.attempt.0))?.map(|found| found.value()), index)
    }

    /// The receipt can be opened by its row, and its output is the one that it has the digest of.
    fn paid(&mut self, settled: &Settled, index: u64) -> Result<(), StoreError> {
        let stored = open_job(settled.clone(), &self.rows, &self.outputs, index)?;
        self.due.rows += 1;
        self.due.outputs += u64::from(stored.output.is_some());
        Ok(())
    }

    /// The job that the leaf settles leads to it, and those whom it concerns find it in their statements: in the tables, or where it is so
    /// new that whoever opens the ledger reads it again.
    fn entries(&mut self, line: &Line, index: u64) -> Result<(), StoreError> {
        for key in keys(line, index) {
            let (found, count, fault) = match key {
                IndexKey::Job(job) => (self.jobs.get(&job)?.map(|found| found.value()), &mut self.due.jobs, Corruption::Missing),
                IndexKey::Statement(account, is_other, index) => {
                    let found = self.statements.get((&account, is_other, index))?.map(|_| index);
                    (found, &mut self.due.statements, Corruption::Index)
                }
            };
            match found {
                Some(found) if found == index => *count += 1,
                Some(_) => return Err(StoreError::Corrupt { index, fault: Corruption::Index }),
                None if index < self.indexed => return Err(StoreError::Corrupt { index, fault }),
                None => {}
            }
        }
        Ok(())
    }

    /// Whatever has an entry for each thing that the leaves say has no other.
    fn tables(&self, leaves: u64) -> Result<(), StoreError> {
        count("leaves", &self.leaves, leaves)?;
        count("tiles", &self.tiles, self.due.full_tiles + self.edge.partial().count() as u64)?;
        count("rows", &self.rows, self.due.rows)?;
        count("outputs", &self.outputs, self.due.outputs)?;
        count("settled jobs", &self.jobs, self.due.jobs)?;
        count("paid attempts", &self.attempts, self.due.attempts)?;
        count("orders", &self.orders, self.due.orders)?;
        count("statements", &self.statements, self.due.statements)
    }

    /// The tiles at the edge are those over these leaves, and so the root is theirs.
    fn tree(&self, leaves: u64) -> Result<(), StoreError> {
        let kept = Edge::read(leaves, &self.tiles)?;
        match kept.partial().zip(self.edge.partial()).find(|(kept, due)| kept != due) {
            Some((((level, index), _), _)) => Err(StoreError::Corrupt { index, fault: Corruption::Tile { level } }),
            None => Ok(()),
        }
    }

    /// The terms that hold are those of the last leaf that states any.
    fn terms(&self, transaction: &ReadTransaction) -> Result<(), StoreError> {
        let meta = transaction.open_table(META)?;
        let kept = meta.get(META_TERMS)?.map(|index| index.value().to_vec());
        if kept != self.terms.map(|index| index.to_le_bytes().to_vec()) {
            return Err(StoreError::Corrupt { index: self.terms.unwrap_or(0), fault: Corruption::Index });
        }
        Ok(())
    }
}

fn leads_to(found: Option<u64>, index: u64) -> Result<(), StoreError> {
    match found {
        Some(found) if found == index => Ok(()),
        Some(_) => Err(StoreError::Corrupt { index, fault: Corruption::Index }),
        None => Err(StoreError::Corrupt { index, fault: Corruption::Missing }),
    }
}

/// Checks how many entries a table has, by its own number and by counting them.
fn count<K: Key + 'static, V: Value + 'static>(
    what: &'static str,
    table: &ReadOnlyTable<K, V>,
    due: u64,
) -> Result<(), StoreError> {
    let mut counted = 0;
    for entry in table.iter()? {
        entry?;
        counted += 1;
    }
    match [table.len()?, counted].into_iter().find(|found| *found != due) {
        Some(found) => Err(StoreError::Inconsistent { what, found, due }),
        None => Ok(()),
    }
}

/// Every balance is the fold of the leaves, none is missing, and there are no others.
fn check_accounts(transaction: &ReadTransaction, books: &Books, voided: BTreeSet<PublicKey>) -> Result<(), StoreError> {
    let accounts = transaction.open_table(ACCOUNTS)?;
    let mut due: BTreeSet<Account> = books.accounts().map(|(account, _)| account).collect();
    due.extend(voided.into_iter().map(Account::Customer));
    for row in transaction.open_table(HOLDS)?.iter()? {
        due.insert(Account::Customer(PublicKey(*row?.1.value().0)));
    }
    let mut all = due.clone();
    for row in accounts.iter()? {
        let key = row?.0;
        all.insert(Account::from_key(key.value()).ok_or(StoreError::Corrupt { index: 0, fault: Corruption::Encoding })?);
    }
    for account in all {
        let kept = accounts.get(&account.to_key())?.map_or(0, |balance| Balance::from_bytes(balance.value()).posted);
        let due = books.posted(account);
        if kept != due {
            return Err(BooksError::Kept { account, kept, due }.into());
        }
    }
    count("accounts", &accounts, due.len() as u64)
}

/// What is held of an account is the sum of its holds, no settled job has one, a job whose paid attempts left something has one of no less,
/// and each is found.
fn check_holds(transaction: &ReadTransaction, books: &Books) -> Result<(), StoreError> {
    check_balances::<StoreError>(transaction)?;
    let holds = transaction.open_table(HOLDS)?;
    let mut found = 0;
    for row in holds.iter()? {
        let (job, hold) = row?;
        let id = JobId(*job.value());
        if books.has_settled(id) {
            return Err(BooksError::Settled(id).into());
        }
        found += u64::from(holds.get(&id.0)?.is_some_and(|found| found.value() == hold.value()));
    }
    for (job, left) in books.left() {
        let held = holds.get(&job.0)?.map(|hold| hold.value().1);
        if held.is_none_or(|held| held < left.0) {
            return Err(BooksError::UnderHold { job, held: held.unwrap_or(0), left: left.0 }.into());
        }
    }
    count("holds", &holds, found)
}

/// Every unpaid attempt can be read, and a node's are its newest, without a gap. No leaf tells of them.
fn check_unpaid(transaction: &ReadTransaction) -> Result<(), StoreError> {
    const WHAT: &str = "unpaid attempts";
    let unpaid = transaction.open_table(UNPAID)?;
    let (mut kept, mut all) = (BTreeMap::<[u8; 32], (u64, u64)>::new(), 0);
    for row in unpaid.iter()? {
        let (key, attempt) = row?;
        let (node, number) = key.value();
        read_unpaid(number, attempt.value())?;
        let (first, found) = kept.entry(*node).or_insert((number, 0));
        *found += 1;
        all += 1;
        // The rows come in order.
        let due = number - *first + 1;
        if *found != due {
            return Err(StoreError::Inconsistent { what: WHAT, found: *found, due });
        }
    }
    if let Some((_, found)) = kept.into_values().find(|(_, found)| *found > UNPAID_MAX) {
        return Err(StoreError::Inconsistent { what: WHAT, found, due: UNPAID_MAX });
    }
    count(WHAT, &unpaid, all)
}
