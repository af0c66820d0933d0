use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_protocol::{PublicKey, Terms};
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, StorageError};

use crate::books::BooksError;
use crate::change::{Change, Ended};
use crate::damage::asserted;
use crate::read_only::ReadOnlyFile;
use crate::sums::Sums;
use crate::tree::{Edge, TreeHead};
use crate::{Applied, FORMAT_VERSION, Operation, Reader, Refused, StoreError, file, schema};

/// Memory for pages, of which the indexes' inner pages and the right edge of the receipts are the ones in use. A gateway may be a
/// small machine, and redb would take 1 GiB.
pub(crate) const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The accounts, the holds and the log: one database, one writer.
///
/// **Invariant:** an operation is acknowledged only when it is on the disk, and a batch is there whole or not at all: leaf, balances,
/// hold and the record of what was done before change in one transaction. After an error of the store nothing more is written: the
/// ledger does not guess what the disk holds, the next open reads it. So it is after damage that a [`Reader`] finds.
#[derive(Debug)]
pub struct Ledger {
    reader: Reader,
    gateway: PublicKey,
    edge: Edge,
    terms: Option<Terms>,
    sums: Sums,
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
    #[error("the ledger is damaged: {found} {what} where there should be {due}; restore a backup (adit ledger restore)")]
    Inconsistent {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there should be.
        due: u64,
    },
    /// The balances break a rule.
    #[error("the ledger is damaged: {0}; restore a backup (adit ledger restore)")]
    Books(#[from] BooksError),
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
    /// The store failed before, or a reader found it damaged, and the batch was not tried.
    #[error("the ledger has stopped: {cause}; restart to go on")]
    Stopped {
        /// What failed.
        cause: Arc<StoreError>,
    },
}

impl OpenError {
    /// Whether what is stored is not what was written.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::NotALedger | Self::Inconsistent { .. } | Self::Books(_) => true,
            Self::Store(error) => error.is_damage(),
            Self::File { .. } | Self::AlreadyOpen { .. } | Self::Format { .. } | Self::ForeignGateway { .. } => false,
        }
    }

    fn already_open(path: &Path) -> Self {
        Self::AlreadyOpen { path: path.to_owned() }
    }
}

impl Ledger {
    /// Opens the ledger of `gateway` in the file at `path`; makes it, for its owner's eyes only, where there is none. One that is not to be
    /// written to, as on a read-only file system, is opened and has stopped: it is read, and records nothing.
    ///
    /// # Errors
    /// [`OpenError`]; in particular [`OpenError::AlreadyOpen`] while another ledger or a [`Reader`] of one holds the file.
    pub fn open(path: &Path, gateway: PublicKey) -> Result<Self, OpenError> {
        Self::open_file(path, gateway, &mut Builder::new())
    }

    /// Opens as [`Ledger::open`] does, after reading the whole file: each of its pages must have the checksum that was written with it. A plain
    /// start trusts a file that was closed, or that was committed to before a crash. With [`Reader::check_books`] it is the full check.
    ///
    /// # Errors
    /// As [`Ledger::open`]; [`OpenError::Store`] where a page is damaged.
    pub fn open_checked(path: &Path, gateway: PublicKey) -> Result<Self, OpenError> {
        Self::open_file(path, gateway, Builder::new().set_check_integrity_on_open(true))
    }

    fn open_file(path: &Path, gateway: PublicKey, builder: &mut Builder) -> Result<Self, OpenError> {
        Self::open_or_make(path, gateway, builder).map_err(|error| match error {
            OpenError::Store(StoreError::Database(redb::Error::DatabaseAlreadyOpen)) => OpenError::already_open(path),
            OpenError::File { error, .. } if error.kind() == ErrorKind::WouldBlock => OpenError::already_open(path),
            error => error,
        })
    }

    fn open_or_make(path: &Path, gateway: PublicKey, builder: &mut Builder) -> Result<Self, OpenError> {
        let at_path = |error| OpenError::File { path: path.to_owned(), error };
        let backend = |file| FileBackend::new(file).map_err(StoreError::from);
        match file::open(path) {
            Ok(Some(file)) => return Self::open_backend(backend(file)?, gateway, builder),
            Ok(None) => {}
            Err(error) if is_unwritable(&error) => return Self::open_unwritable(path, gateway, builder, error),
            Err(error) => return Err(at_path(error)),
        }
        let draft = file::draft(path).map_err(at_path)?;
        let ledger = Self::open_backend(backend(draft)?, gateway, builder)?;
        file::publish(path).map_err(at_path)?;
        Ok(ledger)
    }

    /// Opens a ledger that is not to be written to, to be read: it has stopped, because of `error`.
    fn open_unwritable(path: &Path, gateway: PublicKey, builder: &mut Builder, error: io::Error) -> Result<Self, OpenError> {
        let at_path = |error| OpenError::File { path: path.to_owned(), error };
        let file = file::open_read_only(path).and_then(ReadOnlyFile::new).map_err(at_path)?;
        let mut ledger = Self::open_backend(file, gateway, builder)?;
        ledger.stopped = Some(Arc::new(StorageError::Io(error).into()));
        Ok(ledger)
    }

    /// Opens the ledger of `gateway` in `backend`; makes it where that is empty. For tests and simulations.
    ///
    /// # Errors
    /// As [`Ledger::open`]. A backend in which a crash left half a new database is not opened; a file never gets into that state.
    pub fn open_with(backend: impl StorageBackend, gateway: PublicKey) -> Result<Self, OpenError> {
        Self::open_backend(backend, gateway, &mut Builder::new())
    }

    /// Opens as [`Ledger::open_with`] does, with the check of [`Ledger::open_checked`].
    ///
    /// # Errors
    /// As [`Ledger::open_checked`].
    pub fn open_checked_with(backend: impl StorageBackend, gateway: PublicKey) -> Result<Self, OpenError> {
        Self::open_backend(backend, gateway, Builder::new().set_check_integrity_on_open(true))
    }

    fn open_backend(backend: impl StorageBackend, gateway: PublicKey, builder: &mut Builder) -> Result<Self, OpenError> {
        let builder = builder.set_cache_size(CACHE_BYTES);
        caught(|| {
            let database = builder.create_with_backend(backend).map_err(StoreError::from)?;
            Self::open_database(database, gateway)
        })
    }

    fn open_database(database: Database, gateway: PublicKey) -> Result<Self, OpenError> {
        schema::prepare(&database, gateway)?;
        let reader = Reader::new(database);
        let (edge, terms) = reader.edge_and_terms()?;
        let transaction = reader.database().begin_read().map_err(StoreError::from)?;
        reader.recent().load(&transaction)?;
        schema::check_receipts(&transaction, reader.recent().read().jobs())?;
        let sums = Sums::read(&transaction)?;
        schema::check_edge(&transaction, &edge)?;
        Ok(Self { reader, gateway, edge, terms, sums, stopped: None })
    }

    /// A handle for reading. Clone it: it is cheap, and it reads beside the writer, from any thread.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whose ledger it is.
    pub fn gateway(&self) -> PublicKey {
        self.gateway
    }

    /// The tree over all leaves.
    pub fn tree(&self) -> TreeHead {
        self.edge.head()
    }

    /// The terms that hold; nothing before the gateway has stated any.
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Applies `operations` in one durable transaction, in order, and says of each what became of it.
    ///
    /// A grant, a payout or a settlement that comes again has no second effect, whether in the same batch, later or after a restart; and a
    /// hold ends once.
    ///
    /// # Errors
    /// [`CommitError`] where the store fails, for this batch and every later one.
    pub fn apply(&mut self, operations: &[Operation]) -> Result<Vec<Result<Applied, Refused>>, CommitError> {
        if operations.is_empty() && self.stopped.is_none() {
            return Ok(Vec::new());
        }
        self.commit(|change| operations.iter().map(|operation| change.apply(operation)).collect())
    }

    /// Applies `operations` as [`Ledger::apply`] does, and in the same transaction all that `more` gives meanwhile, until it gives none. Those
    /// are added to `operations`, also where the store fails.
    ///
    /// # Errors
    /// As [`Ledger::apply`].
    pub(crate) fn apply_growing(
        &mut self,
        operations: &mut Vec<Operation>,
        mut more: impl FnMut() -> Option<Operation>,
    ) -> Result<Vec<Result<Applied, Refused>>, CommitError> {
        self.commit(|change| {
            let mut outcomes = Vec::new();
            while let Some(operation) = operations.get(outcomes.len()) {
                outcomes.push(change.apply(operation)?);
                if outcomes.len() == operations.len() {
                    operations.extend(more());
                }
            }
            Ok(outcomes)
        })
    }

    fn commit(
        &mut self,
        work: impl FnOnce(&mut Change<'_>) -> Result<Vec<Result<Applied, Refused>>, StoreError>,
    ) -> Result<Vec<Result<Applied, Refused>>, CommitError> {
        if let Some(cause) = &self.stopped {
            return Err(CommitError::Stopped { cause: Arc::clone(cause) });
        }
        // Who reads finds damage where the writer never looks: nothing more is built on it.
        if let Some(found) = self.reader.found_damage() {
            let cause = Arc::new(found);
            self.stopped = Some(Arc::clone(&cause));
            return Err(CommitError::Stopped { cause });
        }
        // A transaction in which redb panics is gone with the panic, and nothing more is written after it.
        let damage = self.reader.damage().clone();
        damage.watch(|| self.try_commit(work)).map_err(|error| {
            let cause = Arc::new(error);
            self.stopped = Some(Arc::clone(&cause));
            CommitError::Failed { cause }
        })
    }

    fn try_commit(
        &mut self,
        work: impl FnOnce(&mut Change<'_>) -> Result<Vec<Result<Applied, Refused>>, StoreError>,
    ) -> Result<Vec<Result<Applied, Refused>>, StoreError> {
        let transaction = schema::begin_durable(self.reader.database())?;
        let (outcomes, ended) = {
            let mut change =
                Change::begin(&transaction, self.gateway, self.edge.clone(), self.terms, self.sums, self.reader.recent())?;
            let outcomes = work(&mut change)?;
            (outcomes, change.end()?)
        };
        // What was done before was durable then; only what is new is worth a sync.
        match ended {
            Some(Ended { edge, terms, sums, fresh, sweep }) => {
                self.reader.recent().admit(fresh, &sweep);
                transaction.commit()?;
                self.reader.recent().release(&sweep);
                (self.edge, self.terms, self.sums) = (edge, terms, sums);
            }
            None => transaction.abort()?,
        }
        Ok(outcomes)
    }
}

/// Whether the system lets nobody here write, which says nothing of reading.
fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

/// Opens a database. redb asserts some of what it takes a file to be, such as one that ends within a page that is in use: whoever opens a
/// ledger is told that it is damaged, as of all else that is found.
pub(crate) fn caught<T>(open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    // What was half opened is gone with the panic.
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| Err(asserted(&*panic).into()))
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Grant, Microcredits, TransferId, UnixMillis};
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn operations_that_come_meanwhile_are_of_the_same_transaction() {
        let gateway = PublicKey([9; 32]);
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
        let before = ledger.reader().clone();
        let mut operations = vec![Operation::State(Terms { gateway, fee_ppm: 0, time: UnixMillis(1) })];
        let mut others = (0..3).map(|n| {
            // What came before is not there yet for those who read.
            assert_eq!(before.len().unwrap(), 0);
            let id = TransferId([n; 16]);
            Operation::Grant(Grant { id, customer: PublicKey([n; 32]), amount: Microcredits(5), time: UnixMillis(2) })
        });
        let outcomes = ledger.apply_growing(&mut operations, || others.next()).unwrap();
        let recorded: Vec<_> = (0..4).map(|index| Ok(Applied::Recorded { index })).collect();
        assert_eq!((operations.len(), outcomes, ledger.tree().size), (4, recorded, 4));
    }
}
