//! The whole ledger against its own log: what a start leaves out, because it takes as long as the log is.
//!
//! It goes in steps, each in a transaction of its own where others write meanwhile: one that is held keeps the file from using again the
//! pages that are freed while it is, some megabytes for each second of a busy gateway. Leaves, and what is written with each, never change
//! behind a step that has looked at them. Balances and holds do, so what is compared to all leaves is compared in the last step, once all
//! leaves of its transaction were taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Bound, Range};

use adit_protocol::{JobId, Leaf, PublicKey, Settled, TransferId};
use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Value};

use crate::books::{ACCOUNT_BYTES, Account, Balance, Books, BooksError, Line};
use crate::operation::UNPAID_MAX;
use crate::reader::{Corruption, Reader, StoreError, check_leaf, open_job, read_leaf, read_unpaid};
use crate::recent::{IndexKey, indexed, keys, leads_here};
use crate::schema::{
    ACCOUNTS, ATTEMPTS, HOLDS, JOBS, LEAVES, META, META_TERMS, ORDERS, OUTPUTS, ROWS, STATEMENTS, TILES, UNPAID, check_balances,
};
use crate::sums::Sums;
use crate::tree::{Edge, Place, TILE_HASHES};

/// Leaves that a step takes in: one tile of them, which takes a millisecond or so.
const STEP_LEAVES: u64 = TILE_HASHES as u64;

/// Entries of an index that a step looks at.
const STEP_ENTRIES: usize = 1_024;

/// A check of the whole ledger beside its writer, as [`Reader::check_books`] makes it in one go: step by step, as fast as whoever calls
/// likes. What it finds is known to all who read the ledger, and ends recording.
#[derive(Debug)]
pub struct Scrub {
    reader: Reader,
    check: Check,
}

/// What the leaves read so far say of the tables.
#[derive(Default)]
struct Check {
    books: Books,
    /// Whether the books keep which jobs were settled and which orders carried out, for whoever asks for them. The indexes, in which each
    /// leaf finds itself, say that too, and some 40 bytes for each job are much where there are many.
    keeps_all: bool,
    /// Customers of whom something was held that went back: they have an account, be there nothing in it.
    voided: BTreeSet<PublicKey>,
    edge: Edge,
    terms: Option<u64>,
    /// The first leaf that the indexes of jobs and accounts may have lacked when it was looked at.
    unindexed: Option<u64>,
    due: Due,
    found: Found,
    /// Nothing before all leaves were taken in once.
    walk: Option<Walk>,
}

/// How many entries the tables must have.
#[derive(Debug, Default, Clone, Copy)]
struct Due {
    full_tiles: u64,
    rows: u64,
    /// Of leaves below [`Check::unindexed`], as of statements.
    jobs: u64,
    attempts: u64,
    outputs: u64,
    orders: u64,
    statements: u64,
}

/// How many entries tables had that are in the order of the leaves.
#[derive(Debug, Default)]
struct Found {
    leaves: u64,
    rows: u64,
    outputs: u64,
}

/// A way through the indexes, which are in an order of their own: whatever has an entry for each thing that the leaves say has no other.
struct Walk {
    /// What was due when it began: an entry that came later may lie behind it.
    due: Due,
    /// The leaves then.
    leaves: u64,
    /// As [`Check::unindexed`].
    indexed: u64,
    at: Index,
    /// The last key that was looked at, in bytes.
    last: Option<Vec<u8>>,
    found: u64,
}

/// The indexes, in the order in which they are gone through.
#[derive(Debug, Clone, Copy)]
enum Index {
    Jobs,
    Attempts,
    Orders,
    Statements,
    End,
}

/// The tables as a transaction has them.
struct Tables {
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
}

/// Folds the log, and compares all tables to it. Reads leaf by leaf; what stays in memory are the books and the open holds.
pub(crate) fn check(transaction: &ReadTransaction) -> Result<Books, StoreError> {
    let mut check = Check { keeps_all: true, ..Check::default() };
    while !check.step(transaction)? {}
    Sums::read(transaction)?;
    Ok(check.books)
}

impl Scrub {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, check: Check::default() }
    }

    /// Checks some more: a millisecond's work, and at the end as much as reading all accounts and open holds is. How many leaves there are,
    /// once all is found sound; nothing before then.
    ///
    /// # Errors
    /// [`StoreError`] names the first leaf, account or table that is wrong. There is no other step then.
    pub fn step(&mut self) -> Result<Option<u64>, StoreError> {
        let Self { reader, check } = self;
        let is_done = reader.damage().watch(|| check.step(&reader.database().begin_read()?))?;
        Ok(is_done.then(|| check.edge.size()))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("leaves", &self.edge.size()).field("due", &self.due).finish_non_exhaustive()
    }
}

impl Tables {
    fn open(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            leaves: transaction.open_table(LEAVES)?,
            tiles: transaction.open_table(TILES)?,
            rows: transaction.open_table(ROWS)?,
            outputs: transaction.open_table(OUTPUTS)?,
            jobs: transaction.open_table(JOBS)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            orders: transaction.open_table(ORDERS)?,
            statements: transaction.open_table(STATEMENTS)?,
            indexed: indexed(transaction)?,
        })
    }
}

impl Check {
    /// Takes in the next leaves, and where there are none, goes on through the indexes. Whether all is checked.
    fn step(&mut self, transaction: &ReadTransaction) -> Result<bool, StoreError> {
        let tables = Tables::open(transaction)?;
        let leaves = tables.leaves.len()?;
        self.take_in(&tables, leaves.min(self.edge.size() + STEP_LEAVES))?;
        if self.edge.size() < leaves {
            return Ok(false);
        }
        let begun = || Walk::new(self.due, leaves, self.unindexed.unwrap_or(leaves));
        if !self.walk.get_or_insert_with(begun).step(&tables)? {
            return Ok(false);
        }
        self.end(transaction, &tables)?;
        Ok(true)
    }

    /// Takes in the leaves below `end`.
    fn take_in(&mut self, tables: &Tables, end: u64) -> Result<(), StoreError> {
        let first = self.edge.size();
        for index in first..end {
            self.leaf(tables, index)?;
        }
        if !self.keeps_all && self.unindexed.is_none() {
            self.books.forget_ended();
        }
        self.found.leaves += counted(&tables.leaves, first..end)?;
        self.found.rows += counted(&tables.rows, first..end)?;
        self.found.outputs += counted(&tables.outputs, first..end)?;
        same("leaves", self.found.leaves, end)?;
        same("rows", self.found.rows, self.due.rows)?;
        same("outputs", self.found.outputs, self.due.outputs)
    }

    /// Takes in the leaf at `index`, and looks for all that was written with it.
    fn leaf(&mut self, tables: &Tables, index: u64) -> Result<(), StoreError> {
        let bytes = check_leaf(&tables.leaves, &tables.tiles, index)?;
        let leaf = read_leaf(&tables.leaves, index)?;
        let mut full = Vec::new();
        self.edge.push(&bytes, &mut full);
        for ((level, index), tile) in full {
            self.due.full_tiles += 1;
            if tables.tiles.get((level, index))?.is_none_or(|kept| kept.value() != tile) {
                return Err(StoreError::Corrupt { index, fault: Corruption::Tile { level } });
            }
        }
        match &leaf {
            Leaf::Terms(_) => self.terms = Some(index),
            Leaf::Grant(grant) => self.order(tables, grant.id, index)?,
            Leaf::Payout(payout) => self.order(tables, payout.id, index)?,
            Leaf::Attempt(settled) => self.attempt(tables, settled, index)?,
            Leaf::Void(voided) => _ = self.voided.insert(voided.customer),
            Leaf::Settlement(_) => {}
        }
        if let Some(settled) = leaf.paid() {
            self.paid(tables, settled, index)?;
        }
        let line = Line::of(&leaf);
        self.entries(tables, &line, index)?;
        Ok(self.books.apply_line(&line)?)
    }

    fn order(&mut self, tables: &Tables, id: TransferId, index: u64) -> Result<(), StoreError> {
        self.due.orders += 1;
        leads_to(tables.orders.get(&id.0)?.map(|found| found.value()), index)
    }

    fn attempt(&mut self, tables: &Tables, settled: &Settled, index: u64) -> Result<(), StoreError> {
        let receipt = &settled.receipt.receipt;
        self.due.attempts += 1;
        leads_to(tables.attempts.get((&receipt.job.0, receipt.attempt.0))?.map(|found| found.value()), index)
    }

    /// The receipt can be opened by its row, and its output is the one that it has the digest of.
    fn paid(&mut self, tables: &Tables, settled: &Settled, index: u64) -> Result<(), StoreError> {
        let stored = open_job(settled.clone(), &tables.rows, &tables.outputs, index)?;
        self.due.rows += 1;
        self.due.outputs += u64::from(stored.output.is_some());
        Ok(())
    }

    /// The job that the leaf settles leads to it, and those whom it concerns find it in their statements: in the tables, or where it is so
    /// new that whoever opens the ledger reads it again.
    fn entries(&mut self, tables: &Tables, line: &Line, index: u64) -> Result<(), StoreError> {
        if index >= tables.indexed {
            self.unindexed.get_or_insert(index);
        }
        let is_counted = self.unindexed.is_none();
        for key in keys(line, index) {
            let (found, count, fault) = match key {
                IndexKey::Job(job) => {
                    (tables.jobs.get(&job)?.map(|found| found.value()), &mut self.due.jobs, Corruption::Missing)
                }
                IndexKey::Statement(account, is_other, index) => {
                    let found = tables.statements.get((&account, is_other, index))?.map(|_| index);
                    (found, &mut self.due.statements, Corruption::Index)
                }
            };
            match found {
                Some(found) if found != index => return Err(StoreError::Corrupt { index, fault: Corruption::Index }),
                None if index < tables.indexed => return Err(StoreError::Corrupt { index, fault }),
                Some(_) | None => *count += u64::from(is_counted),
            }
        }
        Ok(())
    }

    /// Compares what changes with each commit to all leaves, which were taken in.
    fn end(&self, transaction: &ReadTransaction, tables: &Tables) -> Result<(), StoreError> {
        same("leaves", tables.leaves.len()?, self.edge.size())?;
        same("tiles", tables.tiles.len()?, self.due.full_tiles + self.edge.partial().count() as u64)?;
        same("rows", tables.rows.len()?, self.due.rows)?;
        same("outputs", tables.outputs.len()?, self.due.outputs)?;
        same("paid attempts", tables.attempts.len()?, self.due.attempts)?;
        same("orders", tables.orders.len()?, self.due.orders)?;
        self.tree(tables)?;
        self.terms(transaction)?;
        self.books.check()?;
        check_accounts(transaction, &self.books, self.voided.clone())?;
        check_holds(transaction, &tables.jobs, &self.books)?;
        check_unpaid(transaction)?;
        // No leaf says of which job a hold is and when it ends.
        Sums::check_balances(transaction)
    }

    /// The tiles at the edge are those over these leaves, and so the root is theirs.
    fn tree(&self, tables: &Tables) -> Result<(), StoreError> {
        let kept = Edge::read(self.edge.size(), &tables.tiles)?;
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

impl Walk {
    fn new(due: Due, leaves: u64, indexed: u64) -> Self {
        Self { due, leaves, indexed, at: Index::Jobs, last: None, found: 0 }
    }

    /// Goes on. Whether it was at its end before.
    fn step(&mut self, tables: &Tables) -> Result<bool, StoreError> {
        let Self { due, leaves, indexed, .. } = *self;
        match self.at {
            Index::Jobs => self.go_on(&tables.jobs, "settled jobs", due.jobs, Index::Attempts, |job, index| {
                is_below(indexed, tables, index, |leaf| leads_here(leaf, index, IndexKey::Job(*job)))
            })?,
            Index::Attempts => self.go_on(&tables.attempts, "paid attempts", due.attempts, Index::Orders, |attempt, index| {
                is_below(leaves, tables, index, |leaf| matches!(leaf, Leaf::Attempt(paid) if attempt == attempt_of(paid)))
            })?,
            Index::Orders => self.go_on(&tables.orders, "orders", due.orders, Index::Statements, |id, index| {
                is_below(leaves, tables, index, |leaf| match leaf {
                    Leaf::Grant(grant) => grant.id.0 == *id,
                    Leaf::Payout(payout) => payout.id.0 == *id,
                    _ => false,
                })
            })?,
            Index::Statements => self.go_on(&tables.statements, "statements", due.statements, Index::End, |key, ()| {
                let (account, is_other, index) = key;
                let key = IndexKey::Statement(*account, is_other, index);
                is_below(indexed, tables, index, |leaf| leads_here(leaf, index, key))
            })?,
            Index::End => return Ok(true),
        }
        Ok(false)
    }

    /// Looks at some entries more of a table, and behind its last one compares how many were counted, and begins `next`.
    fn go_on<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: &ReadOnlyTable<K, V>,
        what: &'static str,
        due: u64,
        next: Index,
        mut is_counted: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let begun = self.last.take();
        let from = begun.as_deref().map_or(Bound::Unbounded, |last| Bound::Excluded(K::from_bytes(last)));
        let mut entries = table.range::<K::SelfType<'_>>((from, Bound::Unbounded))?;
        let mut last = begun.clone();
        for _ in 0..STEP_ENTRIES {
            let Some(entry) = entries.next() else {
                (self.at, self.last) = (next, None);
                return same(what, std::mem::take(&mut self.found), due);
            };
            let (key, value) = entry?;
            let bytes = K::as_bytes(&key.value()).as_ref().to_vec();
            // Else this could go on for ever.
            if last.as_ref().is_some_and(|last| K::compare(last, &bytes).is_ge()) {
                return Err(StoreError::Altered { what });
            }
            self.found += u64::from(is_counted(key.value(), value.value())?);
            last = Some(bytes);
        }
        self.last = last;
        Ok(())
    }
}

/// Whether an entry is of a leaf below `end`, each of which has found its own. One of another is compared to its leaf.
fn is_below(end: u64, tables: &Tables, index: u64, is_of: impl FnOnce(&Leaf) -> bool) -> Result<bool, StoreError> {
    if index < end {
        return Ok(true);
    }
    if is_of(&read_leaf(&tables.leaves, index)?) {
        Ok(false)
    } else {
        Err(StoreError::Corrupt { index, fault: Corruption::Index })
    }
}

fn attempt_of(paid: &Settled) -> (&[u8; 16], u32) {
    (&paid.receipt.receipt.job.0, paid.receipt.receipt.attempt.0)
}

fn leads_to(found: Option<u64>, index: u64) -> Result<(), StoreError> {
    match found {
        Some(found) if found == index => Ok(()),
        Some(_) => Err(StoreError::Corrupt { index, fault: Corruption::Index }),
        None => Err(StoreError::Corrupt { index, fault: Corruption::Missing }),
    }
}

/// How many entries a table has of the leaves in a range, by counting them.
fn counted(table: &ReadOnlyTable<u64, &'static [u8]>, leaves: Range<u64>) -> Result<u64, StoreError> {
    let mut counted = 0;
    for entry in table.range(leaves)? {
        entry?;
        counted += 1;
    }
    Ok(counted)
}

fn same(what: &'static str, found: u64, due: u64) -> Result<(), StoreError> {
    if found == due { Ok(()) } else { Err(StoreError::Inconsistent { what, found, due }) }
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
    same(what, table.len()?, due)?;
    same(what, counted, due)
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
fn check_holds(
    transaction: &ReadTransaction,
    jobs: &ReadOnlyTable<&'static [u8; 16], u64>,
    books: &Books,
) -> Result<(), StoreError> {
    check_balances::<StoreError>(transaction)?;
    let holds = transaction.open_table(HOLDS)?;
    let mut found = 0;
    for row in holds.iter()? {
        let (job, hold) = row?;
        let id = JobId(*job.value());
        if books.has_settled(id) || jobs.get(&id.0)?.is_some() {
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
