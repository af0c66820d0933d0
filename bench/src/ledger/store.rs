//! What the ledger is compared with: the same store without a ledger, and with every call to the disk counted.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, StorageBackend, TableDefinition};

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
/// As much as the ledger takes.
const CACHE_BYTES: usize = 64 << 20;

/// Rows by number in one table, committed as durably as the ledger commits.
pub(super) struct Bare {
    database: Database,
    next: u64,
}

impl Bare {
    pub(super) fn open(backend: impl StorageBackend) -> Result<Self> {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        Ok(Self { database, next: 0 })
    }

    /// One commit.
    pub(super) fn commit(&mut self, rows: &[Vec<u8>]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(ROWS)?;
            for row in rows {
                table.insert(self.next, row.as_slice())?;
                self.next += 1;
            }
        }
        Ok(transaction.commit()?)
    }
}

/// A new file for a store, whose calls are counted.
#[derive(Debug)]
pub(super) struct Counted {
    file: FileBackend,
    counts: Arc<Counts>,
}

/// How often the disk was called.
#[derive(Debug, Default)]
pub(super) struct Counts {
    syncs: AtomicU64,
    writes: AtomicU64,
    bytes: AtomicU64,
}

impl Counted {
    pub(super) fn create(path: &Path) -> Result<(Self, Arc<Counts>)> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let counts = Arc::new(Counts::default());
        Ok((Self { file: FileBackend::new(file)?, counts: Arc::clone(&counts) }, counts))
    }
}

impl Counts {
    /// Syncs, writes and bytes written so far.
    pub(super) fn read(&self) -> [u64; 3] {
        [&self.syncs, &self.writes, &self.bytes].map(|count| count.load(Ordering::Relaxed))
    }
}

impl StorageBackend for Counted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
