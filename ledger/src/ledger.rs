use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_protocol::PublicKey;
use redb::backends::FileBackend;
use redb::{Builder, ReadableTable, ReadableTableMetadata, StorageBackend, Table, WriteTransaction};

use crate::file;
use crate::reader::read_job;
use crate::row::Row;
use crate::schema::{self, CLIENTS, JOBS, OUTPUTS, RECEIPTS};
use crate::{Appended, Corruption, Entry, EntryError, FORMAT_VERSION, Reader, StoreError};

/// Memory for pages, of which the indexes' inner pages and the right edge of the receipts are the ones in use. A gateway may be a
/// small machine, and redb would take 1 GiB.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The record of what was settled: one database, one writer.
///
/// **Invariant:** an entry is acknowledged only when it is on the disk, and a batch is there whole or not at all. After an error of
/// the store nothing more is written: the ledger does not guess what the disk holds, the next open reads it.
#[derive(Debug)]
pub struct Ledger {
    reader: Reader,
    gateway: PublicKey,
    stopped: Option<Arc<StoreError>>,
}

/// A ledger that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be opened or made.
    #[error("ledger {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another ledger, here or in another process, has the file open.
    #[error("ledger {path} is open already; a ledger has one gateway at a time")]
    AlreadyOpen {
        /// Which file.
        path: PathBuf,
    },
    /// A redb database, but not a ledger.
    #[error("the database is not a ledger")]
    NotALedger,
    /// Written by a version of this software that keeps its books in another way.
    #[error("the ledger has format {found}; this version reads format {FORMAT_VERSION}")]
    Format {
        /// The format that it has.
        found: u32,
    },
    /// The ledger of another gateway. Its indexes were promised under that gateway's key.
    #[error("the ledger belongs to gateway {owner}, not to {given}")]
    ForeignGateway {
        /// Whose it is.
        owner: PublicKey,
        /// Who wants to open it.
        given: PublicKey,
    },
    /// The tables do not agree with each other.
    #[error(
        "the ledger is damaged: {receipts} receipts up to index {next}, {jobs} jobs, {clients} client rows; restore a backup"
    )]
    Inconsistent {
        /// One more than the last index.
        next: u64,
        /// Receipts.
        receipts: u64,
        /// Jobs.
        jobs: u64,
        /// Receipts by client.
        clients: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A batch that was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The store failed. Whether the batch is recorded shows when the ledger is opened again: then it is there whole or not at all.
    #[error("the ledger stopped while it recorded a batch: {cause}; restart to see what is recorded")]
    Failed {
        /// What failed.
        cause: Arc<StoreError>,
    },
    /// The store failed before, and the batch was not tried.
    #[error("the ledger has stopped: {cause}; restart to go on")]
    Stopped {
        /// What failed.
        cause: Arc<StoreError>,
    },
}

impl OpenError {
    fn already_open(path: &Path) -> Self {
        Self::AlreadyOpen { path: path.to_owned() }
    }
}

impl Ledger {
    /// Opens the ledger of `gateway` in the file at `path`; makes it, for its owner's eyes only, where there is none.
    ///
    /// # Errors
    /// [`OpenError`]; in particular [`OpenError::AlreadyOpen`] while another ledger or a [`Reader`] of one holds the file.
    pub fn open(path: &Path, gateway: PublicKey) -> Result<Self, OpenError> {
        Self::open_file(path, gateway).map_err(|error| match error {
            OpenError::Store(StoreError::Database(redb::Error::DatabaseAlreadyOpen)) => OpenError::already_open(path),
            OpenError::File { error, .. } if error.kind() == ErrorKind::WouldBlock => OpenError::already_open(path),
            error => error,
        })
    }

    fn open_file(path: &Path, gateway: PublicKey) -> Result<Self, OpenError> {
        let at_path = |error| OpenError::File { path: path.to_owned(), error };
        let backend = |file| FileBackend::new(file).map_err(StoreError::from);
        if let Some(file) = file::open(path).map_err(at_path)? {
            return Self::open_with(backend(file)?, gateway);
        }
        let draft = file::draft(path).map_err(at_path)?;
        let ledger = Self::open_with(backend(draft)?, gateway)?;
        file::publish(path).map_err(at_path)?;
        Ok(ledger)
    }

    /// Opens the ledger of `gateway` in `backend`; makes it where that is empty. For tests and simulations.
    ///
    /// # Errors
    /// As [`Ledger::open`]. A backend in which a crash left half a new database is not opened; a file never gets into that state.
    pub fn open_with(backend: impl StorageBackend, gateway: PublicKey) -> Result<Self, OpenError> {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(StoreError::from)?;
        schema::prepare(&database, gateway)?;
        Ok(Self { reader: Reader::new(Arc::new(database)), gateway, stopped: None })
    }

    /// A handle for reading. Clone it: it is cheap, and it reads beside the writer, from any thread.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Records `entries` in one durable transaction, in order, and says of each what became of it.
    ///
    /// A second entry of the same job has no second effect, whether it comes in the same batch, later or after a restart.
    ///
    /// # Errors
    /// [`CommitError`] where the store fails, for this batch and every later one.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Vec<Result<Appended, EntryError>>, CommitError> {
        if let Some(cause) = &self.stopped {
            return Err(CommitError::Stopped { cause: Arc::clone(cause) });
        }
        self.commit(entries).map_err(|error| {
            let cause = Arc::new(error);
            self.stopped = Some(Arc::clone(&cause));
            CommitError::Failed { cause }
        })
    }

    fn commit(&self, entries: &[Entry]) -> Result<Vec<Result<Appended, EntryError>>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let transaction = schema::begin_durable(self.reader.database())?;
        let outcomes = {
            let mut tables = Tables::open(&transaction)?;
            entries.iter().map(|entry| tables.append(entry, self.gateway)).collect::<Result<Vec<_>, _>>()?
        };
        let changed = outcomes.iter().any(|outcome| matches!(outcome, Ok(Appended::New { .. })));
        // What exists was durable before; only what is new is worth a sync.
        if changed {
            transaction.commit()?
        } else {
            transaction.abort()?
        }
        Ok(outcomes)
    }
}

/// The tables, open for writing.
struct Tables<'txn> {
    receipts: Table<'txn, u64, &'static [u8]>,
    outputs: Table<'txn, u64, &'static [u8]>,
    jobs: Table<'txn, &'static [u8; 16], u64>,
    clients: Table<'txn, (&'static [u8; 32], u64), ()>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            receipts: transaction.open_table(RECEIPTS)?,
            outputs: transaction.open_table(OUTPUTS)?,
            jobs: transaction.open_table(JOBS)?,
            clients: transaction.open_table(CLIENTS)?,
        })
    }

    fn append(&mut self, entry: &Entry, gateway: PublicKey) -> Result<Result<Appended, EntryError>, StoreError> {
        let receipt_bytes = entry.receipt.signed().to_bytes();
        if let Err(error) = entry.check(gateway, receipt_bytes.len()) {
            return Ok(Err(error));
        }
        let settled = self.jobs.get(&entry.job().0)?.map(|index| index.value());
        match settled {
            Some(index) => self.compare(index, entry),
            None => Ok(Ok(Appended::New { index: self.insert(entry, &receipt_bytes)? })),
        }
    }

    /// The receipt decides, not its proof: a node that sends a receipt again may have signed it in another batch.
    fn compare(&self, index: u64, entry: &Entry) -> Result<Result<Appended, EntryError>, StoreError> {
        let job = entry.job();
        let stored = read_job(&self.receipts, &self.outputs, index, job)?;
        if stored.receipt.receipt != *entry.receipt.receipt() {
            return Ok(Err(EntryError::Conflict { job, index }));
        }
        Ok(Ok(Appended::Existing(Box::new(stored))))
    }

    fn insert(&mut self, entry: &Entry, receipt_bytes: &[u8]) -> Result<u64, StoreError> {
        let index = self.receipts.len()?;
        let replaced = self.receipts.insert(index, Row::encode(index, entry, receipt_bytes).as_slice())?.is_some();
        if replaced {
            return Err(StoreError::Corrupt { index, fault: Corruption::Gap });
        }
        if let Some(output) = &entry.output {
            self.outputs.insert(index, output.as_slice())?;
        }
        self.jobs.insert(&entry.job().0, index)?;
        self.clients.insert((&entry.receipt.receipt().client.0, index), ())?;
        Ok(index)
    }
}
