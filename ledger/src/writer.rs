use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::{Appended, CommitError, Entry, EntryError, Ledger, Reader};

/// Entries in one transaction. By 1,000 the two syncs of a commit are a small part of its work, and a larger batch would only make
/// those behind it wait longer.
pub const BATCH_ENTRIES_MAX: usize = 1_000;

/// Entries that wait for the writer: while one batch is committed, the next ones form. With every entry at its largest, this is
/// under 100 MiB.
pub const QUEUE_ENTRIES_MAX: usize = 4 * BATCH_ENTRIES_MAX;

/// Group commit: one thread that owns the ledger and records whatever is queued, as one batch, again and again.
///
/// No timer gathers a batch. A lone entry is committed at once; those that come meanwhile are the next batch.
///
/// Dropping the writer records what is queued, tells of it, and waits for the thread to end.
pub struct Writer {
    reader: Reader,
    /// Nothing once the writer is closing, which is how the thread hears of it.
    queue: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<Ledger>>,
}

/// What became of the entries of one transaction.
#[derive(Debug)]
pub struct Batch {
    /// What was queued, in order.
    pub entries: Vec<Entry>,
    /// What became of each, in the same order; or of all.
    pub result: Result<Vec<Result<Appended, EntryError>>, CommitError>,
}

/// An entry that was not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// [`QUEUE_ENTRIES_MAX`] entries wait already. Try again after the next batch.
    #[error("job {}: {QUEUE_ENTRIES_MAX} receipts wait for the ledger already", .0.job())]
    Full(Box<Entry>),
    /// The writer's thread has panicked. Nothing more will be recorded.
    #[error("job {}: the ledger's writer is gone", .0.job())]
    Gone(Box<Entry>),
}

impl Writer {
    /// Starts the thread. It calls `on_commit` after every batch, before it begins the next: `on_commit` should hand on, not work.
    ///
    /// After a batch that failed the thread goes on, and every later batch fails with [`CommitError::Stopped`].
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub fn spawn(ledger: Ledger, on_commit: impl FnMut(Batch) + Send + 'static) -> io::Result<Self> {
        let reader = ledger.reader().clone();
        let (queue, entries) = sync_channel(QUEUE_ENTRIES_MAX);
        let thread = thread::Builder::new().name("ledger".into()).spawn(|| record(ledger, entries, on_commit))?;
        Ok(Self { reader, queue: Some(queue), thread: Some(thread) })
    }

    /// A handle for reading beside the writer.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Queues `entry` for the next batch. Never waits.
    ///
    /// # Errors
    /// [`SubmitError`] gives the entry back.
    pub fn submit(&self, entry: Entry) -> Result<(), SubmitError> {
        let queue = self.queue.as_ref().expect("the queue is open until the writer is consumed");
        queue.try_send(entry).map_err(|error| match error {
            TrySendError::Full(entry) => SubmitError::Full(Box::new(entry)),
            TrySendError::Disconnected(entry) => SubmitError::Gone(Box::new(entry)),
        })
    }

    /// Records what is queued, and gives the ledger back.
    ///
    /// # Panics
    /// Where the writer's thread did, with its panic.
    pub fn close(mut self) -> Ledger {
        self.queue = None;
        let thread = self.thread.take().expect("the thread is there until the writer is consumed");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened; a second one in a destructor would abort.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Ends when all senders are gone and the queue is empty, in that order: what was queued is recorded.
fn record(mut ledger: Ledger, queue: Receiver<Entry>, mut on_commit: impl FnMut(Batch)) -> Ledger {
    while let Ok(first) = queue.recv() {
        let mut entries = vec![first];
        entries.extend(queue.try_iter().take(BATCH_ENTRIES_MAX - 1));
        let result = ledger.append(&entries);
        on_commit(Batch { entries, result });
    }
    ledger
}
