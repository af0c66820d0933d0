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
    async fn gather(&self, over: impl Future<Output = ()>) {
        let mut over = pin!(over);
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
            self.batches(|| link.leases(), company()).await.into_iter().for_each(|batch| sign_batch(link, batch));
        }
    }

    /// What is to be signed next, batch by batch. Of `leases` those that are not ready may become so until the time is over.
    async fn batches(&self, leases: impl Fn() -> usize, over: impl Future<Output = ()>) -> Vec<Vec<Finished>> {
        self.filled.notified().await;
        if leases() > self.ready.borrow().len() {
            self.gather(over).await;
        }
        let mut ready = std::mem::take(&mut *self.ready.borrow_mut()).into_iter();
        let next = || Some(ready.by_ref().take(BATCH_LEAVES_MAX).collect()).filter(|batch: &Vec<_>| !batch.is_empty());
        std::iter::from_fn(next).collect()
    }
}

/// Is over after [`COMPANY`], which begins when this is first waited for.
async fn company() {
    sleep(COMPANY).await;
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
    use std::future::pending;
    use std::time::Instant;

    use adit_protocol::{Attempt, Digest, JobId, MeterId, Microcredits, NodeTimes, Outcome, Price, Profile, PublicKey, Usage};
    use tokio::sync::oneshot;

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

    /// What a future has come to when it is polled once more. The clock is not looked at between two polls, only by the runtime when it has
    /// nothing else to do.
    async fn polled<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }

    /// How many receipts each signature is for.
    fn sizes(batches: &[Vec<Finished>]) -> Vec<usize> {
        batches.iter().map(Vec::len).collect()
    }

    #[tokio::test]
    async fn receipts_wait_a_millisecond_for_company() {
        for receipts in [1, BATCH_LEAVES_MAX - 1] {
            let signer = ready(receipts);
            let begun = Instant::now();
            signer.gather(company()).await;
            assert!(begun.elapsed() >= COMPANY, "{receipts}: {:?}", begun.elapsed());
            assert_eq!(signer.ready.borrow().len(), receipts, "they are left to whoever signs");
        }
        assert_eq!(COMPANY, Duration::from_millis(1));
    }

    #[tokio::test]
    async fn lone_receipt_is_signed_at_once_and_a_backlog_in_full_batches() {
        for (receipts, want) in [(1, &[1][..]), (2, &[2]), (64, &[64]), (65, &[64, 1]), (130, &[64, 64, 2])] {
            let signer = ready(receipts);
            let batches = polled(&mut pin!(signer.batches(|| receipts, pending()))).await;
            assert_eq!(sizes(&batches.expect("nobody else's job runs")), want, "{receipts}");
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
        let (batches, ()) = tokio::join!(signer.batches(|| 6, company()), late);
        assert_eq!(sizes(&batches), [5]);
        assert!(signer.ready.borrow().is_empty());
    }

    /// The time is one for all of a batch: a job that ends now and then does not keep those before it waiting.
    #[tokio::test]
    async fn company_is_waited_for_once_and_not_anew_for_each_receipt() {
        for receipts in [1, 2, BATCH_LEAVES_MAX - 1] {
            let (signer, (end, over)) = (ready(1), oneshot::channel::<()>());
            let mut gathering = pin!(signer.gather(async { over.await.unwrap() }));
            assert!(polled(&mut gathering).await.is_none());
            for _ in 1..receipts {
                signer.push(finished());
                assert!(polled(&mut gathering).await.is_none(), "its time is not over");
            }
            end.send(()).unwrap();
            assert!(polled(&mut gathering).await.is_some(), "{receipts} receipts wait on when their time is over");
        }
    }

    #[tokio::test]
    async fn batch_that_fills_up_is_signed_before_its_time_is_over() {
        for (receipts, want) in [(64, &[64][..]), (65, &[64, 1]), (129, &[64, 64, 1])] {
            let signer = ready(1);
            // More run on, and the time is never over.
            let mut batches = pin!(signer.batches(|| 200, pending()));
            assert!(polled(&mut batches).await.is_none(), "it waits for company");
            (1..receipts).for_each(|_| signer.push(finished()));
            assert_eq!(sizes(&polled(&mut batches).await.expect("a batch is full")), want, "{receipts}");
        }
    }

    #[tokio::test]
    async fn full_batch_waits_for_nobody() {
        let full = ready(64);
        assert!(polled(&mut pin!(full.gather(pending()))).await.is_some());
        let signer = ready(63);
        let mut gathering = pin!(signer.gather(pending()));
        assert!(polled(&mut gathering).await.is_none());
        signer.push(finished());
        assert!(polled(&mut gathering).await.is_some());
    }
}
