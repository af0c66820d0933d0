use std::sync::Arc;

use adit_protocol::{Digest, JobId, PublicKey, SignedReceipt};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::StoredJob;
use crate::row::Row;
use crate::schema::{CLIENTS, JOBS, OUTPUTS, RECEIPTS};

/// Reads a ledger beside its writer. Each call sees the ledger as of one commit.
///
/// The file stays open, and locked against a second ledger, until the ledger and all of its readers are gone.
#[derive(Debug, Clone)]
pub struct Reader {
    db: Arc<Database>,
}

/// A client's receipts, as many as were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptPage {
    /// Each with its index, oldest first.
    pub rows: Vec<(u64, SignedReceipt)>,
    /// The index to ask from next; nothing where the end was reached.
    pub next: Option<u64>,
}

/// A store that does not answer as it must.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database, or the disk under it, failed.
    #[error("the ledger's database failed: {0}")]
    Database(redb::Error),
    /// What is stored is not what was written.
    #[error("the ledger is damaged at index {index}: {fault}; restore a backup")]
    Corrupt {
        /// The receipt's position.
        index: u64,
        /// How it shows.
        fault: Corruption,
    },
}

/// How it shows that something stored is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// An index of the tables names a receipt that is not there.
    #[error("the receipt is missing")]
    Missing,
    /// The indexes have a gap: as many receipts as this index says are stored, yet it is taken.
    #[error("the indexes have a gap")]
    Gap,
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
    /// The row is about another job, or another client, than the index says that led to it.
    #[error("the receipt is another's")]
    Index,
    /// The output is not the one of which the receipt has the digest.
    #[error("the output is not the one in the receipt")]
    Output,
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

impl Reader {
    pub(crate) fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    /// How many receipts there are; the next one's index.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn len(&self) -> Result<u64, StoreError> {
        Ok(self.db.begin_read()?.open_table(RECEIPTS)?.len()?)
    }

    /// Whether nothing was ever settled.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// A settled job; nothing where it is unknown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn job(&self, job: JobId) -> Result<Option<StoredJob>, StoreError> {
        let transaction = self.db.begin_read()?;
        let Some(index) = transaction.open_table(JOBS)?.get(&job.0)?.map(|index| index.value()) else {
            return Ok(None);
        };
        read_job(&transaction.open_table(RECEIPTS)?, &transaction.open_table(OUTPUTS)?, index, job).map(Some)
    }

    /// The receipts of `client` from index `from` on, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`]. A damaged receipt ends the page with an error that has its index; asking again from behind it goes on.
    pub fn receipts_of(&self, client: &PublicKey, from: u64, limit: usize) -> Result<ReceiptPage, StoreError> {
        let transaction = self.db.begin_read()?;
        let receipts = transaction.open_table(RECEIPTS)?;
        let clients = transaction.open_table(CLIENTS)?;
        let mut indexes = clients.range((&client.0, from)..=(&client.0, u64::MAX))?;
        let mut rows = Vec::new();
        for entry in indexes.by_ref().take(limit) {
            let index = entry?.0.value().1;
            let receipt = read_row(&receipts, index)?.receipt;
            if receipt.receipt.client != *client {
                return Err(StoreError::Corrupt { index, fault: Corruption::Index });
            }
            rows.push((index, receipt));
        }
        let next = indexes.next().transpose()?.map(|(key, _)| key.value().1);
        Ok(ReceiptPage { rows, next })
    }
}

/// The job at `index`, which the index of jobs says is `job`.
pub(crate) fn read_job(
    receipts: &impl ReadableTable<u64, &'static [u8]>,
    outputs: &impl ReadableTable<u64, &'static [u8]>,
    index: u64,
    job: JobId,
) -> Result<StoredJob, StoreError> {
    let Row { head, receipt } = read_row(receipts, index)?;
    if receipt.receipt.job != job {
        return Err(StoreError::Corrupt { index, fault: Corruption::Index });
    }
    let output = outputs.get(index)?.map(|output| output.value().to_vec());
    if output.as_deref().is_some_and(|output| Digest::of(output) != receipt.receipt.output) {
        return Err(StoreError::Corrupt { index, fault: Corruption::Output });
    }
    Ok(StoredJob {
        index,
        receipt,
        settled: head.settled,
        reason: head.reason,
        output,
        queue_us: head.queue_us,
        rtt_us: head.rtt_us,
    })
}

fn read_row(receipts: &impl ReadableTable<u64, &'static [u8]>, index: u64) -> Result<Row, StoreError> {
    let row = receipts.get(index)?.ok_or(StoreError::Corrupt { index, fault: Corruption::Missing })?;
    Row::decode(index, row.value()).map_err(|fault| StoreError::Corrupt { index, fault })
}
