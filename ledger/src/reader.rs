use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use adit_protocol::limits::LEAF_BYTES_MAX;
use adit_protocol::{
    Attempt, Digest, JobId, Leaf, Microcredits, PublicKey, Settled, SignedReceipt, Terms, TransferId, UnixMillis, UnpaidAttempt,
    decode_exact,
};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use tlog_tiles::{prove_record, prove_tree, record_hash};

use crate::StoredJob;
use crate::books::{Account, Balance, Books, BooksError};
use crate::check::{Scrub, check};
use crate::damage::Damage;
use crate::operation::Hold;
use crate::recent::{IndexKey, SharedRecent, leads_here};
use crate::row::Row;
use crate::schema::{
    ACCOUNTS, ATTEMPTS, HOLDS, JOBS, LEAVES, META, META_TERMS, ORDERS, OUTPUTS, ROWS, STATEMENTS, TILES, UNPAID,
};
use crate::tree::{Edge, HASH_BYTES, TILE_HASHES, Tiles, TreeHead, leaf_place, read_full_tile, read_hash, read_tile};

/// Reads a ledger beside its writer. Each call sees the ledger as of one commit.
///
/// The file stays open, and locked against a second ledger, until the ledger and all of its readers are gone.
#[derive(Debug, Clone)]
pub struct Reader {
    db: Arc<Open>,
    recent: SharedRecent,
    damage: Damage,
}

/// The database. Where redb has panicked it does so again when it is closed; the file is closed and unlocked all the same, and whoever only
/// lets go of a ledger goes on.
#[derive(Debug)]
struct Open(Option<Database>);

impl Drop for Open {
    fn drop(&mut self) {
        let database = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// A client's receipts, as many as were asked for: of its settled jobs, and of attempts that were paid and did not end their jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptPage {
    /// Each with its index, oldest first.
    pub rows: Vec<(u64, SignedReceipt)>,
    /// The index to ask from next; nothing where the end was reached.
    pub next: Option<u64>,
}

/// A node's attempts that were not paid, as many as were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpaidPage {
    /// Each with its number, oldest first.
    pub rows: Vec<(u64, UnpaidAttempt)>,
    /// The number to ask from next; nothing where the end was reached.
    pub next: Option<u64>,
}

/// A store that does not answer as it must.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database, or the disk under it, failed.
    #[error("the ledger's database failed: {0}{then}", then = what_to_do(.0))]
    Database(redb::Error),
    /// What is stored breaks a rule that was kept when it was written.
    #[error("the ledger is damaged: {0}; restore a backup (adit ledger restore)")]
    Books(#[from] BooksError),
    /// A table has more or less than the leaves say.
    #[error("the ledger is damaged: {found} {what} where there should be {due}; restore a backup (adit ledger restore)")]
    Inconsistent {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there should be.
        due: u64,
    },
    /// A table that says what was done before, or who has what, is not the one that was written.
    #[error("the ledger is damaged: its table of {what} is not the one that was written; restore a backup (adit ledger restore)")]
    Altered {
        /// Which table.
        what: &'static str,
    },
    /// What is stored is not what was written.
    #[error("the ledger is damaged at index {index}: {fault}; restore a backup (adit ledger restore)")]
    Corrupt {
        /// The leaf's index.
        index: u64,
        /// How it shows.
        fault: Corruption,
    },
    /// Damage that was found before, by whoever read the ledger.
    #[error("{0}")]
    Found(Arc<str>),
}

impl StoreError {
    /// Whether what is stored is not what was written. The words say then that a backup is to be restored.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Books(_) | Self::Inconsistent { .. } | Self::Altered { .. } | Self::Corrupt { .. } | Self::Found(_) => true,
            Self::Database(error) => is_damaged(error),
        }
    }

    /// Whether the disk failed, or is full, and nothing says that what is stored is wrong.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Database(redb::Error::Io(error)) => !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
            Self::Database(error) => matches!(error, redb::Error::PreviousIo),
            _ => false,
        }
    }
}

/// What helps where the file itself is wrong, and not the disk full or the process without a right.
fn what_to_do(error: &redb::Error) -> &'static str {
    if is_damaged(error) { "; restore a backup (adit ledger restore)" } else { "" }
}

fn is_damaged(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) | redb::Error::RepairAborted => true,
        redb::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        _ => false,
    }
}

/// How it shows that something stored is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// A leaf or a row is not there that another table names.
    #[error("it is missing")]
    Missing,
    /// The indexes have a gap: as many leaves as this index says are stored, yet it is taken.
    #[error("the indexes have a gap")]
    Gap,
    /// The leaf is not the one of which the tree has the hash.
    #[error("the leaf is not the one in the tree")]
    Leaf,
    /// The leaf is the tree's, but is no leaf that this software knows.
    #[error("the leaf does not decode")]
    LeafEncoding,
    /// A tile of the tree is missing or cut short; the index is the tile's.
    #[error("a tile of level {level} is damaged")]
    Tile {
        /// The tile's level.
        level: u8,
    },
    /// A full tile of the tree is not the one of which the level above has the hash; the index is the tile's.
    #[error("the tile of level {level} is not the one in the tree")]
    Hashes {
        /// The tile's level.
        level: u8,
    },
    /// The row is shorter than any row.
    #[error("the row is cut short")]
    Truncated,
    /// The row has a version that this software never wrote.
    #[error("the row has version {0}")]
    RowVersion(u8),
    /// The row's bytes are not those that were written here.
    #[error("the row's checksum does not match")]
    Checksum,
    /// The row's checksum matches, but the row does not decode.
    #[error("the row does not decode")]
    Encoding,
    /// The row is about another job, or another client, than the index says that led to it; or an index leads elsewhere.
    #[error("an index leads to another's")]
    Index,
    /// The output is not the one of which the receipt has the digest.
    #[error("the output is not the one in the receipt")]
    Output,
}

macro_rules! from_redb {
    ($($error:ident),+) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Database(error.into())
            }
        })+
    };
}
from_redb!(CommitError, DatabaseError, SetDurabilityError, StorageError, TableError, TransactionError);

impl Reader {
    pub(crate) fn new(db: Database) -> Self {
        Self { db: Arc::new(Open(Some(db))), recent: SharedRecent::default(), damage: Damage::default() }
    }

    /// What is known of the ledger's damage.
    pub(crate) fn damage(&self) -> &Damage {
        &self.damage
    }

    /// The first damage that this reader, another or the writer found; nothing where none did. Nothing is recorded any more then.
    pub fn found_damage(&self) -> Option<StoreError> {
        self.damage.found()
    }

    /// Has it known that the ledger is damaged, where that was found before it was opened.
    pub fn set_damaged(&self, words: &str) {
        self.damage.take_in(&StoreError::Found(words.into()));
    }

    /// Has `tell` told of the first damage, in words, on the thread that finds it; now, where it was found before. To be called once for a
    /// ledger and all of its readers.
    ///
    /// # Panics
    /// Where it was called before.
    pub fn on_damage(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.damage.on_damage(Box::new(tell));
    }

    /// What leads to the newest leaves.
    pub(crate) fn recent(&self) -> &SharedRecent {
        &self.recent
    }

    pub(crate) fn database(&self) -> &Database {
        self.db.0.as_ref().expect("it is there until it is dropped")
    }

    /// The tree as a transaction has it.
    pub(crate) fn head_in(transaction: &ReadTransaction) -> Result<TreeHead, StoreError> {
        let leaves = transaction.open_table(LEAVES)?.len()?;
        Ok(Edge::read(leaves, &transaction.open_table(TILES)?)?.head())
    }

    /// The tree's right edge and the terms, for a ledger that is opened.
    pub(crate) fn edge_and_terms(&self) -> Result<(Edge, Option<Terms>), StoreError> {
        let transaction = self.database().begin_read()?;
        let (leaves, tiles) = (transaction.open_table(LEAVES)?, transaction.open_table(TILES)?);
        let edge = Edge::read(leaves.len()?, &tiles)?;
        let meta = transaction.open_table(META)?;
        let Some(index) = meta.get(META_TERMS)? else { return Ok((edge, None)) };
        let damaged = |index, fault| StoreError::Corrupt { index, fault };
        let index = index.value().try_into().map(u64::from_le_bytes).map_err(|_| damaged(0, Corruption::Missing))?;
        check_leaf(&leaves, &tiles, index)?;
        match read_leaf(&leaves, index)? {
            Leaf::Terms(terms) => Ok((edge, Some(terms))),
            _ => Err(damaged(index, Corruption::Index)),
        }
    }

    /// How many leaves there are; the next one's index.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn len(&self) -> Result<u64, StoreError> {
        self.damage.watch(|| Ok(self.database().begin_read()?.open_table(LEAVES)?.len()?))
    }

    /// Whether nothing was ever recorded.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// The tree over all leaves.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tree(&self) -> Result<TreeHead, StoreError> {
        self.damage.watch(|| Self::head_in(&self.database().begin_read()?))
    }

    /// A settled job; nothing where it is unknown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn job(&self, job: JobId) -> Result<Option<StoredJob>, StoreError> {
        self.damage.watch(|| {
            let (transaction, recent) = {
                let recent = self.recent.read();
                (self.database().begin_read()?, recent.job(job))
            };
            let leaves = transaction.open_table(LEAVES)?;
            let known = match recent {
                Some(index) if index < leaves.len()? => Some(index),
                _ => transaction.open_table(JOBS)?.get(&job.0)?.map(|index| index.value()),
            };
            let Some(index) = known else { return Ok(None) };
            check_leaf(&leaves, &transaction.open_table(TILES)?, index)?;
            let (rows, outputs) = (transaction.open_table(ROWS)?, transaction.open_table(OUTPUTS)?);
            read_job(&leaves, &rows, &outputs, index, job).map(Some)
        })
    }

    /// The attempts of a job that were paid and did not end it, each with the index of its leaf, by their numbers. Also those from before a
    /// gateway was started anew: no later attempt may have the number of one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn attempts(&self, job: JobId) -> Result<Vec<(Attempt, u64)>, StoreError> {
        self.damage.watch(|| {
            let attempts = self.database().begin_read()?.open_table(ATTEMPTS)?;
            let entries = attempts.range((&job.0, 0)..=(&job.0, u32::MAX))?;
            entries
                .map(|entry| entry.map(|(key, index)| (Attempt(key.value().1), index.value())).map_err(StoreError::from))
                .collect()
        })
    }

    /// The receipts of `client`, of settled jobs and of other paid attempts, from index `from` on, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`]. A damaged receipt ends the page with an error that has its index; asking again from behind it goes on.
    pub fn receipts_of(&self, client: &PublicKey, from: u64, limit: usize) -> Result<ReceiptPage, StoreError> {
        self.damage.watch(|| {
            let (transaction, [indexes]) = self.about(Account::Customer(*client), [false], from, limit.saturating_add(1))?;
            let (leaves, tiles, rows) =
                (transaction.open_table(LEAVES)?, transaction.open_table(TILES)?, transaction.open_table(ROWS)?);
            let mut indexes = indexes.into_iter();
            let mut page = Vec::new();
            for index in indexes.by_ref().take(limit) {
                check_leaf(&leaves, &tiles, index)?;
                let receipt = open_receipt(read_paid(&leaves, index)?.receipt, &read_row(&rows, index)?, index)?;
                if receipt.receipt.client != *client {
                    return Err(StoreError::Corrupt { index, fault: Corruption::Index });
                }
                page.push((index, receipt));
            }
            Ok(ReceiptPage { rows: page, next: indexes.next() })
        })
    }

    /// What an account has.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn balance(&self, account: Account) -> Result<Balance, StoreError> {
        self.damage.watch(|| {
            let accounts = self.database().begin_read()?.open_table(ACCOUNTS)?;
            let stored = accounts.get(&account.to_key())?;
            Ok(stored.map_or(Balance::default(), |balance| Balance::from_bytes(balance.value())))
        })
    }

    /// Every account and what it has, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn balances(&self) -> Result<Vec<(Account, Balance)>, StoreError> {
        self.damage.watch(|| {
            let accounts = self.database().begin_read()?.open_table(ACCOUNTS)?;
            let mut balances = Vec::new();
            for row in accounts.iter()? {
                let (key, balance) = row?;
                let account =
                    Account::from_key(key.value()).ok_or(StoreError::Corrupt { index: 0, fault: Corruption::Encoding })?;
                balances.push((account, Balance::from_bytes(balance.value())));
            }
            Ok(balances)
        })
    }

    /// The index of the leaf of an order; nothing where it was not carried out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn order(&self, id: TransferId) -> Result<Option<u64>, StoreError> {
        self.damage.watch(|| Ok(self.database().begin_read()?.open_table(ORDERS)?.get(&id.0)?.map(|index| index.value())))
    }

    /// The holds that have not ended.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.damage.watch(|| {
            let holds = self.database().begin_read()?.open_table(HOLDS)?;
            let mut open = Vec::new();
            for row in holds.iter()? {
                let (job, hold) = row?;
                let (customer, amount, expires) = hold.value();
                open.push(Hold {
                    job: JobId(*job.value()),
                    customer: PublicKey(*customer),
                    amount: Microcredits(amount),
                    expires: UnixMillis(expires),
                });
            }
            Ok(open)
        })
    }

    /// The attempts of `node` that were not paid, from number `from` on, oldest first, at most `limit`; and the number to ask from next.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unpaid(&self, node: &PublicKey, from: u64, limit: usize) -> Result<UnpaidPage, StoreError> {
        self.damage.watch(|| {
            let unpaid = self.database().begin_read()?.open_table(UNPAID)?;
            let mut entries = unpaid.range((&node.0, from)..=(&node.0, u64::MAX))?;
            let mut rows = Vec::new();
            for entry in entries.by_ref().take(limit) {
                let (key, attempt) = entry?;
                let number = key.value().1;
                rows.push((number, read_unpaid(number, attempt.value())?));
            }
            let next = entries.next().transpose()?.map(|(key, _)| key.value().1);
            Ok(UnpaidPage { rows, next })
        })
    }

    /// The indexes of the leaves that concern an account, from `from` on, oldest first, at most `limit`. That each does is looked at; that
    /// none is missing, [`Reader::scrub`] finds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn statement(&self, account: Account, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.damage.watch(|| {
            let kinds = [false, true];
            let (transaction, both) = self.about(account, kinds, from, limit)?;
            let entries =
                both.into_iter().zip(kinds).flat_map(|(indexes, kind)| indexes.into_iter().map(move |index| (index, kind)));
            let mut entries: Vec<(u64, bool)> = entries.collect();
            entries.sort_unstable();
            entries.truncate(limit);
            let (leaves, tiles) = (transaction.open_table(LEAVES)?, transaction.open_table(TILES)?);
            for (index, is_other) in &entries {
                let bytes = check_leaf(&leaves, &tiles, *index)?;
                let leaf = decode_leaf(&bytes, *index)?;
                if !leads_here(&leaf, *index, IndexKey::Statement(account.to_key(), *is_other, *index)) {
                    return Err(StoreError::Corrupt { index: *index, fault: Corruption::Index });
                }
            }
            Ok(entries.into_iter().map(|(index, _)| index).collect())
        })
    }

    /// The indexes of the leaves that concern an account, of each of these kinds (whether they pay no receipt), from `from` on, in order,
    /// at most `limit` of each; and the transaction that has these leaves.
    fn about<const KINDS: usize>(
        &self,
        account: Account,
        kinds: [bool; KINDS],
        from: u64,
        limit: usize,
    ) -> Result<(ReadTransaction, [Vec<u64>; KINDS]), StoreError> {
        let key = account.to_key();
        let (transaction, recent) = {
            let recent = self.recent.read();
            let transaction = self.database().begin_read()?;
            let leaves = transaction.open_table(LEAVES)?.len()?;
            (transaction, kinds.map(|is_other| recent.statement(&key, is_other, from, leaves)))
        };
        let statements = transaction.open_table(STATEMENTS)?;
        let mut found = [const { Vec::new() }; KINDS];
        for ((found, recent), is_other) in found.iter_mut().zip(recent).zip(kinds) {
            // One that was just swept may be in both.
            let mut indexes = BTreeSet::from_iter(recent);
            for entry in statements.range((&key, is_other, from)..=(&key, is_other, u64::MAX))?.take(limit) {
                indexes.insert(entry?.0.value().2);
            }
            *found = indexes.into_iter().take(limit).collect();
        }
        Ok((transaction, found))
    }

    /// Folds the whole log again, and compares all else to it: the tree, every balance, and for each leaf its row, output, job or attempt,
    /// order and statements, of which there are no others. What a start leaves out, because it takes as long as the log is.
    ///
    /// No leaf says of which job an open hold is and when it ends: that is compared to a sum, as at a start. Nor does one say whether an output
    /// was recorded, or what an attempt was that was not paid: that this is as it was written, and that the file is,
    /// [`Ledger::open_checked`](crate::Ledger::open_checked) says.
    ///
    /// # Errors
    /// [`StoreError`] names the first leaf, account or table that is wrong.
    pub fn check_books(&self) -> Result<Books, StoreError> {
        self.damage.watch(|| check(&self.database().begin_read()?))
    }

    /// Begins the same check in steps, for a ledger that is written to meanwhile.
    pub fn scrub(&self) -> Scrub {
        Scrub::new(self.clone())
    }

    /// The bytes of a leaf, which are those in the tree; nothing where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaf(&self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.damage.watch(|| {
            let transaction = self.database().begin_read()?;
            let leaves = transaction.open_table(LEAVES)?;
            if index >= leaves.len()? {
                return Ok(None);
            }
            check_leaf(&leaves, &transaction.open_table(TILES)?, index).map(Some)
        })
    }

    /// The bytes of leaves from `from` on, at most `limit`: fewer where the log ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaves(&self, from: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.damage.watch(|| {
            let transaction = self.database().begin_read()?;
            let (leaves, tiles) = (transaction.open_table(LEAVES)?, transaction.open_table(TILES)?);
            let end = leaves.len()?.min(from.saturating_add(limit as u64));
            (from..end).map(|index| check_leaf(&leaves, &tiles, index)).collect()
        })
    }

    /// The first `width` hashes of a tile, one behind the other; nothing where the tree has not so many. Those of a full tile are the ones of
    /// which the level above has the hash. Nothing is above one that still grows: [`Reader::scrub`] compares that to all leaves.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tile(&self, level: u8, index: u64, width: usize) -> Result<Option<Vec<u8>>, StoreError> {
        self.damage.watch(|| {
            let transaction = self.database().begin_read()?;
            let hashes = transaction.open_table(LEAVES)?.len()?.checked_shr(8 * u32::from(level)).unwrap_or(0);
            let first = index.checked_mul(TILE_HASHES as u64);
            let has = first.and_then(|first| first.checked_add(width as u64)).is_some_and(|end| end <= hashes);
            if !has || width == 0 || width > TILE_HASHES {
                return Ok(None);
            }
            let tiles = transaction.open_table(TILES)?;
            if first.is_some_and(|first| first + TILE_HASHES as u64 <= hashes) {
                let mut tile = read_full_tile(&tiles, (level, index))?;
                tile.truncate(width * HASH_BYTES);
                return Ok(Some(tile));
            }
            read_tile(&tiles, (level, index), width).map(Some)
        })
    }

    /// The proof that leaf `index` is in the tree of `size` leaves (RFC 6962, section 2.1.1); nothing where there is no such tree or leaf.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prove_leaf(&self, index: u64, size: u64) -> Result<Option<Vec<[u8; HASH_BYTES]>>, StoreError> {
        self.damage.watch(|| {
            let transaction = self.database().begin_read()?;
            if index >= size || size > transaction.open_table(LEAVES)?.len()? {
                return Ok(None);
            }
            Tiles::new(&transaction.open_table(TILES)?).prove(|tiles| prove_record(size, index, tiles)).map(Some)
        })
    }

    /// The proof that the tree of `old` leaves is the beginning of that of `new` (RFC 6962, section 2.1.2); nothing where there are no such
    /// trees.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prove_growth(&self, old: u64, new: u64) -> Result<Option<Vec<[u8; HASH_BYTES]>>, StoreError> {
        self.damage.watch(|| {
            let transaction = self.database().begin_read()?;
            if old == 0 || old > new || new > transaction.open_table(LEAVES)?.len()? {
                return Ok(None);
            }
            Tiles::new(&transaction.open_table(TILES)?).prove(|tiles| prove_tree(new, old, tiles)).map(Some)
        })
    }
}

/// The job at `index`, which the index of jobs says is `job`.
pub(crate) fn read_job(
    leaves: &impl ReadableTable<u64, &'static [u8]>,
    rows: &impl ReadableTable<u64, &'static [u8]>,
    outputs: &impl ReadableTable<u64, &'static [u8]>,
    index: u64,
    job: JobId,
) -> Result<StoredJob, StoreError> {
    match read_leaf(leaves, index)? {
        Leaf::Settlement(settled) if settled.receipt.receipt.job == job => open_job(*settled, rows, outputs, index),
        _ => Err(StoreError::Corrupt { index, fault: Corruption::Index }),
    }
}

/// The paid attempt at `index`, which the index of attempts says is this one of this job.
pub(crate) fn read_attempt(
    leaves: &impl ReadableTable<u64, &'static [u8]>,
    rows: &impl ReadableTable<u64, &'static [u8]>,
    outputs: &impl ReadableTable<u64, &'static [u8]>,
    index: u64,
    (job, attempt): (JobId, Attempt),
) -> Result<StoredJob, StoreError> {
    match read_leaf(leaves, index)? {
        Leaf::Attempt(settled) if (settled.receipt.receipt.job, settled.receipt.receipt.attempt) == (job, attempt) => {
            open_job(*settled, rows, outputs, index)
        }
        _ => Err(StoreError::Corrupt { index, fault: Corruption::Index }),
    }
}

/// The paid attempt whose leaf at `index` has `settled`.
pub(crate) fn open_job(
    settled: Settled,
    rows: &impl ReadableTable<u64, &'static [u8]>,
    outputs: &impl ReadableTable<u64, &'static [u8]>,
    index: u64,
) -> Result<StoredJob, StoreError> {
    let row = read_row(rows, index)?;
    let receipt = open_receipt(settled.receipt, &row, index)?;
    let output = outputs.get(index)?.map(|output| output.value().to_vec());
    if output.as_deref().is_some_and(|output| Digest::of(output) != receipt.receipt.output) {
        return Err(StoreError::Corrupt { index, fault: Corruption::Output });
    }
    let Row { queue_us, rtt_us, reason, .. } = row;
    Ok(StoredJob { index, receipt, settled: settled.time, reason, output, queue_us, rtt_us })
}

/// The receipt whose public form is in the leaf at `index`, opened by its row.
fn open_receipt(public: SignedReceipt, row: &Row, index: u64) -> Result<SignedReceipt, StoreError> {
    let SignedReceipt { receipt, proof } = public;
    let opened = row.open(receipt.clone());
    if opened.public() != receipt {
        return Err(StoreError::Corrupt { index, fault: Corruption::Index });
    }
    Ok(SignedReceipt { receipt: opened, proof })
}

fn read_paid(leaves: &impl ReadableTable<u64, &'static [u8]>, index: u64) -> Result<Settled, StoreError> {
    match read_leaf(leaves, index)? {
        Leaf::Settlement(settled) | Leaf::Attempt(settled) => Ok(*settled),
        _ => Err(StoreError::Corrupt { index, fault: Corruption::Index }),
    }
}

fn read_row(rows: &impl ReadableTable<u64, &'static [u8]>, index: u64) -> Result<Row, StoreError> {
    let row = rows.get(index)?.ok_or(StoreError::Corrupt { index, fault: Corruption::Missing })?;
    Row::decode(index, row.value()).map_err(|fault| StoreError::Corrupt { index, fault })
}

/// The leaf at `index`, whose bytes were not compared to the tree.
pub(crate) fn read_leaf(leaves: &impl ReadableTable<u64, &'static [u8]>, index: u64) -> Result<Leaf, StoreError> {
    let bytes = leaves.get(index)?.ok_or(StoreError::Corrupt { index, fault: Corruption::Missing })?;
    decode_leaf(bytes.value(), index)
}

fn decode_leaf(bytes: &[u8], index: u64) -> Result<Leaf, StoreError> {
    debug_assert!(bytes.len() <= LEAF_BYTES_MAX);
    Leaf::from_bytes(bytes).map_err(|_| StoreError::Corrupt { index, fault: Corruption::LeafEncoding })
}

/// The unpaid attempt of this number.
pub(crate) fn read_unpaid(number: u64, bytes: &[u8]) -> Result<UnpaidAttempt, StoreError> {
    decode_exact(bytes).map_err(|_| StoreError::Corrupt { index: number, fault: Corruption::Encoding })
}

/// The bytes of a leaf, where they are those in the tree.
pub(crate) fn check_leaf(
    leaves: &impl ReadableTable<u64, &'static [u8]>,
    tiles: &impl ReadableTable<crate::tree::Place, &'static [u8]>,
    index: u64,
) -> Result<Vec<u8>, StoreError> {
    let damaged = |fault| StoreError::Corrupt { index, fault };
    let bytes = leaves.get(index)?.ok_or(damaged(Corruption::Missing))?.value().to_vec();
    let (place, at) = leaf_place(index);
    if read_hash(tiles, place, at)? != record_hash(&bytes).0 {
        return Err(damaged(Corruption::Leaf));
    }
    Ok(bytes)
}
