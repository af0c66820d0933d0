//! From the ledger's thread back to the gateway's.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use adit_ledger::Batch;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::PublishError;
use crate::core::Core;

/// Bytes of a receipt's engine name: free text of the node's, which must not fill the ledger.
pub(crate) const ENGINE_BYTES_MAX: usize = 64;

/// Hands receipts to the ledger's thread, after what their clients are told has left: on a small machine that thread would otherwise run
/// first, for as long as a commit takes.
pub(crate) async fn hand_over_receipts(core: Rc<RefCell<Core>>) {
    let recorder = Arc::clone(&core.borrow().recorder);
    loop {
        recorder.notified().await;
        // Each turn lets every task that is ready run: the outbox's writer, then the connection's driver.
        for _ in 0..TURNS_TO_LEAVE {
            tokio::task::yield_now().await;
        }
        core.borrow_mut().hand_over();
    }
}

/// Turns of the scheduler that a message takes from its outbox to the socket.
const TURNS_TO_LEAVE: usize = 2;

/// Hands each committed batch to the core. The channel is bounded by the ledger's own queue: what is in it was queued there before.
pub(crate) async fn take_in_commits(core: Rc<RefCell<Core>>, mut batches: UnboundedReceiver<Batch>) {
    while let Some(batch) = batches.recv().await {
        core.borrow_mut().committed(batch);
    }
}

/// Hands on why nothing more must be signed.
pub(crate) async fn take_in_faults(core: Rc<RefCell<Core>>, mut faults: UnboundedReceiver<PublishError>) {
    while let Some(fault) = faults.recv().await {
        core.borrow_mut().stop_ledger(fault.to_string());
    }
}
