use adit_protocol::{Grant, JobId, Microcredits, Payout, PublicKey, Terms, TransferId, UnixMillis, UnpaidAttempt, VoidReason};

use crate::books::BooksError;
use crate::{Appended, Entry, EntryError};

/// Holds that one [`Operation::Expire`] ends: about what a commit has room for beside other work.
pub const EXPIRED_MAX: usize = 1_000;

/// Unpaid attempts that are kept of each node; the oldest go first.
pub const UNPAID_MAX: u64 = 1_000;

/// A change of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// The gateway states its terms.
    State(Terms),
    /// Credits are made for a customer.
    Grant(Grant),
    /// The most that a job can cost is put aside; again with more, where it goes to a node that can cost more.
    Hold(Hold),
    /// A job is paid for, out of its hold; the rest goes back.
    Settle(Box<Entry>),
    /// A job's hold goes back whole.
    Void {
        /// The job.
        job: JobId,
        /// Whose credits are held.
        customer: PublicKey,
        /// Why.
        reason: VoidReason,
        /// When, by the gateway's wall clock.
        time: UnixMillis,
    },
    /// Every hold whose time is over goes back whole, the oldest [`EXPIRED_MAX`] of them.
    Expire {
        /// The gateway's wall clock.
        now: UnixMillis,
    },
    /// Credits of an owner are paid out.
    Payout(Payout),
    /// An attempt that its node is not paid for is noted for the node's owner. It moves nothing, and is no leaf.
    Unpaid {
        /// The node.
        node: PublicKey,
        /// The attempt, and why.
        attempt: Box<UnpaidAttempt>,
    },
}

/// A pending transfer: what a job can cost at most, taken from its customer until it is settled, voided or expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The job.
    pub job: JobId,
    /// Who pays for it.
    pub customer: PublicKey,
    /// How much.
    pub amount: Microcredits,
    /// When it ends by itself, by the gateway's wall clock.
    pub expires: UnixMillis,
}

/// What an operation did. Either way what it asked for is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// A leaf was added to the log.
    Recorded {
        /// Its index.
        index: u64,
    },
    /// It was done before, and had no second effect.
    Before {
        /// The index of the leaf that was added then; nothing for a hold, which is no leaf.
        index: Option<u64>,
    },
    /// The hold is placed.
    Held,
    /// A receipt was recorded, now or before.
    Settled(Appended),
    /// Holds that have ended, each with its leaf.
    Expired(Vec<(JobId, u64)>),
    /// An unpaid attempt is noted.
    Noted,
}

/// An operation that the rules do not allow. It changes nothing, and the others of its batch are applied without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// An entry that cannot be recorded.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A leaf that the books do not allow.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// The order was carried out before, with other contents.
    #[error("order {id} was for something else, at index {index}")]
    OtherOrder {
        /// The order.
        id: TransferId,
        /// Its leaf.
        index: u64,
    },
    /// The customer has less than is to be held.
    #[error("customer {customer} has {available} microcredits available, of which {asked} were to be held")]
    Insufficient {
        /// The customer.
        customer: PublicKey,
        /// What can be held.
        available: i128,
        /// What was to be held.
        asked: u64,
    },
    /// There is a hold for the job, of another customer, or of no less.
    #[error("job {job} has another hold")]
    OtherHold {
        /// The job.
        job: JobId,
    },
    /// There is no hold for the job: it was never placed, or has ended.
    #[error("job {job} has no hold")]
    NoHold {
        /// The job.
        job: JobId,
    },
    /// The job was settled before.
    #[error("job {job} was settled at index {index}")]
    AlreadySettled {
        /// The job.
        job: JobId,
        /// Its leaf.
        index: u64,
    },
    /// Another customer's credits are held for the job.
    #[error("job {job}: its hold is another customer's")]
    ForeignHold {
        /// The job.
        job: JobId,
    },
}
