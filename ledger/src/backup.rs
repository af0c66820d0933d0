//! A copy of a ledger, made while it is written to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use crate::schema::{self, ACCOUNTS, HOLDS, JOBS, LEAVES, META, ORDERS, OUTPUTS, ROWS, STATEMENTS, TILES, UNPAID};
use crate::{Ledger, OpenError, Reader, StoreError, TreeHead, file};

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
    /// What was written does not open as a ledger, or as another one.
    #[error("the copy is not the ledger: {0}")]
    Copy(String),
}

impl Reader {
    /// Copies the ledger, as of one commit, into a new file for its owner's eyes only. The copy has its name once it is whole, durable and
    /// was opened as a ledger. Returns the tree that it has.
    ///
    /// # Errors
    /// [`BackupError`]; nothing is at `path` then that was not there before.
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
        copied
    }

    fn copy_into(&self, draft: fs::File) -> Result<TreeHead, BackupError> {
        let handle = draft.try_clone().map_err(|error| BackupError::Copy(error.to_string()))?;
        let (head, gateway) = {
            let backend = FileBackend::new(draft).map_err(StoreError::from)?;
            let database = Builder::new().create_with_backend(backend).map_err(StoreError::from)?;
            let from = redb::ReadableDatabase::begin_read(self.database()).map_err(StoreError::from)?;
            let to = schema::begin_durable(&database)?;
            copy_tables(&from, &to)?;
            to.commit().map_err(StoreError::from)?;
            (Self::head_in(&from)?, schema::owner(&from)?)
        };
        let copy = FileBackend::new(handle).map_err(StoreError::from)?;
        match Ledger::open_with(copy, gateway) {
            Ok(copy) if copy.tree() == head => Ok(head),
            Ok(copy) => Err(BackupError::Copy(format!("it has {} leaves instead of {}", copy.tree().size, head.size))),
            Err(error) => Err(BackupError::Copy(error.to_string())),
        }
    }
}

impl Ledger {
    /// Opens the ledger in the file at `path`, whoever's it is.
    ///
    /// # Errors
    /// As [`Ledger::open`]; also where there is no such file.
    pub fn open_existing(path: &Path) -> Result<Self, OpenError> {
        let owner = {
            let already_open = |error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => OpenError::AlreadyOpen { path: path.to_owned() },
                redb::DatabaseError::Storage(redb::StorageError::Io(error)) => OpenError::File { path: path.to_owned(), error },
                error => StoreError::from(error).into(),
            };
            let database = Builder::new().open(path).map_err(already_open)?;
            let transaction = redb::ReadableDatabase::begin_read(&database).map_err(StoreError::from)?;
            schema::owner(&transaction)?
        };
        Self::open(path, owner)
    }
}

fn copy_tables(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), StoreError> {
    copy(from, to, LEAVES)?;
    copy(from, to, TILES)?;
    copy(from, to, ROWS)?;
    copy(from, to, OUTPUTS)?;
    copy(from, to, JOBS)?;
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
