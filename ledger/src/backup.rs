//! A copy of a ledger, made while it is written to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use adit_protocol::PublicKey;
use redb::backends::FileBackend;
use redb::{Builder, Key, ReadTransaction, ReadableTable, StorageError, TableDefinition, Value, WriteTransaction};

use crate::ledger::{CACHE_BYTES, caught};
use crate::read_only::ReadOnlyFile;
use crate::schema::{self, ACCOUNTS, ATTEMPTS, HOLDS, JOBS, LEAVES, META, ORDERS, OUTPUTS, ROWS, STATEMENTS, TILES, UNPAID};
use crate::{DamageMark, Ledger, OpenError, Reader, StoreError, TreeHead, file};

/// A copy that was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file cannot be made, or is there already.
    #[error("backup {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The ledger cannot be read, or the copy cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was written does not open as a ledger.
    #[error("the copy is not to be used: {0}")]
    Open(#[from] OpenError),
    /// What was written is another tree.
    #[error("the copy has {found} leaves instead of {due}, or others; restore a backup (adit ledger restore)")]
    Tree {
        /// How many it has.
        found: u64,
        /// How many it should have.
        due: u64,
    },
}

impl BackupError {
    /// Whether the ledger, or what was just written, is damaged: another try makes no better copy.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::File { .. } => false,
            Self::Store(error) => error.is_damage(),
            Self::Open(error) => error.is_damage(),
            Self::Tree { .. } => true,
        }
    }
}

impl Reader {
    /// Copies the ledger, as of one commit, into a new file for its owner's eyes only. The copy has its name once it is durable and was
    /// checked as [`Ledger::restore`] does. Returns the tree that it has.
    ///
    /// # Errors
    /// [`BackupError`]; nothing is at `path` then that was not there before. Where the copy is damaged the ledger is read to its end, so
    /// that it is known whose damage it is.
    pub fn backup(&self, path: &Path) -> Result<TreeHead, BackupError> {
        let at_path = |error| BackupError::File { path: path.to_owned(), error };
        if path.exists() {
            return Err(at_path(io::ErrorKind::AlreadyExists.into()));
        }
        let draft = file::draft(path).map_err(at_path)?;
        let copied = self.copy_into(draft).and_then(|head| {
            file::publish(path).map_err(at_path)?;
            Ok(head)
        });
        if copied.is_err() {
            // Half a copy is of no use, and takes the room that may be what was missing.
            let _ = fs::remove_file(file::draft_path(path));
        }
        if copied.as_ref().is_err_and(BackupError::is_damage) {
            self.check_books()?;
        }
        copied
    }

    fn copy_into(&self, draft: fs::File) -> Result<TreeHead, BackupError> {
        let handle = draft.try_clone().map_err(StorageError::Io).map_err(StoreError::from)?;
        let (head, gateway) = self.damage().watch(|| {
            let backend = FileBackend::new(draft).map_err(StoreError::from)?;
            let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(StoreError::from)?;
            let from = redb::ReadableDatabase::begin_read(self.database()).map_err(StoreError::from)?;
            let to = schema::begin_durable(&database)?;
            copy_tables(&from, &to)?;
            to.commit().map_err(StoreError::from)?;
            Ok((Self::head_in(&from)?, schema::owner(&from)?))
        })?;
        let copy = Ledger::open_checked_with(FileBackend::new(handle).map_err(StoreError::from)?, gateway)?;
        copy.reader().check_books()?;
        match copy.tree() {
            tree if tree == head => Ok(head),
            tree => Err(BackupError::Tree { found: tree.size, due: head.size }),
        }
    }
}

/// A backup that was not put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The backup cannot be read.
    #[error("backup {path}: {error}")]
    Backup {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is a ledger already, or none can be made.
    #[error("ledger {path}: {error}")]
    Place {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The backup is no whole ledger of this gateway.
    #[error("the backup is not to be used: {0}")]
    Open(#[from] OpenError),
    /// The backup's tables do not agree with its log.
    #[error("the backup is not to be used: {0}")]
    Check(#[from] StoreError),
}

impl Ledger {
    /// Makes a ledger of `gateway` at `path` from the backup in another file, which is only read. Every page of the copy, its tree, its
    /// books and its indexes are checked before it has its name. A ledger that is there gets the name `aside` as well, and only then loses
    /// its own, in one step: at no moment is there none. Returns the tree of the new one.
    ///
    /// # Errors
    /// [`RestoreError`], also where there is a ledger and no `aside`, or where it is open; `path` is what it was before then.
    pub fn restore(backup: &Path, path: &Path, gateway: PublicKey, aside: Option<&Path>) -> Result<TreeHead, RestoreError> {
        let at_path = |error| RestoreError::Place { path: path.to_owned(), error };
        let at_backup = |error| RestoreError::Backup { path: backup.to_owned(), error };
        let mut source = fs::File::open(backup).map_err(at_backup)?;
        let replaced = match (fs::File::open(path), aside) {
            (Ok(_), None) => return Err(at_path(io::ErrorKind::AlreadyExists.into())),
            (Ok(ledger), Some(aside)) => {
                // Held until the end: whoever has it open keeps it, and nobody opens it meanwhile.
                ledger.try_lock().map_err(|error| at_path(error.into()))?;
                Some((ledger, aside))
            }
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => None,
            (Err(error), _) => return Err(at_path(error)),
        };
        let mut draft = if replaced.is_some() { file::draft_beside(path) } else { file::draft(path) }.map_err(at_path)?;
        let mut check = || {
            // An empty file would become an empty ledger.
            if io::copy(&mut source, &mut draft).map_err(at_backup)? == 0 {
                return Err(at_backup(io::ErrorKind::UnexpectedEof.into()));
            }
            draft.sync_all().map_err(at_path)?;
            let draft = draft.try_clone().map_err(at_path)?;
            let ledger = Self::open_checked_with(FileBackend::new(draft).map_err(StoreError::from)?, gateway)?;
            ledger.reader().check_books()?;
            Ok(ledger.tree())
        };
        let restored = check().and_then(|head| {
            if let Some((_, aside)) = &replaced {
                fs::hard_link(path, aside).map_err(at_path)?;
            }
            file::publish(path).map_err(at_path)?;
            // What was found in the one before is not in this one.
            DamageMark::of(path).clear().map_err(at_path)?;
            Ok(head)
        });
        if restored.is_err() {
            let _ = fs::remove_file(file::draft_path(path));
        }
        restored
    }

    /// Opens the ledger in the file at `path`, whoever's it is.
    ///
    /// # Errors
    /// As [`Ledger::open`]; also where there is no such file.
    pub fn open_existing(path: &Path) -> Result<Self, OpenError> {
        let owner = {
            let already_open = |error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => OpenError::AlreadyOpen { path: path.to_owned() },
                redb::DatabaseError::Storage(StorageError::Io(error)) => OpenError::File { path: path.to_owned(), error },
                error => StoreError::from(error).into(),
            };
            caught(|| {
                let database = Builder::new().set_cache_size(CACHE_BYTES).open(path).map_err(already_open)?;
                let transaction = redb::ReadableDatabase::begin_read(&database).map_err(StoreError::from)?;
                Ok(schema::owner(&transaction)?)
            })?
        };
        Self::open(path, owner)
    }

    /// Opens the ledger in the file at `path`, whoever's it is, with the check of [`Ledger::open_checked`], and only reads the file: a backup
    /// on a medium that cannot be written to, or of another user's, will do. What opening a database writes is kept in memory, and what the
    /// ledger is given then is gone with it.
    ///
    /// # Errors
    /// As [`Ledger::open_checked`]; also where there is no such file.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let at_path = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::AlreadyOpen { path: path.to_owned() },
            _ => OpenError::File { path: path.to_owned(), error },
        };
        let file = file::open_read_only(path).map_err(at_path)?;
        let backend = || file.try_clone().and_then(ReadOnlyFile::new).map_err(at_path);
        let first = backend()?;
        let owner = caught(|| {
            let database =
                Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(first).map_err(|error| match error {
                    redb::DatabaseError::Storage(StorageError::Io(error)) => at_path(error),
                    error => StoreError::from(error).into(),
                })?;
            let transaction = redb::ReadableDatabase::begin_read(&database).map_err(StoreError::from)?;
            Ok(schema::owner(&transaction)?)
        })?;
        Self::open_checked_with(backend()?, owner)
    }
}

fn copy_tables(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), StoreError> {
    copy(from, to, LEAVES)?;
    copy(from, to, TILES)?;
    copy(from, to, ROWS)?;
    copy(from, to, OUTPUTS)?;
    copy(from, to, JOBS)?;
    copy(from, to, ATTEMPTS)?;
    copy(from, to, STATEMENTS)?;
    copy(from, to, ACCOUNTS)?;
    copy(from, to, HOLDS)?;
    copy(from, to, ORDERS)?;
    copy(from, to, UNPAID)?;
    copy(from, to, META)
}

fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<(), StoreError> {
    let (source, mut target) = (from.open_table(table)?, to.open_table(table)?);
    for row in source.iter()? {
        let (key, value) = row?;
        target.insert(key.value(), value.value())?;
    }
    Ok(())
}
