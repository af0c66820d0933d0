use std::sync::Arc;

use adit_protocol::limits::INLINE_BYTES_MAX;
use adit_protocol::{
    Attempt, BlobRef, Digest, JobEvent, JobId, JobResult, JobSpec, PublicKey, SignedReceipt, SignedSettlement, VerifiedReceipt,
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::JobError;
use crate::link::Shared;

/// A submitted job. Dropped, it is only detached: the job goes on.
#[derive(Debug)]
pub struct JobHandle {
    pub(crate) job: JobId,
    /// Tells the handles of one job apart.
    pub(crate) handle: u64,
    /// What was asked; nothing where this handle was attached by id.
    pub(crate) spec: Option<Arc<JobSpec>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: UnboundedReceiver<Result<JobEvent, JobError>>,
    /// The newest receipt that was seen, which a settlement must name.
    pub(crate) receipt: Option<SignedReceipt>,
}

/// What becomes of a job, step by step.
#[derive(Debug)]
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
    /// It came to an outcome.
    Ended(Box<Done>),
    /// Its receipt is stored for good.
    Settled(Settled),
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

/// The gateway's checked word that a receipt is stored for good.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The word itself, to be kept beside the receipt.
    pub settlement: SignedSettlement,
}

impl JobHandle {
    /// The job's id.
    pub fn id(&self) -> JobId {
        self.job
    }

    /// Asks for the job to be stopped. The end still comes as an update.
    pub fn cancel(&self) {
        self.shared.cancel(self.job);
    }

    /// The next update; nothing after `Settled`. Cancel-safe.
    ///
    /// # Errors
    /// [`JobError`] where the job came to no outcome, or to one that cannot be believed. It is the last update then.
    pub async fn next(&mut self) -> Result<Option<Update>, JobError> {
        let Some(event) = self.events.recv().await else { return Ok(None) };
        let job = self.job;
        Ok(Some(match event? {
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
            JobEvent::Settled(settlement) => Update::Settled(self.check_settlement(settlement)?),
        }))
    }

    /// Waits for the outcome.
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

    /// Waits until the receipt is stored for good. To be called after [`JobHandle::ended`].
    ///
    /// # Errors
    /// As [`JobHandle::next`].
    pub async fn settled(&mut self) -> Result<Settled, JobError> {
        loop {
            match self.next().await? {
                Some(Update::Settled(settled)) => return Ok(settled),
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
        let verified = receipt.clone().verify().map_err(|error| JobError::Unproven { job, error })?;
        let told = verified.receipt();
        let mismatch = |field| JobError::Mismatch(adit_protocol::ReceiptMismatch { job, field });
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
        let blob = BlobRef { digest: told.output, bytes: told.usage.bytes_out.0 };
        let output = match output {
            Some(bytes) if bytes.len() <= INLINE_BYTES_MAX && Digest::of(&bytes) == told.output => Output::Inline(bytes),
            Some(_) => return Err(JobError::WrongOutput { job }),
            None => Output::Blob(blob),
        };
        self.receipt = Some(receipt);
        Ok(Done { receipt: verified, reason, output, queue_us, rtt_us })
    }

    fn check_settlement(&self, settlement: SignedSettlement) -> Result<Settled, JobError> {
        let job = self.job;
        let receipt = self.receipt.as_ref().ok_or(JobError::Unproven {
            job,
            error: adit_protocol::VerifyError::Batch { job, error: adit_protocol::BatchError::Malformed },
        })?;
        settlement.verify(receipt).map_err(|error| JobError::Unproven { job, error })?;
        Ok(Settled { settlement })
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.shared.forget(self.job, self.handle);
    }
}
