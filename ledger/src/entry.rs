use adit_protocol::limits::{INLINE_BYTES_MAX, REASON_BYTES_MAX};
use adit_protocol::{Attempt, Digest, JobId, PublicKey, SignedReceipt, UnixMillis, VerifiedReceipt};

/// An attempt that ended on a node, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The node's receipt. Its type says that signature and cost were checked.
    pub receipt: VerifiedReceipt,
    /// When it is settled, by the gateway's wall clock.
    pub settled: UnixMillis,
    /// What a human should know of the outcome beyond its name; empty where there is nothing.
    pub reason: String,
    /// The output, where it is at most [`INLINE_BYTES_MAX`]; else it is a blob under the receipt's digest, kept elsewhere.
    pub output: Option<Vec<u8>>,
    /// Microseconds that the job waited for its node.
    pub queue_us: u64,
    /// The gateway's smoothed round trip to the node, in microseconds.
    pub rtt_us: u64,
}

/// What became of an entry. Either way the job's receipt is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is recorded now.
    New {
        /// The index of its leaf.
        index: u64,
    },
    /// The same receipt was recorded before. A settlement is made from what is stored: its proof may come from another batch of
    /// the node's, and its time is the first one.
    Existing(Box<StoredJob>),
}

/// An entry that cannot be recorded. It changes nothing, and the other entries of its batch are recorded without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The job was settled by another receipt. A job is settled once.
    #[error("job {job}: settled at index {index} by another receipt")]
    Conflict {
        /// The job.
        job: JobId,
        /// Where its receipt is.
        index: u64,
    },
    /// The attempt was paid as one that does not end its job: by another receipt, or it is to end the job now. An attempt is paid once.
    #[error("job {job}: its attempt {attempt} was paid at index {index}, and did not end it")]
    Paid {
        /// The job.
        job: JobId,
        /// Which attempt of it.
        attempt: Attempt,
        /// Where its receipt is.
        index: u64,
    },
    /// The receipt is for another gateway's ledger.
    #[error("job {job}: its receipt is for gateway {gateway}")]
    ForeignGateway {
        /// The job.
        job: JobId,
        /// The gateway that the receipt names.
        gateway: PublicKey,
    },
    /// The output is not the one of which the receipt has the digest.
    #[error("job {job}: the output is not the one in its receipt")]
    Output {
        /// The job.
        job: JobId,
    },
    /// A part of the entry is over its limit.
    #[error("job {job}: a {part} of {bytes} bytes; at most {bytes_max} are recorded")]
    TooLarge {
        /// The job.
        job: JobId,
        /// Which part.
        part: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// A job as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJob {
    /// The index of its leaf.
    pub index: u64,
    /// The node's receipt.
    pub receipt: SignedReceipt,
    /// When it was settled, by the gateway's wall clock.
    pub settled: UnixMillis,
    /// What a human should know of the outcome beyond its name.
    pub reason: String,
    /// The output, where it was recorded with the receipt.
    pub output: Option<Vec<u8>>,
    /// Microseconds that the job waited for its node.
    pub queue_us: u64,
    /// The gateway's smoothed round trip to the node, in microseconds.
    pub rtt_us: u64,
}

impl Entry {
    /// The job.
    pub fn job(&self) -> JobId {
        self.receipt.receipt().job
    }

    /// Which attempt of it.
    pub fn attempt(&self) -> Attempt {
        self.receipt.receipt().attempt
    }

    /// Checks all that can be said without the store.
    pub(crate) fn check(&self, gateway: PublicKey) -> Result<(), EntryError> {
        let job = self.job();
        let receipt = self.receipt.receipt();
        if receipt.gateway != gateway {
            return Err(EntryError::ForeignGateway { job, gateway: receipt.gateway });
        }
        let output = self.output.as_deref().unwrap_or_default();
        let sizes = [("reason", self.reason.len(), REASON_BYTES_MAX), ("output", output.len(), INLINE_BYTES_MAX)];
        if let Some((part, bytes, bytes_max)) = sizes.into_iter().find(|(_, bytes, max)| bytes > max) {
            return Err(EntryError::TooLarge { job, part, bytes, bytes_max });
        }
        if self.output.is_some() && Digest::of(output) != receipt.output {
            return Err(EntryError::Output { job });
        }
        Ok(())
    }
}

impl Appended {
    /// Where the job's receipt is.
    pub fn index(&self) -> u64 {
        match self {
            Self::New { index } => *index,
            Self::Existing(stored) => stored.index,
        }
    }
}
