use serde::{Deserialize, Serialize};

use crate::{
    Attempt, ByteCount, Digest, GpuOffer, IdempotencyKey, JobId, JobSpec, MeterId, Microcredits, NodeRecord, Outcome, Price,
    Profile, PublicKey, SignedReceipt, SignedSettlement, Step, TransferId, UnixMillis,
};

/// The first message on a control stream, from whoever dialled: what it wants to be. Everything after it is a [`ClientMessage`] or
/// a [`NodeMessage`] accordingly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one in a connection, and none is kept")]
pub enum Greeting {
    /// A client.
    Client {
        /// Name and version of the client's software, for logs only.
        software: String,
    },
    /// A node.
    Node {
        /// What it offers.
        offer: NodeOffer,
        /// Whether it takes jobs.
        state: NodeState,
        /// Modules that it has compiled, the latest first; at most [`crate::limits::CACHED_MODULES_MAX`].
        cached: Vec<Digest>,
        /// What the gateway's operator gave its owner to join with; at most [`crate::limits::TOKEN_BYTES_MAX`].
        token: Option<String>,
    },
}

/// What a client says on its control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Runs a job, or attaches to the one that this key already names.
    Submit {
        /// Names the job together with the client's key.
        key: IdempotencyKey,
        /// What to run.
        spec: Box<JobSpec>,
        /// The input itself, where it is at most [`crate::limits::INLINE_BYTES_MAX`].
        #[serde(with = "serde_bytes")]
        input: Option<Vec<u8>>,
        /// How much of its deadline is over: how long ago the client submitted it first. Of no meaning for a job without one.
        since_ms: u64,
    },
    /// Asks for the events of a job that this client submitted before.
    Attach {
        /// The job.
        job: JobId,
    },
    /// Withdraws a job.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// Asks something that has one answer.
    Ask {
        /// Chosen by the client, repeated in the answer.
        request: u64,
        /// The question.
        query: Query,
    },
}

/// A question that has one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One job of this client.
    Job(JobId),
    /// This client's newest jobs that are still known.
    Jobs {
        /// At most so many.
        limit: u32,
    },
    /// The nodes that are connected.
    Nodes,
    /// This client's settled receipts, from a ledger index on, oldest first.
    Receipts {
        /// The first ledger index to look at.
        from: u64,
        /// At most so many.
        limit: u32,
    },
    /// What this client's key has.
    Account,
    /// Carries out an order of the gateway's operator.
    Order(Order),
    /// The leaves that concern this client's key, as a customer or as a node, from a ledger index on, oldest first.
    Statement {
        /// The first ledger index to look at.
        from: u64,
        /// At most so many.
        limit: u32,
    },
    /// What is held of this client's credits.
    Holds,
    /// The attempts of this client's key, as a node, that were not paid, from a number on, oldest first.
    Unpaid {
        /// The first number to look at.
        from: u64,
        /// At most so many.
        limit: u32,
    },
    /// The proof that a settled job of this client's, or of this node's, is in the gateway's log.
    Proof(JobId),
    /// The gateway's log: what it last said of it, and where it can be had.
    Log,
    /// Makes a copy of the gateway's ledger, beside it. The client must have the gateway's own key.
    Backup,
    /// The steps of a job of this client's on its way to a node, live or ended not long ago.
    Why(JobId),
    /// What a node was considered for. The client must have the node's key or the gateway's.
    WhyNot(PublicKey),
    /// As `Proof`, of one paid attempt at a job: of the one that settled it, or of one that did not.
    AttemptProof {
        /// The job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// As `Holds`, those behind the last one that was told.
    HoldsAfter {
        /// When that ends.
        expires: UnixMillis,
        /// The job that it is held for.
        job: JobId,
    },
}

/// What a gateway says to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayToClient {
    /// Answers the greeting.
    Welcome {
        /// Name and version of the gateway's software, for logs only.
        software: String,
    },
    /// Answers the greeting: no, and why. The connection ends.
    Rejected(Rejection),
    /// The job is known; its events follow.
    Accepted {
        /// The job.
        job: JobId,
    },
    /// These must be stored before the job can be accepted. Send them and submit again.
    NeedBlobs {
        /// The job.
        job: JobId,
        /// What is missing.
        missing: Vec<Digest>,
    },
    /// Something happened to a job.
    Event {
        /// The job.
        job: JobId,
        /// What happened.
        event: Box<JobEvent>,
    },
    /// Answers `Ask`.
    Answer {
        /// The question's number.
        request: u64,
        /// The answer.
        answer: Answer,
    },
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEvent {
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
    /// It ended. `Settled` follows where it ran; else this is the last event.
    Ended(JobResult),
    /// Its receipt is stored for good. The last event.
    Settled(SignedSettlement),
    /// An attempt that does not end the job was cut short, and is paid for what it did: its node's owner took the machine back, or another
    /// attempt ended first. Its receipt is checked like any other.
    Interim(Box<SignedReceipt>),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobResult {
    /// It ran to an outcome on a node.
    Done {
        /// The node's receipt.
        receipt: Box<SignedReceipt>,
        /// What a human should know of the outcome beyond its name; empty where there is nothing.
        reason: String,
        /// The output, where it is at most [`crate::limits::INLINE_BYTES_MAX`]; else it is a blob under the receipt's digest.
        #[serde(with = "serde_bytes")]
        output: Option<Vec<u8>>,
        /// Microseconds in the queue.
        queue_us: u64,
        /// The gateway's smoothed round trip to the node, in microseconds.
        rtt_us: u64,
    },
    /// It never ran.
    Refused(Refusal),
    /// It was withdrawn before an attempt ended it; those that were cut short are paid.
    CancelledInQueue,
    /// No attempt ended it: nodes were lost, or failed through no fault of the guest, or their owners took them back.
    NodeLost {
        /// How many attempts there were.
        attempts: u32,
        /// What the last of them died of.
        reason: String,
    },
}

/// Why a job was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The queue is full.
    #[error("the queue is full ({queued} jobs); try again in {retry_after_ms} ms")]
    QueueFull {
        /// Jobs in it.
        queued: u32,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// No connected node can run it. Each node is counted under the first thing that rules it out.
    #[error("no node fits: {}", describe_unfit(nodes))]
    NoNodeFits {
        /// Reasons with the number of nodes each rules out; empty where no node is connected.
        nodes: Vec<(UnfitReason, u32)>,
    },
    /// It waited as long as it allowed.
    #[error("no slot became free in {waited_ms} ms; raise --queue-timeout or try again later")]
    QueueTimeout {
        /// How long it waited.
        waited_ms: u64,
    },
    /// A limit of the specification is over what anyone may ask.
    #[error("{0}")]
    SpecTooLarge(String),
    /// The module is not one that runs here.
    #[error("module invalid: {0}")]
    ModuleInvalid(String),
    /// The input is not in the gateway's store any more.
    #[error("input {0} is missing; send it again")]
    InputMissing(Digest),
    /// The idempotency key already names a job with another specification.
    #[error("this key already names another job; choose a new one")]
    KeyConflict,
    /// There is no such job, or it is another client's.
    #[error("no such job; the gateway may have restarted before it settled")]
    UnknownJob,
    /// The gateway cannot promise durability now.
    #[error("the gateway's ledger is not writable: {0}")]
    LedgerUnavailable(String),
    /// The client has less than the job can cost.
    #[error(
        "the job can cost {needed} and the account has {available}; lower --fuel, --memory or --output-max, or ask the gateway's operator for credits"
    )]
    InsufficientCredit {
        /// What the client can spend.
        available: Microcredits,
        /// The most that the job can cost.
        needed: Microcredits,
    },
    /// The client submits faster than one may.
    #[error("too many submissions; try again in {retry_after_ms} ms")]
    RateLimited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The job cannot end by its deadline.
    #[error("{}", describe_missed(*left_ms, *needed_ms))]
    DeadlineMissed {
        /// What is left.
        left_ms: u64,
        /// What it is predicted to take where it would end soonest; 0 where no node can have it in time, or nothing is left.
        needed_ms: u64,
    },
    /// The client has its part of what the gateway keeps for all.
    #[error("{what}; try again in {retry_after_ms} ms")]
    ShareFull {
        /// Which part, and how much of it is taken.
        what: String,
        /// When to try again.
        retry_after_ms: u64,
    },
}

/// What rules a node out for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UnfitReason {
    /// It does not offer the job's profile.
    Profile,
    /// It lacks a label that the job demands.
    Label,
    /// It offers less memory per job.
    Memory,
    /// It offers no slots at all.
    Slots,
    /// It asks more than the job's price limit allows.
    Price,
    /// It already lost or failed this job.
    FailedBefore,
    /// Its owner takes no jobs now.
    NotReady,
    /// Its owner does not take this client's jobs, or this module.
    Declined,
    /// Its work or its claims did not hold too often.
    Reputation,
    /// The job could not end there by its deadline.
    Deadline,
    /// It has no GPU for guests.
    Gpu,
    /// Its GPU gives a job less memory.
    GpuMemory,
    /// The buffers of its GPU are smaller.
    GpuBuffer,
    /// The workgroups of its GPU have fewer invocations.
    GpuInvocations,
    /// The workgroups of its GPU share less memory.
    GpuWorkgroupMemory,
}

fn describe_missed(left_ms: u64, needed_ms: u64) -> String {
    match (left_ms, needed_ms) {
        (0, 0) => "the deadline is over (--deadline)".to_owned(),
        (_, 0) => format!("the deadline is in {left_ms} ms, and no node can have the job before"),
        _ => format!("the deadline is in {left_ms} ms, and the job would take {needed_ms} ms where it could start now"),
    }
}

fn describe_unfit(nodes: &[(UnfitReason, u32)]) -> String {
    if nodes.is_empty() {
        return "no node is connected".to_owned();
    }
    let one = |(reason, n): &(UnfitReason, u32)| {
        let what = match reason {
            UnfitReason::Profile => "without the profile (--profile)",
            UnfitReason::Label => "without a label (--label)",
            UnfitReason::Memory => "with too little memory per job (--memory)",
            UnfitReason::Slots => "with no slots",
            UnfitReason::Price => "over the price limit (--max-price, --fuel, --memory)",
            UnfitReason::FailedBefore => "that failed this job before",
            UnfitReason::NotReady => "whose owner takes no jobs now",
            UnfitReason::Declined => "whose owner declines this client or module",
            UnfitReason::Reputation => "whose work did not hold too often",
            UnfitReason::Deadline => "too slow for the deadline (--deadline)",
            UnfitReason::Gpu => "without a GPU for jobs (--gpu)",
            UnfitReason::GpuMemory => "with too little GPU memory per job (--gpu-memory)",
            UnfitReason::GpuBuffer => "whose largest GPU buffer is too small (--gpu-buffer)",
            UnfitReason::GpuInvocations => "whose GPU has smaller workgroups (--gpu-invocations)",
            UnfitReason::GpuWorkgroupMemory => "whose GPU has less workgroup memory (--gpu-workgroup-memory)",
        };
        format!("{n} {what}")
    };
    nodes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Why a peer is not welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The gateway has as many connections of this kind as it holds.
    #[error("the gateway is full; try again in {retry_after_ms} ms")]
    Full {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// A node's offer makes no sense.
    #[error("the offer was not understood: {0}")]
    BadOffer(String),
    /// The gateway's operator does not let this node join.
    #[error("the gateway's operator does not let this node join: {0}")]
    NotAdmitted(String),
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Job`; nothing where the job is unknown or another client's.
    Job(Option<Box<JobStatus>>),
    /// To `Jobs`, newest first.
    Jobs(Vec<JobStatus>),
    /// To `Nodes`, by key.
    Nodes(Vec<NodeStatus>),
    /// To `Receipts`: each with its ledger index, and where to go on.
    Receipts {
        /// The receipts, oldest first.
        rows: Vec<(u64, SignedReceipt)>,
        /// The index to ask from next; nothing where the end was reached.
        next: Option<u64>,
    },
    /// The question cannot be answered now, and why.
    Unavailable(String),
    /// To `Account`.
    Account(AccountStatus),
    /// To `Order`: the index of its leaf, in the log of this gateway. The same for an order that was carried out before.
    Ordered(u64),
    /// To an `Order` or a `Backup` that is not carried out, and why.
    OrderRefused(String),
    /// To `Statement`: each leaf's canonical bytes with its ledger index, and where to go on.
    Statement {
        /// The leaves, oldest first.
        rows: Vec<(u64, LeafBytes)>,
        /// The index to ask from next; nothing where the end was reached.
        next: Option<u64>,
    },
    /// To `Holds` and `HoldsAfter`, oldest end first. Where there are `ANSWER_ROWS_MAX`, more may be behind the last.
    Holds(Vec<HoldStatus>),
    /// To `Unpaid`: each with its number, and where to go on.
    Unpaid {
        /// The attempts, oldest first.
        rows: Vec<(u64, UnpaidAttempt)>,
        /// The number to ask from next; nothing where the end was reached.
        next: Option<u64>,
    },
    /// To `Proof` and `AttemptProof`; nothing where the job or the attempt is unknown, not paid, or another's.
    Proof(Option<String>),
    /// To `Log`.
    Log(LogStatus),
    /// To `Backup`.
    BackedUp {
        /// Where the copy is, on the gateway's machine.
        path: String,
        /// How many leaves it has.
        leaves: u64,
    },
    /// To `Why`: the job's steps in order, with the gateway's wall clock; empty where nothing is known.
    Why(Vec<(UnixMillis, Step)>),
    /// To `WhyNot`; nothing where the node is not connected, or the client may not know.
    WhyNot(Option<Box<NodeRecord>>),
}

/// A leaf's canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafBytes(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// What is held for a job that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// The job.
    pub job: JobId,
    /// How much: the most that it can cost where it is placed.
    pub amount: Microcredits,
    /// When it is given back at the latest, by the gateway's wall clock.
    pub expires: UnixMillis,
}

/// An attempt that its node was not paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpaidAttempt {
    /// The job.
    pub job: JobId,
    /// Which try.
    pub attempt: Attempt,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
    /// Why, at most [`crate::limits::REASON_BYTES_MAX`].
    pub reason: String,
}

/// A gateway's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Where it is served over HTTP; nothing where it is not.
    pub url: Option<String>,
    /// The last checkpoint, with the witnesses' cosignatures that it has; nothing before the first.
    pub checkpoint: Option<String>,
}

/// What a key has with a gateway.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// As a customer: what can be spent.
    pub available: Microcredits,
    /// As a customer: what is held for jobs that have not ended.
    pub held: Microcredits,
    /// As an owner: what was earned and not paid out.
    pub earned: Microcredits,
}

/// What the operator of a gateway has it do with credits. The client must have the gateway's own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Makes credits for a customer.
    Grant {
        /// Which order this is.
        id: TransferId,
        /// Whose they are to be.
        customer: PublicKey,
        /// How many.
        amount: Microcredits,
    },
    /// Takes credits from an owner, to whom they are paid elsewhere.
    Payout {
        /// Which order this is.
        id: TransferId,
        /// Whose they were.
        owner: PublicKey,
        /// How many.
        amount: Microcredits,
    },
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// Its module.
    pub module: Digest,
    /// When it was accepted, by the gateway's wall clock; 0 where the gateway knows no more of it than its receipt.
    pub submitted: UnixMillis,
    /// Where it stands.
    pub state: JobState,
}

/// Where a job stands, in few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// It waits.
    Queued,
    /// It runs.
    Running {
        /// Where.
        node: PublicKey,
        /// Which try.
        attempt: Attempt,
        /// What the guest said last of units done and units in all.
        progress: Option<(u64, u64)>,
    },
    /// It ran to an outcome.
    Done {
        /// The outcome.
        outcome: Outcome,
        /// What it cost.
        cost: Microcredits,
        /// Where it ran.
        node: PublicKey,
        /// Whether the receipt is stored for good.
        settled: bool,
    },
    /// It ended without an outcome, and why.
    Failed(String),
}

/// A connected node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its key.
    pub node: PublicKey,
    /// What it offers.
    pub offer: NodeOffer,
    /// Whether it takes jobs.
    pub state: NodeState,
    /// Jobs that it runs now.
    pub slots_used: u32,
    /// The gateway's smoothed round trip to it, in microseconds.
    pub rtt_us: u64,
    /// How far round trips lie from that, smoothed, in microseconds.
    pub rtt_spread_us: u64,
    /// Fuel per second of one slot, as seen; 0 until a job showed it.
    pub fuel_per_second: u64,
    /// How far its claims and its work have held, in thousandths.
    pub reputation: u16,
    /// Jobs that it finished in this connection.
    pub jobs_done: u64,
    /// Receipts of its that were refused, since the gateway started.
    pub receipts_refused: u64,
}

/// Whether a node takes jobs.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// It does.
    #[default]
    Ready,
    /// It ends what it has, and takes no more.
    Draining,
    /// It has given back what it had and takes none, and why: at most [`crate::limits::LABEL_BYTES_MAX`].
    Paused(String),
}

/// What a node says on its control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeMessage {
    /// The guest runs.
    Started {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The guest wrote to its log.
    Log {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// What it wrote, at most [`crate::limits::LOG_CHUNK_BYTES_MAX`].
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The guest says how far it is.
    Progress {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Units done.
        done: u64,
        /// Units in all, 0 where the guest does not know.
        total: u64,
    },
    /// The attempt came to an outcome. It ends the job, unless [`Outcome::is_interim`]: then it is paid, and another attempt follows.
    Finished {
        /// What it used; names job and attempt.
        receipt: Box<SignedReceipt>,
        /// What a human should know of the outcome beyond its name; empty where there is nothing.
        reason: String,
        /// The output, where it was at most [`crate::limits::INLINE_BYTES_MAX`]; else it went by an `Output` stream before.
        #[serde(with = "serde_bytes")]
        output: Option<Vec<u8>>,
    },
    /// The attempt came to nothing.
    Failed {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Why.
        failure: AttemptFailure,
    },
    /// What it offers from now on. Price and meter stay those of its greeting, as no lease says under which offer it was given.
    Offer(Box<NodeOffer>),
    /// Whether it takes jobs from now on.
    State(NodeState),
}

/// Why an attempt came to nothing. None of these is billed. That its owner declines a job is not held against a
/// node; nor that the owner takes the machine back, where the node says so by its state or its offer too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AttemptFailure {
    /// The node takes the module for one that runs nowhere: the job ends where a second node says so too, or none is left to ask.
    #[error("module invalid: {0}")]
    ModuleInvalid(String),
    /// The gateway did not have this blob: the job ends, and its client must send it again. Of a blob that is there, it is the node's failure.
    #[error("blob {0} is missing at the gateway")]
    BlobMissing(Digest),
    /// The node could not do its part: another may.
    #[error("the node failed: {0}")]
    Node(String),
    /// The lease was withdrawn before the guest started.
    #[error("withdrawn before it started")]
    Withdrawn,
    /// The owner's rules do not let the node take this client's jobs, or this module: another node may.
    #[error("the node's owner declines it: {0}")]
    Declined(String),
    /// The owner took the machine back before the guest started: another node may run it.
    #[error("the node's owner took the machine back: {0}")]
    Preempted(String),
    /// The node's GPU is not there, or was lost in another job's work: another node may run it, and the job is not to blame.
    #[error("the node's GPU was not there for the job: {0}")]
    GpuAway(String),
    /// It waited for a slot, and those are taken for longer than jobs take behind which any is sent ahead: another node may run it, or this
    /// one later.
    #[error("the node's slots are taken for longer than was thought")]
    Busy,
}

impl AttemptFailure {
    /// Whether the node may have done something that it is not paid for: not where the attempt was withdrawn, declined, taken back or handed
    /// on before it began.
    pub fn may_have_cost(&self) -> bool {
        !matches!(self, Self::Withdrawn | Self::Declined(_) | Self::Preempted(_) | Self::Busy)
    }
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOffer {
    /// Name and version of the node's software, for logs only.
    pub software: String,
    /// Jobs at once.
    pub slots: u32,
    /// Linear memory for each.
    pub memory: ByteCount,
    /// The GPU that its owner lends; nothing where there is none.
    pub gpu: Option<GpuOffer>,
    /// Profiles that its owner allows.
    pub profiles: Vec<Profile>,
    /// What it asks.
    pub price: Price,
    /// What it says of itself, as key and value.
    pub labels: Vec<(String, String)>,
    /// The meter that its receipts are counted by.
    pub meter: MeterId,
    /// Fuel per second of one slot, as the node measured it before it joined; 0 where it did not.
    pub fuel_per_second: u64,
    /// Whether it runs jobs of one client at a time.
    pub one_tenant: bool,
}

/// What a gateway says to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayToNode {
    /// Answers the greeting.
    Welcome {
        /// Name and version of the gateway's software, for logs only.
        software: String,
    },
    /// Answers the greeting: no, and why. The connection ends.
    Rejected(Rejection),
    /// Runs an attempt of a job.
    Lease {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Whose job it is.
        client: PublicKey,
        /// What to run.
        spec: Box<JobSpec>,
        /// The input itself, where it came inline.
        #[serde(with = "serde_bytes")]
        input: Option<Vec<u8>>,
    },
    /// Withdraws an attempt.
    Cancel {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
}
