use adit_protocol::{Digest, JobId, ReceiptMismatch, Refusal, Rejection, VerifyError};
use adit_transport::DialError;

/// A gateway that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No connection could be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The gateway does not want this client.
    #[error("the gateway rejects this client: {0}")]
    Rejected(Rejection),
    /// The connection broke before the gateway answered.
    #[error("the gateway ended the connection: {0}")]
    Broken(String),
}

/// A job that came to no outcome, or to one that cannot be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The gateway does not run it.
    #[error("job {job}: refused: {refusal}")]
    Refused {
        /// The job.
        job: JobId,
        /// Why.
        refusal: Refusal,
    },
    /// It was cancelled while it waited.
    #[error("job {job}: cancelled before it came to an outcome")]
    CancelledInQueue {
        /// The job.
        job: JobId,
    },
    /// No attempt came to an outcome: its node was lost or failed, or the owner took it back.
    #[error("job {job}: came to no outcome (attempts: {attempts}), last: {reason}")]
    NodeLost {
        /// The job.
        job: JobId,
        /// How many attempts there were.
        attempts: u32,
        /// What the last of them died of, and what kept the job from another.
        reason: String,
    },
    /// The gateway could not be reached again. The job may still end; submit it again under the same key to learn how.
    #[error("job {job}: the gateway was lost: {reason}; the same key attaches to the job again")]
    GatewayLost {
        /// The job.
        job: JobId,
        /// What the last attempt to reach it said.
        reason: String,
    },
    /// The module or the input could not be sent.
    #[error("job {job}: upload of {blob} failed: {error}")]
    Upload {
        /// The job.
        job: JobId,
        /// What was to be sent.
        blob: Digest,
        /// Why it was not.
        error: String,
    },
    /// The receipt or the settlement proves nothing.
    #[error("job {job}: {error}")]
    Unproven {
        /// The job.
        job: JobId,
        /// What is wrong with it.
        error: VerifyError,
    },
    /// The receipt is about something else than was asked.
    #[error(transparent)]
    Mismatch(#[from] ReceiptMismatch),
    /// The output is not the one that the receipt names.
    #[error("job {job}: the output does not have the digest that its receipt names")]
    WrongOutput {
        /// The job.
        job: JobId,
    },
}
