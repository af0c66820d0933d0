//! What the process tells the shell. The table stands in `docs/cli.md`; scripts rely on it.

use std::fmt::Display;
use std::io;

use adit_client::{ConnectError, JobError};
use adit_node::StartError;
use adit_protocol::{JobId, Outcome, VerifyError};
use adit_transport::{BlobError, TransferError};

use crate::config::SyntaxError;
use crate::screen;

/// An exit code. 10 to 17 are the guest's own doing, 20 and up the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; a guest ended with exit code 0.
    Success = 0,
    /// This program failed: a file that cannot be written, a tool that is missing.
    Failed = 1,
    /// The command cannot be carried out as it was given.
    Usage = 2,
    /// The guest ended with another exit code than 0, or trapped.
    GuestFailed = 10,
    /// The fuel limit was reached.
    OutOfFuel = 11,
    /// The memory limit was reached.
    OutOfMemory = 12,
    /// The wall-time limit was reached.
    TimedOut = 13,
    /// The job was cancelled.
    Cancelled = 14,
    /// The output limit was reached.
    OutputTooLarge = 15,
    /// The limit of GPU time was reached.
    OutOfGpuTime = 16,
    /// The guest hung the GPU, or lost its device.
    GpuLost = 17,
    /// The gateway or the runtime does not take the job.
    Refused = 20,
    /// Every attempt lost its node.
    NodeLost = 21,
    /// The gateway does not answer, has another key, or was lost.
    GatewayUnreachable = 22,
    /// A receipt, a settlement or an output proves nothing.
    BadProof = 23,
    /// A bill that can be neither confirmed nor refuted here.
    NotRecomputable = 24,
    /// Some of the inputs of `adit map` have no result.
    Incomplete = 30,
    /// A second Ctrl-C left before the end was known.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// What an outcome means to the shell.
    pub(crate) fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Finished { exit_code: 0 } => Self::Success,
            Outcome::Finished { .. } | Outcome::Trapped(_) => Self::GuestFailed,
            Outcome::OutOfFuel => Self::OutOfFuel,
            Outcome::OutOfMemory => Self::OutOfMemory,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::OutputTooLarge => Self::OutputTooLarge,
            Outcome::OutOfGpuTime => Self::OutOfGpuTime,
            Outcome::GpuLost => Self::GpuLost,
            // The last word of an attempt, never of a job.
            Outcome::Preempted => Self::NodeLost,
        }
    }

    /// What an error means to the shell: the first of its causes that says.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        error.chain().find_map(of_cause).unwrap_or(Self::Failed)
    }

    /// What several errors mean together: that something proves nothing before all else. Nothing where there are none.
    pub(crate) fn of_errors(errors: &[anyhow::Error]) -> Option<Self> {
        let mut exits = errors.iter().map(Self::of_error);
        let first = exits.next()?;
        Some(if exits.any(|exit| exit == Self::BadProof) { Self::BadProof } else { first })
    }
}

/// A command that cannot be carried out as it was given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The gateway, or the runtime here, does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RefusedError(pub(crate) String);

/// Something that should prove a claim does not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ProofError(pub(crate) String);

/// The user left before the end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InterruptedError(pub(crate) String);

/// Marks a failure as the user's to mend.
pub(crate) fn usage(text: impl Display) -> anyhow::Error {
    UsageError(text.to_string()).into()
}

/// The job that an error is about, where it names one.
pub(crate) fn job_of(error: &anyhow::Error) -> Option<JobId> {
    match error.chain().find_map(|cause| cause.downcast_ref::<JobError>())? {
        JobError::Refused { job, .. }
        | JobError::CancelledInQueue { job }
        | JobError::NodeLost { job, .. }
        | JobError::GatewayLost { job, .. }
        | JobError::Upload { job, .. }
        | JobError::Unproven { job, .. }
        | JobError::WrongOutput { job } => Some(*job),
        JobError::Mismatch(mismatch) => Some(mismatch.job),
        _ => None,
    }
}

/// Shows `error` and says what it means to the shell.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if is_closed_pipe(error) {
        // Whoever read our output has seen enough, as in `adit receipts | head`.
        return Exit::Success;
    }
    screen::show_error(error);
    Exit::of_error(error)
}

/// Whether the reader of our output has gone.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if cause.is::<UsageError>() || cause.is::<SyntaxError>() {
        return Some(Exit::Usage);
    }
    if let Some(StartError::Absurd(_) | StartError::OwnLabel { .. }) = cause.downcast_ref::<StartError>() {
        return Some(Exit::Usage);
    }
    if cause.is::<RefusedError>() {
        return Some(Exit::Refused);
    }
    if cause.is::<ProofError>() || cause.is::<VerifyError>() {
        return Some(Exit::BadProof);
    }
    if cause.is::<InterruptedError>() {
        return Some(Exit::Interrupted);
    }
    if cause.is::<ConnectError>() {
        return Some(Exit::GatewayUnreachable);
    }
    if let Some(error) = cause.downcast_ref::<JobError>() {
        return Some(of_job_error(error));
    }
    cause.downcast_ref::<TransferError>().map(of_transfer_error)
}

fn of_job_error(error: &JobError) -> Exit {
    match error {
        // A lost connection does not end an upload, so that what does is the gateway's no, or a file that changed under it.
        JobError::Refused { .. } | JobError::Upload { .. } => Exit::Refused,
        JobError::CancelledInQueue { .. } => Exit::Cancelled,
        JobError::NodeLost { .. } => Exit::NodeLost,
        JobError::GatewayLost { .. } => Exit::GatewayUnreachable,
        JobError::Unproven { .. } | JobError::Mismatch(_) | JobError::WrongOutput { .. } => Exit::BadProof,
        // What a later version of the client may meet is not known to be anyone's fault.
        _ => Exit::Failed,
    }
}

fn of_transfer_error(error: &TransferError) -> Exit {
    match error {
        TransferError::Refused(_) => Exit::Refused,
        TransferError::Blob(BlobError::Mismatch { .. } | BlobError::TooLarge { .. }) => Exit::BadProof,
        TransferError::Io(_) | TransferError::Blob(_) => Exit::Failed,
        _ => Exit::GatewayUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Refusal, TrapKind};
    use anyhow::Context;

    use super::*;

    const JOB: JobId = JobId([7; 16]);

    #[test]
    fn guests_failures_are_told_apart_from_the_networks() {
        let outcomes = [
            (Outcome::Finished { exit_code: 0 }, 0),
            (Outcome::Finished { exit_code: 3 }, 10),
            (Outcome::Trapped(TrapKind::Unreachable), 10),
            (Outcome::OutOfFuel, 11),
            (Outcome::OutOfMemory, 12),
            (Outcome::TimedOut, 13),
            (Outcome::Cancelled, 14),
            (Outcome::OutputTooLarge, 15),
            (Outcome::OutOfGpuTime, 16),
            (Outcome::GpuLost, 17),
        ];
        for (outcome, want) in outcomes {
            assert_eq!(Exit::of_outcome(&outcome).code(), want, "{outcome}");
        }
    }

    #[test]
    fn error_keeps_its_meaning_under_any_context() {
        let refused = JobError::Refused { job: JOB, refusal: Refusal::KeyConflict };
        let lost = JobError::NodeLost { job: JOB, attempts: 2, reason: "gone".into() };
        let broken = JobError::Upload { job: JOB, blob: adit_protocol::Digest([0; 32]), error: "full".into() };
        let rows: [(anyhow::Error, u8); 6] = [
            (refused.into(), 20),
            (lost.into(), 21),
            (ConnectError::Broken("no answer".into()).into(), 22),
            (JobError::WrongOutput { job: JOB }.into(), 23),
            (broken.into(), 20),
            (usage("no such file"), 2),
        ];
        for (error, want) in rows {
            let text = error.to_string();
            let wrapped = Err::<(), _>(error).context("while trying").context("outermost").unwrap_err();
            assert_eq!(Exit::of_error(&wrapped).code(), want, "{text}");
        }
        assert_eq!(Exit::of_error(&anyhow::anyhow!("disk full")).code(), 1);
    }

    #[test]
    fn what_proves_nothing_goes_before_all_else_that_failed() {
        let full = || anyhow::anyhow!("disk full");
        let (bad, left) = (|| ProofError("bad".into()).into(), || InterruptedError("left".into()).into());
        let rows: [(&[anyhow::Error], Option<Exit>); 5] = [
            (&[], None),
            (&[full()], Some(Exit::Failed)),
            (&[full(), bad()], Some(Exit::BadProof)),
            (&[bad(), full()], Some(Exit::BadProof)),
            (&[left(), full()], Some(Exit::Interrupted)),
        ];
        for (errors, want) in rows {
            assert_eq!(Exit::of_errors(errors), want, "{errors:?}");
        }
    }
}
