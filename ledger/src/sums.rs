//! What a start compares the tables with that say what was done before: orders, paid attempts, settled jobs.
//!
//! An entry that leads to a leaf is compared to that leaf whenever it is followed. One that is not found leads nowhere: where a bit of its
//! key has changed on the disk, what was done would be done again, and paid again. So each table has a sum over its entries, written in the
//! transactions that change it, and a ledger that is opened reads these tables whole and looks
//! each key up: about a second for a million jobs.

use adit_protocol::Digest;
use redb::{ReadTransaction, ReadableTable};

use crate::StoreError;
use crate::recent::indexed;
use crate::schema::{ATTEMPTS, JOBS, META, META_ATTEMPTS_SUM, META_JOBS_SUM, META_ORDERS_SUM, ORDERS};

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
}

impl TableSum {
    /// Takes in the entry of a key that leads to the leaf at `index`.
    pub(crate) fn add(&mut self, key: &[u8], index: u64) {
        let digest = Digest::of(&[key, &index.to_le_bytes()].concat());
        let part = u128::from_le_bytes(*digest.0.first_chunk().expect("a digest is longer than a sum"));
        self.0 = self.0.wrapping_add(part);
    }

    /// Takes in the entry of a paid attempt.
    pub(crate) fn add_attempt(&mut self, (job, attempt): (&[u8; 16], u32), index: u64) {
        self.add(&[job.as_slice(), &attempt.to_le_bytes()].concat(), index);
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

impl Sums {
    /// Adds up the tables, each entry of which must be found by its key, and compares them to the sums that were written.
    ///
    /// # Errors
    /// [`StoreError::Altered`].
    pub(crate) fn read(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        let (mut sums, mut jobs_indexed) = (Self::default(), TableSum::default());
        let orders = transaction.open_table(ORDERS)?;
        for entry in orders.iter()? {
            let (key, index) = entry?;
            found(orders.get(key.value())?, index.value(), "orders")?;
            sums.orders.add(key.value(), index.value());
        }
        let attempts = transaction.open_table(ATTEMPTS)?;
        for entry in attempts.iter()? {
            let (key, index) = entry?;
            found(attempts.get(key.value())?, index.value(), "paid attempts")?;
            sums.attempts.add_attempt(key.value(), index.value());
        }
        let (jobs, end) = (transaction.open_table(JOBS)?, indexed(transaction)?);
        for entry in jobs.iter()? {
            let (key, index) = entry?;
            found(jobs.get(key.value())?, index.value(), "settled jobs")?;
            sums.jobs.add(key.value(), index.value());
            if index.value() < end {
                jobs_indexed.add(key.value(), index.value());
            }
        }
        compare(transaction, META_ORDERS_SUM, sums.orders, "orders")?;
        compare(transaction, META_ATTEMPTS_SUM, sums.attempts, "paid attempts")?;
        compare(transaction, META_JOBS_SUM, jobs_indexed, "settled jobs")?;
        Ok(sums)
    }
}

/// Checks that an entry that is there is found too: what leads to it is as it was.
fn found(entry: Option<redb::AccessGuard<'_, u64>>, index: u64, what: &'static str) -> Result<(), StoreError> {
    match entry {
        Some(entry) if entry.value() == index => Ok(()),
        _ => Err(StoreError::Altered { what }),
    }
}

fn compare(transaction: &ReadTransaction, row: &str, sum: TableSum, what: &'static str) -> Result<(), StoreError> {
    let meta = transaction.open_table(META)?;
    let due = meta.get(row)?.map_or([0; 16].to_vec(), |due| due.value().to_vec());
    if due == sum.to_bytes() { Ok(()) } else { Err(StoreError::Altered { what }) }
}
