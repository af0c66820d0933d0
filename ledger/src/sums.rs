//! What a start compares the tables with of which no leaf is read then: what was done before, and who has what.
//!
//! An entry that leads to a leaf is compared to that leaf whenever it is followed. One that is not found leads nowhere: where a bit of its
//! key has changed on the disk, what was done would be done again, and paid again. A balance or a hold whose key has changed is another's.
//! So each such table has a sum over its entries, written in the transactions that change it, and a ledger that is opened reads these
//! tables whole and looks each key up: about a second for a million jobs.

use adit_protocol::Digest;
use redb::{AccessGuard, Key, ReadTransaction, ReadableTable, TableDefinition, Value};

use crate::StoreError;
use crate::recent::indexed;
use crate::schema::{
    ACCOUNTS, ATTEMPTS, HOLDS, JOBS, META, META_ACCOUNTS_SUM, META_ATTEMPTS_SUM, META_HOLDS_SUM, META_JOBS_SUM, META_ORDERS_SUM,
    ORDERS,
};

/// A sum over a table's entries, whatever their order: of each the digest's first 128 bits, modulo 2^128. It finds what a disk did; who can
/// write to the file is not who it is against.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableSum(u128);

/// The sums over the tables as they are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) orders: TableSum,
    pub(crate) attempts: TableSum,
    /// Of all entries. What is written is the sum of those that the indexes lack none of, with [`META_INDEXED`](crate::schema::META_INDEXED):
    /// the others are compared to their leaves.
    pub(crate) jobs: TableSum,
    pub(crate) accounts: TableSum,
    pub(crate) holds: TableSum,
}

impl TableSum {
    /// The part of one entry.
    pub(crate) fn of<K: Key, V: Value>(_: TableDefinition<'_, K, V>, key: K::SelfType<'_>, value: V::SelfType<'_>) -> Self {
        let digest = Digest::of(&[K::as_bytes(&key).as_ref(), V::as_bytes(&value).as_ref()].concat());
        Self(u128::from_le_bytes(*digest.0.first_chunk().expect("a digest is longer than a sum")))
    }

    /// Takes in an entry.
    pub(crate) fn add(&mut self, entry: Self) {
        self.0 = self.0.wrapping_add(entry.0);
    }

    /// Takes out an entry that was taken in.
    pub(crate) fn take(&mut self, entry: Self) {
        self.0 = self.0.wrapping_sub(entry.0);
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

impl Sums {
    /// Adds up the tables, and compares them to the sums that were written.
    ///
    /// # Errors
    /// [`StoreError::Altered`].
    pub(crate) fn read(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        let end = indexed(transaction)?;
        Ok(Self {
            orders: compared(transaction, ORDERS, META_ORDERS_SUM, "orders", |_| true)?,
            attempts: compared(transaction, ATTEMPTS, META_ATTEMPTS_SUM, "paid attempts", |_| true)?,
            jobs: compared(transaction, JOBS, META_JOBS_SUM, "settled jobs", |index| index < end)?,
            accounts: compared(transaction, ACCOUNTS, META_ACCOUNTS_SUM, "accounts", |_| true)?,
            holds: compared(transaction, HOLDS, META_HOLDS_SUM, "holds", |_| true)?,
        })
    }

    /// Compares who has what, and what is held, to their sums.
    ///
    /// # Errors
    /// As [`Sums::read`].
    pub(crate) fn check_balances(transaction: &ReadTransaction) -> Result<(), StoreError> {
        compared(transaction, ACCOUNTS, META_ACCOUNTS_SUM, "accounts", |_| true)?;
        compared(transaction, HOLDS, META_HOLDS_SUM, "holds", |_| true)?;
        Ok(())
    }
}

/// The sum over a table's entries, each of which must be found by its key. Over those that are in the sum that was written it must be that.
fn compared<K: Key + 'static, V: Value + 'static>(
    transaction: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
    row: &str,
    what: &'static str,
    is_written: impl Fn(V::SelfType<'_>) -> bool,
) -> Result<TableSum, StoreError> {
    let table = transaction.open_table(definition)?;
    let (mut all, mut written) = (TableSum::default(), TableSum::default());
    for entry in table.iter()? {
        let (key, value) = entry?;
        let is_same = |found: AccessGuard<'_, V>| V::as_bytes(&found.value()).as_ref() == V::as_bytes(&value.value()).as_ref();
        // What leads to it is as it was.
        if !table.get(key.value())?.is_some_and(is_same) {
            return Err(StoreError::Altered { what });
        }
        let part = TableSum::of(definition, key.value(), value.value());
        all.add(part);
        if is_written(value.value()) {
            written.add(part);
        }
    }
    let meta = transaction.open_table(META)?;
    let due = meta.get(row)?.map_or([0; 16].to_vec(), |due| due.value().to_vec());
    if due == written.to_bytes() { Ok(all) } else { Err(StoreError::Altered { what }) }
}
