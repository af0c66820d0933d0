use std::sync::Arc;

use adit_protocol::{
    Attempt, AttemptFailure, Decision, Digest, JobId, Microcredits, NodeOffer, NodeState, PublicKey, Refusal, Usage, Wait,
};

use crate::Request;

/// What happened. Every input of the dispatcher is one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node connected. Where the key is connected already, this connection replaces the other one, whose leases are lost.
    NodeJoined {
        /// Its key.
        node: PublicKey,
        /// What it offers.
        offer: NodeOffer,
        /// Whether it takes jobs.
        state: NodeState,
        /// Modules that it says it knows, the latest first.
        cached: Vec<Digest>,
    },
    /// A node's connection ended. Not for a connection that a later one of the same key replaced.
    NodeLeft {
        /// Its key.
        node: PublicKey,
    },
    /// A node broke the protocol, and its connection is ended for it. Its jobs go elsewhere, and what it did is why.
    NodeExpelled {
        /// Its key.
        node: PublicKey,
        /// What it did.
        fault: String,
    },
    /// The path to a node was measured.
    NodePath {
        /// Its key.
        node: PublicKey,
        /// The smoothed round trip, in microseconds.
        rtt_us: u64,
        /// How far round trips lie from that, smoothed, in microseconds.
        spread_us: u64,
    },
    /// A node offers something else from now on. What it has is not touched.
    NodeOffers {
        /// Its key.
        node: PublicKey,
        /// What it offers.
        offer: NodeOffer,
    },
    /// A node's owner changed whether it takes jobs.
    NodeIs {
        /// Its key.
        node: PublicKey,
        /// Whether it does.
        state: NodeState,
    },
    /// How much a client's jobs count against others' where many wait: the parts of the whole that it gets. 1 for who was never named.
    ClientWeight {
        /// The client.
        client: PublicKey,
        /// Its weight; 0 is taken as 1.
        weight: u32,
    },
    /// A client wants a job run. Ignored where the job is already known: attaching to it is the driver's matter.
    Submitted {
        /// The job.
        job: JobId,
        /// What decides where it may run.
        request: Box<Request>,
    },
    /// The client withdraws a job. Ignored where the job is not known.
    Cancelled {
        /// The job.
        job: JobId,
    },
    /// A node reported an outcome. Hand in every report, also one that [`Dispatcher::lease`](crate::Dispatcher::lease) says no
    /// longer counts: it ends no job, but it frees the node's slot.
    AttemptFinished {
        /// Who reported.
        node: PublicKey,
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// What it took.
        report: Report,
    },
    /// A node reported that its owner cut an attempt short. As with `AttemptFinished`, hand in every one: the job goes elsewhere.
    AttemptPreempted {
        /// Who reported.
        node: PublicKey,
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// What the attempt cost, which counts against the job's price limit from now on.
        spent: Microcredits,
        /// What it took until it was cut short.
        report: Report,
    },
    /// A node reported that an attempt came to nothing. As with `AttemptFinished`, hand in every one.
    AttemptFailed {
        /// Who reported.
        node: PublicKey,
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Why.
        failure: AttemptFailure,
    },
    /// A node's receipt does not hold. Hand in besides what becomes of the attempt.
    ReceiptRefused {
        /// Whose it is.
        node: PublicKey,
    },
    /// The driver does not let the node have the attempt that it was told to start, because the job's client cannot pay there, or the job does not
    /// allow it. The node
    /// never heard of it, so it is no attempt, and the job goes elsewhere. Where no other attempt of it is out, it is kept from all nodes that
    /// its client cannot pay, until [`Event::Funded`].
    Declined {
        /// The node.
        node: PublicKey,
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// The most that an attempt of the job may cost now.
        affordable: Microcredits,
        /// Whether that is all that the job allows, after what its attempts have cost, whatever its client has.
        is_all_it_allows: bool,
    },
    /// A client has more to pay with than before: it was granted credits, or what was reserved for a job of it is free again.
    Funded {
        /// The client.
        client: PublicKey,
    },
}

/// What an attempt took, by its receipt.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What the guest used.
    pub usage: Usage,
    /// Microseconds until module and input were there, as the node says.
    pub fetch_us: u64,
    /// Microseconds of compilation, as the node says.
    pub compile_us: u64,
}

/// What the driver is to do. `Refuse`, `CancelledInQueue` and `Lost` each end a job, and so does an accepted
/// [`Event::AttemptFinished`]; every submitted job ends in exactly one of these four ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send the node a lease.
    Start {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Where.
        node: PublicKey,
        /// Why there.
        decision: Arc<Decision>,
    },
    /// The job waits from here on, for this: to be remembered for who asks. Its wait ends by another action.
    Waits {
        /// The job.
        job: JobId,
        /// What kept each node from having it.
        wait: Box<Wait>,
    },
    /// Tell the node to stop the attempt. Where the attempt's job has ended by another attempt, the node is paid for what it did: its
    /// report comes, or [`Action::Abandon`].
    Stop {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Where.
        node: PublicKey,
    },
    /// The report of an attempt whose job has ended by another one will not come.
    Abandon {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Where.
        node: PublicKey,
    },
    /// The job ended without having run.
    Refuse {
        /// The job.
        job: JobId,
        /// Why.
        refusal: Refusal,
    },
    /// The job was withdrawn before its guest started.
    CancelledInQueue {
        /// The job.
        job: JobId,
    },
    /// The job ended because its attempts came to nothing, through no fault of the guest that anyone can show.
    Lost {
        /// The job.
        job: JobId,
        /// How many attempts there were.
        attempts: u32,
        /// What the last of them died of, and why there is no further one.
        reason: String,
    },
}
