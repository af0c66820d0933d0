//! The states that a set of runs must reach: what Antithesis calls *sometimes* assertions. An oracle that never sees an interesting state
//! proves nothing about it, so a run of many seeds fails if one of these was never reached.

macro_rules! points {
    ($($point:ident = $text:literal,)+) => {
        /// A state that some run must reach.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Point {
            $(#[doc = $text] $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            /// What the state is.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$point => $text,)+
                }
            }
        }
    };
}

points! {
    StartedAtOnce = "a job started as it was submitted",
    StartedFromQueue = "a job waited and then started",
    HandedBack = "a node handed back what waited there for a slot, as none got free",
    PutFirst = "a job was sent to a full node, where it came before another client's that waited",
    KeptForAnother = "a node whose owner takes one client at a time got empty for another's job",
    StartedOverWindow = "a node held more leases than it has slots",
    FinishedFirstTry = "a job finished on its first attempt",
    FinishedAfterSetback = "a job finished after an attempt was lost",
    FinishedOnThird = "a job finished on its third attempt or a later one",
    HedgeStarted = "a second attempt was started beside a first",
    HedgeWonBySecond = "the second of two attempts won",
    HedgeWonByFirst = "the first of two attempts won",
    HedgeLostOne = "one of two attempts came to nothing and the other went on",
    LoserReported = "the losing attempt's report came",
    LoserAbandoned = "the losing attempt's report never came",
    Preempted = "an owner cut an attempt short",
    PreemptedPaid = "an attempt that was cut short was paid",
    LoserPaid = "an attempt that lost was paid",
    TriedAfterPaid = "a job began anew whose attempts were paid in an earlier life of the gateway",
    PreemptedTwice = "owners cut two attempts of one job short",
    PreemptedBeforeStart = "an owner took the machine back before the guest started",
    GaveBackUnasked = "a node that was ready gave back what it was given",
    GivenBackByMany = "a job that was given back more often than it may went to a node that had not",
    NotVacated = "a paused node did not hand in what it had",
    OwnerDrained = "an owner drained a node with work",
    OwnerResumed = "an owner resumed a node",
    NodeLeftWithWork = "a node left with leases",
    NodeReplaced = "a node came back before its old connection was seen to end",
    NodeBackWithinGrace = "a node came back while jobs waited that only it fits",
    NodeExpelled = "a node was expelled",
    NodeBarred = "a node's reputation barred it",
    BarredGotJob = "a barred node got a job that no trusted one fits",
    NodeUnbarred = "a barred node was let back in",
    OfferShrank = "a node offered fewer slots than it held leases",
    ReceiptRefused = "a receipt did not hold",
    StartRefused = "a receipt was refused because two clocks are days apart",
    LateReport = "a report came of an attempt that was taken back",
    StaleReport = "a report came of an attempt that the node never had",
    OldConnectionSpoke = "a message came on a connection that was replaced",
    LeaseExpired = "a lease expired",
    JobLost = "a job was lost after as many attempts as there may be",
    LostThenNoNode = "a job was lost because no node was left for another attempt",
    CancelledInQueue = "a job was cancelled while it waited",
    CancelledWhileRunning = "a job was cancelled while it ran, and its receipt came",
    CancelledBeforeStart = "a cancelled attempt was withdrawn before its guest started",
    CancelUnanswered = "a cancellation was not answered",
    CancelOfHedged = "a job was cancelled while two attempts of it were out",
    CancelOfUnknown = "a cancellation came of a job that is not known",
    RefusedQueueFull = "a job was refused because the queue was full",
    RefusedClientFull = "a job was refused because its client's part of the queue was full",
    RefusedNoNode = "a job was refused because no node fits",
    RefusedDeadline = "a job was refused because its deadline could not be met",
    DeadlineInQueue = "a deadline passed while its job waited",
    QueueTimeout = "a job waited as long as it allowed",
    ModuleInvalid = "a module ran nowhere",
    CalledInvalid = "a node called a module invalid that another one ran",
    DeclinedForPrice = "a node was too dear for a client's purse",
    ShortOfCredits = "a job waited as long as it allowed, and its client could pay none of the nodes",
    CreditsCameBack = "a job that its client could not pay for started when there was more to pay with",
    DeclinedByOwner = "an owner declined a client",
    RefusedPoor = "a job was refused because its client cannot pay",
    SpentEnough = "a job without a price limit was kept from a node by what its attempts had cost",
    TriedWithLess = "a job with a price limit began anew with what was left of it",
    HoldRaised = "a hold was raised for a dearer node",
    SubmittedTwice = "a submission attached to the job that it names",
    KeyConflict = "a key named another job already",
    TriedAgain = "a key whose job never ran was submitted again",
    ReplayedFromLedger = "a settled job was told of from the ledger alone",
    ReplayedAfterCrash = "a job that was settled before a crash was told of after it",
    GatewayCrashed = "the gateway crashed with jobs",
    RestartedWithHolds = "the gateway started with holds of the life before",
    BatchLostInCrash = "a crash took a batch that was being written",
    BatchKeptInCrash = "a batch survived the crash in which it was being written",
    TornDisk = "a crash left part of what was not synced",
    LedgerFailed = "the disk failed while the ledger recorded",
    LargeBatch = "ten operations and more were committed in one batch",
    EmptyHold = "a free job was held and settled",
    Stalled = "the gateway stood still while messages came",
    WallClockJumped = "the gateway's wall clock jumped while a job was held",
    QueuedForMany = "three clients and more had jobs in the queue",
    PriorityPassed = "a job passed an older one of the same client by its priority",
    WaitTold = "why a job waits was told",
    WaitedForRetry = "a job whose attempt was lost waited, and why was told",
    GpuStarted = "a job that needs a GPU was given to a node",
    GpuWaited = "a job waited for a node with a GPU that was busy",
    GpuRefused = "a job was refused because no node had such a GPU",
    GpuTimeOver = "a job ran out of GPU time",
    GpuLost = "a guest lost the GPU",
    GpuSwitchedOff = "an owner switched the GPU off under a guest",
    GpuOffBeforeStart = "a job came to a node whose GPU had just been switched off",
    CachedModuleChosen = "a job went to a node that knows its module",
}

/// How often each point was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Points([u64; Point::ALL.len()]);

impl Default for Points {
    fn default() -> Self {
        Self([0; Point::ALL.len()])
    }
}

impl Points {
    /// Notes that a state was reached.
    pub fn hit(&mut self, point: Point) {
        self.0[point as usize] += 1;
    }

    /// How often it was.
    pub fn count(&self, point: Point) -> u64 {
        self.0[point as usize]
    }

    /// Adds what other runs reached.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    /// Those that were never reached.
    pub fn missed(&self) -> Vec<Point> {
        Point::ALL.iter().copied().filter(|point| self.count(*point) == 0).collect()
    }
}
