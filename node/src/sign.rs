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
            self.batches(|| link.leases()).await.into_iter().for_each(|batch| sign_batch(link, batch));
        }
    }

    /// What is to be signed next, batch by batch. Of `leases` those that are not ready may become so soon.
    async fn batches(&self, leases: impl Fn() -> usize) -> Vec<Vec<Finished>> {
        self.filled.notified().await;
        if leases() > self.ready.borrow().len() {
            self.gather().await;
        }
        let mut ready = std::mem::take(&mut *self.ready.borrow_mut()).into_iter();
        let next = || Some(ready.by_ref().take(BATCH_LEAVES_MAX).collect()).filter(|batch: &Vec<_>| !batch.is_empty());
        std::iter::from_fn(next).collect()
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use adit_protocol::{Attempt, Digest, JobId, MeterId, Microcredits, NodeTimes, Outcome, Price, Profile, PublicKey, Usage};

    use super::*;

    fn finished() -> Finished {
        let (digest, key) = (Digest([0; 32]), PublicKey([0; 32]));
        let receipt = Receipt {
            job: JobId([1; 16]),
            attempt: Attempt(1),
            client: key,
            node: key,
            gateway: key,
            spec: digest,
            module: digest,
            input: digest,
            output: digest,
            outcome: Outcome::Finished { exit_code: 0 },
            profile: Profile::Deterministic,
            meter: MeterId([0; 32]),
            engine: String::new(),
            usage: Usage::default(),
            gpu: None,
            times: NodeTimes::default(),
            price: Price::default(),
            cost: Microcredits(0),
            salt: None,
        };
        Finished { receipt, reason: String::new(), output: None }
    }

    fn ready(receipts: usize) -> Signer {
        let signer = Signer::default();
        (0..receipts).for_each(|_| signer.push(finished()));
        signer
    }

    /// Whether a future is done when it is polled once more.
    async fn is_done(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        tokio::select! {
            biased;
            () = future => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn receipts_wait_a_millisecond_for_company() {
        for receipts in [1, BATCH_LEAVES_MAX - 1] {
            let signer = ready(receipts);
            let begun = Instant::now();
            signer.gather().await;
            assert!(begun.elapsed() >= COMPANY, "{receipts}: {:?}", begun.elapsed());
            assert_eq!(signer.ready.borrow().len(), receipts, "they are left to whoever signs");
        }
        assert_eq!(COMPANY, Duration::from_millis(1));
    }

    /// How many receipts each signature is for.
    async fn sizes(signer: &Signer, leases: usize) -> Vec<usize> {
        signer.batches(|| leases).await.iter().map(Vec::len).collect()
    }

    #[tokio::test]
    async fn lone_receipt_is_signed_at_once_and_a_backlog_in_full_batches() {
        for (receipts, want) in [(1, &[1][..]), (2, &[2]), (64, &[64]), (65, &[64, 1]), (130, &[64, 64, 2])] {
            let signer = ready(receipts);
            let mut batches = pin!(signer.batches(|| receipts));
            let done = tokio::select! {
                biased;
                batches = &mut batches => Some(batches),
                () = std::future::ready(()) => None,
            };
            let sizes: Vec<usize> = done.expect("nobody else's job runs").iter().map(Vec::len).collect();
            assert_eq!(sizes, want, "{receipts}");
        }
    }

    #[tokio::test]
    async fn jobs_that_end_within_a_millisecond_share_a_signature() {
        let signer = ready(1);
        let late = async {
            tokio::task::yield_now().await;
            (0..4).for_each(|_| signer.push(finished()));
        };
        // A sixth runs on.
        let (shared, ()) = tokio::join!(sizes(&signer, 6), late);
        assert_eq!(shared, [5]);
        assert!(signer.ready.borrow().is_empty());
    }

    #[tokio::test]
    async fn full_batch_waits_for_nobody() {
        let full = ready(64);
        assert!(is_done(&mut pin!(full.gather())).await);
        let signer = ready(63);
        let mut gathering = pin!(signer.gather());
        assert!(!is_done(&mut gathering).await);
        // The clock is not looked at between two polls, only by the runtime when it has nothing else to do.
        signer.push(finished());
        assert!(is_done(&mut gathering).await);
    }
}
