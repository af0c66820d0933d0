use std::sync::Arc;
use std::time::Duration;

use adit_protocol::limits::INLINE_BYTES_MAX;
use adit_protocol::{
    Attempt, BatchError, BlobRef, JobEvent, JobId, JobResult, JobSpec, PublicKey, ReceiptMismatch, Refusal, SignedReceipt,
    SignedSettlement, VerifiedReceipt, VerifyError,
};
use tokio::sync::mpsc::Receiver;

use crate::JobError;
use crate::link::{News, Shared};

/// A submitted job. Dropped, it is only detached: a job that the gateway has goes on.
#[derive(Debug)]
pub struct JobHandle {
    pub(crate) job: JobId,
    /// Tells the handles of one job apart.
    pub(crate) handle: u64,
    /// What was asked; nothing where this handle was attached by id.
    pub(crate) spec: Option<Arc<JobSpec>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) news: Receiver<Result<News, JobError>>,
    /// The newest outcome, whose receipt a settlement must name.
    pub(crate) done: Option<Done>,
}

/// What becomes of a job, step by step.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// It waits for a node.
    Queued,
    /// It runs.
    Started {
        /// Where.
        node: PublicKey,
        /// Which try.
        attempt: Attempt,
    },
    /// The guest says how far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, 0 where the guest does not know.
        total: u64,
    },
    /// An attempt was cut short by its node's owner, or because another attempt ended first, and is paid for what it did. The job goes on.
    Interim(Box<VerifiedReceipt>),
    /// It came to an outcome. A gateway that dies before it has stored the receipt forgets the run: the job then runs again, and ends
    /// again with another receipt.
    Ended(Box<Done>),
    /// The last receipt is stored for good, and with it the outcome is final. Nothing comes after it.
    Settled(Box<Settled>),
    /// The gateway has no room for it now. It is submitted again by itself, unless it is cancelled or its handles are dropped before.
    Postponed {
        /// What the gateway said.
        refusal: Refusal,
        /// When that will be.
        wait: Duration,
        /// Which time in a row this is, counted from 1.
        times: u32,
    },
    /// The connection to the gateway broke and is being made again. Until it is, nothing is heard of the job, which may go on.
    Reconnecting {
        /// What became of the connection.
        reason: String,
    },
    /// The connection is there again, and the job is submitted or attached to on it. Where it stands now comes as further updates.
    Reconnected,
}

/// An outcome with its checked receipt.
#[derive(Debug, Clone)]
pub struct Done {
    /// The receipt: signed by its node, about this job, within its limits, priced by the formula.
    pub receipt: VerifiedReceipt,
    /// What a human should know of the outcome beyond its name.
    pub reason: String,
    /// What the guest wrote.
    pub output: Output,
    /// Microseconds in the gateway's queue.
    pub queue_us: u64,
    /// The gateway's round trip to the node, in microseconds.
    pub rtt_us: u64,
}

/// What a guest wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The bytes themselves.
    Inline(Vec<u8>),
    /// To be fetched by [`crate::Client::fetch`].
    Blob(BlobRef),
}

/// An outcome whose receipt is stored for good.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The outcome. It is not always the first one that was told, see [`Update::Ended`]; this one is billed.
    pub done: Done,
    /// The gateway's checked word for the receipt of `done`, to be kept beside it.
    pub settlement: SignedSettlement,
}

impl JobHandle {
    /// The job's id.
    pub fn id(&self) -> JobId {
        self.job
    }

    /// Asks for the job to be stopped. The end still comes as an update. While its module or input is being sent, or
    /// it is postponed, the gateway does not have the job yet: it is then not submitted, and ends at once as
    /// [`JobError::CancelledInQueue`].
    pub fn cancel(&self) {
        // Without a connection, the next one withdraws the job.
        let _ = self.shared.cancel(self.job);
    }

    /// The next update; nothing after `Settled`. Cancel-safe.
    ///
    /// # Errors
    /// [`JobError`] where the job came to no outcome, or to one that cannot be believed. It is the last update then.
    pub async fn next(&mut self) -> Result<Option<Update>, JobError> {
        let Some(news) = self.news.recv().await else { return Ok(None) };
        let job = self.job;
        let event = match news? {
            News::Event(event) => event,
            News::Lost(reason) => return Ok(Some(Update::Reconnecting { reason })),
            News::Found => return Ok(Some(Update::Reconnected)),
            News::Postponed { refusal, wait, times } => return Ok(Some(Update::Postponed { refusal, wait, times })),
        };
        Ok(Some(match event {
            JobEvent::Queued => Update::Queued,
            JobEvent::Started { node, attempt } => Update::Started { node, attempt },
            JobEvent::Progress { done, total } => Update::Progress { done, total },
            JobEvent::Ended(JobResult::Done { receipt, reason, output, queue_us, rtt_us }) => {
                Update::Ended(Box::new(self.check(*receipt, reason, output, queue_us, rtt_us)?))
            }
            JobEvent::Ended(JobResult::Refused(refusal)) => return Err(JobError::Refused { job, refusal }),
            JobEvent::Ended(JobResult::CancelledInQueue) => return Err(JobError::CancelledInQueue { job }),
            JobEvent::Ended(JobResult::NodeLost { attempts, reason }) => {
                return Err(JobError::NodeLost { job, attempts, reason });
            }
            JobEvent::Interim(receipt) => Update::Interim(Box::new(self.check_receipt(*receipt)?)),
            JobEvent::Settled(settlement) => Update::Settled(Box::new(self.check_settlement(settlement)?)),
        }))
    }

    /// Waits for the outcome. It is final only when it is settled.
    ///
    /// # Errors
    /// As [`JobHandle::next`].
    pub async fn ended(&mut self) -> Result<Done, JobError> {
        loop {
            match self.next().await? {
                Some(Update::Ended(done)) => return Ok(*done),
                Some(_) => {}
                None => return Err(self.broken()),
            }
        }
    }

    /// Waits until an outcome's receipt is stored for good, and gives both.
    ///
    /// # Errors
    /// As [`JobHandle::next`].
    pub async fn settled(&mut self) -> Result<Settled, JobError> {
        loop {
            match self.next().await? {
                Some(Update::Settled(settled)) => return Ok(*settled),
                Some(_) => {}
                None => return Err(self.broken()),
            }
        }
    }

    fn broken(&self) -> JobError {
        JobError::GatewayLost { job: self.job, reason: "the client was closed".into() }
    }

    fn check(
        &mut self,
        receipt: SignedReceipt,
        reason: String,
        output: Option<Vec<u8>>,
        queue_us: u64,
        rtt_us: u64,
    ) -> Result<Done, JobError> {
        let job = self.job;
        let verified = self.check_receipt(receipt)?;
        let told = verified.receipt();
        let blob = BlobRef { digest: told.output, bytes: told.usage.bytes_out.0 };
        let output = match output {
            Some(bytes) if bytes.len() <= INLINE_BYTES_MAX && BlobRef::of(&bytes) == blob => Output::Inline(bytes),
            Some(_) => return Err(JobError::WrongOutput { job }),
            None => Output::Blob(blob),
        };
        let done = Done { receipt: verified, reason, output, queue_us, rtt_us };
        self.done = Some(done.clone());
        Ok(done)
    }

    /// Checks that a receipt is about an attempt of this job.
    fn check_receipt(&self, receipt: SignedReceipt) -> Result<VerifiedReceipt, JobError> {
        let job = self.job;
        let verified = receipt.verify_with(&mut self.shared.known()).map_err(|error| JobError::Unproven { job, error })?;
        let told = verified.receipt();
        let mismatch = |field| JobError::Mismatch(ReceiptMismatch { job, field });
        if told.job != job {
            return Err(mismatch("job"));
        }
        if told.client != self.shared.client() {
            return Err(mismatch("client"));
        }
        if told.gateway != self.shared.gateway() {
            return Err(mismatch("gateway"));
        }
        if let Some(spec) = &self.spec {
            verified.check_spec(spec)?;
        }
        Ok(verified)
    }

    fn check_settlement(&mut self, settlement: SignedSettlement) -> Result<Settled, JobError> {
        let job = self.job;
        let unproven = |error| JobError::Unproven { job, error };
        // A settlement of nothing proves nothing.
        let done = self.done.take().ok_or(unproven(VerifyError::Batch { job, error: BatchError::Malformed }))?;
        settlement.verify_with(done.receipt.signed(), &mut self.shared.known()).map_err(unproven)?;
        Ok(Settled { done, settlement })
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.shared.forget(self.job, self.handle);
    }
}
