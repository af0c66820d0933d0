use std::cell::RefCell;

use adit_protocol::limits::BATCH_LEAVES_MAX;
use adit_protocol::{NodeMessage, Receipt, sign_receipts};
use tokio::sync::Notify;

use crate::NodeEvent;
use crate::link::Link;

/// Signs receipts in batches that form by themselves: whatever became ready before the signer's turn came is signed under one root. A
/// lone receipt is signed at once.
#[derive(Debug, Default)]
pub(crate) struct Signer {
    ready: RefCell<Vec<Finished>>,
    filled: Notify,
}

/// An attempt that came to an outcome, to be signed and reported.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) receipt: Receipt,
    pub(crate) reason: String,
    pub(crate) output: Option<Vec<u8>>,
}

impl Signer {
    pub(crate) fn push(&self, finished: Finished) {
        self.ready.borrow_mut().push(finished);
        self.filled.notify_one();
    }

    /// Signs and sends until the task is aborted.
    pub(crate) async fn sign_for(&self, link: &Link) {
        loop {
            self.filled.notified().await;
            let mut ready = std::mem::take(&mut *self.ready.borrow_mut()).into_iter();
            loop {
                let batch: Vec<Finished> = ready.by_ref().take(BATCH_LEAVES_MAX).collect();
                if batch.is_empty() {
                    break;
                }
                sign_batch(link, batch);
            }
        }
    }
}

fn sign_batch(link: &Link, batch: Vec<Finished>) {
    let (receipts, rest): (Vec<_>, Vec<_>) = batch.into_iter().map(|f| (f.receipt, (f.reason, f.output))).unzip();
    let signed = sign_receipts(link.node.dialer.key(), receipts);
    for (receipt, (reason, output)) in signed.into_iter().zip(rest) {
        let told = &receipt.receipt;
        let event = NodeEvent::JobEnded { job: told.job, outcome: told.outcome, usage: told.usage, cost: told.cost };
        link.send(&NodeMessage::Finished { receipt: Box::new(receipt), reason, output });
        link.node.tell(event);
    }
}
