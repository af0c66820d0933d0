use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::{Applied, CommitError, Ledger, Operation, Reader, Refused};

/// Operations in one transaction. By 1,000 the two syncs of a commit are a small part of its work, and a larger batch would only make
/// those behind it wait longer.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;

/// Operations that wait for the writer: while one batch is committed, the next ones form. With every one at its largest, this is
/// under 100 MiB.
pub const QUEUE_OPERATIONS_MAX: usize = 4 * BATCH_OPERATIONS_MAX;

/// Group commit: one thread that owns the ledger and records whatever is queued, as one batch, again and again.
///
/// No timer gathers a batch. A lone entry is committed at once; those that come while it is worked on are committed with it, and those that
/// come while the disk is waited for are the next batch.
///
/// Dropping the writer records what is queued, tells of it, and waits for the thread to end.
pub struct Writer {
    reader: Reader,
    /// Nothing once the writer is closing, which is how the thread hears of it.
    queue: Option<SyncSender<Operation>>,
    thread: Option<JoinHandle<Ledger>>,
}

/// What became of the operations of one transaction.
#[derive(Debug)]
pub struct Batch {
    /// What was queued, in order.
    pub operations: Vec<Operation>,
    /// What became of each, in the same order; or of all.
    pub result: Result<Vec<Result<Applied, Refused>>, CommitError>,
}

/// An operation that was not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// [`QUEUE_OPERATIONS_MAX`] operations wait already. Try again after the next batch.
    #[error("{QUEUE_OPERATIONS_MAX} operations wait for the ledger already")]
    Full(Box<Operation>),
    /// The writer's thread has panicked. Nothing more will be recorded.
    #[error("the ledger's writer is gone")]
    Gone(Box<Operation>),
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
        let (queue, operations) = sync_channel(QUEUE_OPERATIONS_MAX);
        let thread = thread::Builder::new().name("ledger".into()).spawn(|| record(ledger, operations, on_commit))?;
        Ok(Self { reader, queue: Some(queue), thread: Some(thread) })
    }

    /// A handle for reading beside the writer.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Queues `operation` for the next batch. Never waits.
    ///
    /// # Errors
    /// [`SubmitError`] gives the operation back.
    pub fn submit(&self, operation: Operation) -> Result<(), SubmitError> {
        let queue = self.queue.as_ref().expect("the queue is open until the writer is consumed");
        queue.try_send(operation).map_err(|error| match error {
            TrySendError::Full(operation) => SubmitError::Full(Box::new(operation)),
            TrySendError::Disconnected(operation) => SubmitError::Gone(Box::new(operation)),
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
fn record(mut ledger: Ledger, queue: Receiver<Operation>, mut on_commit: impl FnMut(Batch)) -> Ledger {
    while let Ok(first) = queue.recv() {
        let mut operations = vec![first];
        // Whoever is just queueing is waited for no longer than the work on the first takes, and is in this batch still.
        let mut others = queue.try_iter().take(BATCH_OPERATIONS_MAX - 1);
        let result = ledger.apply_growing(&mut operations, || others.next());
        on_commit(Batch { operations, result });
    }
    ledger
}
