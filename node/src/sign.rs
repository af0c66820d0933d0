use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use adit_protocol::limits::BATCH_LEAVES_MAX;
use adit_protocol::{NodeMessage, Receipt, sign_receipts};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::NodeEvent;
use crate::link::Link;

/// How long receipts wait for company while other jobs run here. A signature costs as much as a small job; under load, a millisecond's
/// receipts share one.
const COMPANY: Duration = Duration::from_millis(1);

/// Signs receipts in batches. One that is alone, with no other job running, is signed at once; else what becomes ready within
/// [`COMPANY`] is signed under one root.
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

    /// Waits until the time is over or a batch is full.
    async fn gather(&self) {
        let mut over = pin!(sleep(COMPANY));
        while self.ready.borrow().len() < BATCH_LEAVES_MAX {
            tokio::select! {
                () = &mut over => return,
                () = self.filled.notified() => {}
            }
        }
    }

    /// Signs and sends until the task is aborted.
    pub(crate) async fn sign_for(&self, link: &Link) {
        loop {
            self.filled.notified().await;
            if link.leases() > self.ready.borrow().len() {
                self.gather().await;
            }
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
        let told_id = (told.job, told.attempt);
        link.node.today.add_receipt(told.cost);
        let event = NodeEvent::JobEnded { job: told.job, outcome: told.outcome, usage: told.usage, cost: told.cost };
        link.send(&NodeMessage::Finished { receipt: Box::new(receipt), reason, output });
        link.node.tell(event);
        link.lease_ended(told_id);
    }
}
