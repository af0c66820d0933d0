//! From the ledger's thread back to the gateway's.

use std::cell::RefCell;
use std::rc::Rc;

use adit_ledger::Batch;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::core::Core;

/// Bytes of a receipt's engine name: free text of the node's, which must not fill the ledger.
pub(crate) const ENGINE_BYTES_MAX: usize = 64;

/// Hands each committed batch to the core. The channel is bounded by the ledger's own queue: what is in it was queued there before.
pub(crate) async fn take_in_commits(core: Rc<RefCell<Core>>, mut batches: UnboundedReceiver<Batch>) {
    while let Some(batch) = batches.recv().await {
        core.borrow_mut().committed(batch);
    }
}
