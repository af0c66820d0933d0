use serde::{Deserialize, Serialize};

use crate::{Attempt, BlobRef, Digest, JobId};

/// The first frame of a data stream, from whoever opens it. Raw bytes follow where the variant says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamRequest {
    /// Stores a blob; its bytes follow, then the end of the stream.
    Put(BlobRef),
    /// Asks for a blob.
    Get(Digest),
    /// The output of an attempt, as it is made; its bytes follow, then the end of the stream. Nodes only.
    Output {
        /// The job.
        job: JobId,
        /// The attempt that makes it.
        attempt: Attempt,
    },
    /// Asks for a job's log from `offset` on, following it until the job ends. Clients only.
    Logs {
        /// The job.
        job: JobId,
        /// How many bytes to leave out at the start.
        offset: u64,
    },
}

/// The first frame that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamReply {
    /// The bytes of a `Put` or an `Output` are stored under this name.
    Stored(BlobRef),
    /// The blob's bytes follow.
    Found {
        /// How many.
        bytes: u64,
    },
    /// The log's bytes follow until the job ends.
    Following,
    /// There is no such blob or job.
    NotFound,
    /// It cannot be done, and why.
    Refused(String),
    /// There is no room for it beside what is in use.
    Full {
        /// When to try again.
        retry_after_ms: u64,
    },
}
