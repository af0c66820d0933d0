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
    /// The most that a job can cost from now on is put aside; again with more, where it goes to a node that can cost more, or where what
    /// earlier attempts have left is too little for the next. See [`Hold`].
    Hold(Hold),
    /// An attempt that does not end its job is paid for, out of the job's hold; the rest stays held. Each attempt of a job is paid once,
    /// so it takes another number to try again, also where the gateway was started anew meanwhile ([`Reader::attempts`](crate::Reader::attempts)).
    Attempt(Box<Entry>),
    /// A job is paid for, out of its hold; the rest goes back.
    Settle(Box<Entry>),
    /// What is left of a job's hold goes back.
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
    /// Every hold whose time is over goes back, as far as it is left, the oldest [`EXPIRED_MAX`] of them.
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
///
/// A job has one hold at a time. An order for more raises it: by the difference to what is held then, which is less than was ordered once an
/// attempt was paid out of it. The order that was the last one is the same order when it comes again, and has no second effect, until an
/// attempt is paid: after that it is an order to hold so much anew, for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The job.
    pub job: JobId,
    /// Who pays for it.
    pub customer: PublicKey,
    /// How much is held from now on, whatever was paid before.
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
    /// The receipt that ends a job was recorded, now or before.
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
