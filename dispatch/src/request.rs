use std::cmp::Reverse;

use adit_protocol::{
    BlobRef, ByteCount, Comparison, Fuel, GpuNeed, JobLimits, JobSpec, Microcredits, Placement, Preference, Price, Profile,
    PublicKey, UnfitReason,
};

use crate::class::{Class, Offered};

/// What decides where and when a job may run: the part of its specification that the dispatcher needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose job it is.
    pub client: PublicKey,
    /// What runs.
    pub module: BlobRef,
    /// What it reads from standard input.
    pub input: BlobRef,
    /// Whether that goes along with the lease, so that no node has to fetch it.
    pub is_inline: bool,
    /// Its named inputs, which nodes fetch and keep.
    pub named: Vec<BlobRef>,
    /// What it may use.
    pub limits: JobLimits,
    /// What it needs of a GPU; nothing where it has none.
    pub gpu: Option<GpuNeed>,
    /// Which promises its run keeps.
    pub profile: Profile,
    /// The most that it may cost.
    pub max_price: Option<Microcredits>,
    /// Where it may run, and which node is preferred.
    pub placement: Placement,
    /// The number of its last attempt that was paid before this gateway was started; 0 where there was none. Later ones have higher
    /// numbers.
    pub last_attempt: u32,
}

impl Request {
    /// The request that `client` makes with `spec`.
    pub fn new(client: &PublicKey, spec: &JobSpec, is_inline: bool) -> Self {
        Self {
            client: *client,
            module: spec.module,
            input: spec.input,
            is_inline,
            named: spec.inputs.iter().map(|input| input.blob).collect(),
            limits: spec.limits,
            gpu: spec.gpu,
            profile: spec.profile,
            max_price: spec.max_price,
            placement: spec.placement.clone(),
            last_attempt: 0,
        }
    }

    /// What it is billed as read.
    pub fn input_bytes(&self) -> u64 {
        self.named.iter().fold(self.input.bytes, |sum, blob| sum.saturating_add(blob.bytes))
    }
}

/// What a job demands of a node. Jobs with equal demands fit the same nodes, so the queue keeps them in one lane; those of a higher priority
/// before others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    pub(crate) priority: Reverse<u8>,
    profile: Profile,
    memory: ByteCount,
    /// The part of it that an offer may be too small for.
    gpu: Option<GpuNeed>,
    labels: Vec<(String, String)>,
    bid: Option<Bid>,
    /// No node's offer is held against it. But whether a job can still end in time is asked of each job, and those of which that is asked are
    /// not to stand before those that may run anywhere.
    has_deadline: bool,
}

/// A price limit, with what the price depends on. Without a limit none of this matters, and jobs of different sizes share a lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bid {
    max: Microcredits,
    fuel: Fuel,
    output: ByteCount,
    gpu_ns: u64,
    input_bytes: u64,
}

impl Demand {
    /// Whether it is for nodes with a GPU alone.
    pub(crate) fn needs_gpu(&self) -> bool {
        self.gpu.is_some()
    }

    pub(crate) fn of(request: &Request) -> Self {
        let limits = request.limits;
        let (JobLimits { fuel, output, gpu_ns, .. }, input_bytes) = (limits, request.input_bytes());
        let bid = |max| Bid { max, fuel, output, gpu_ns, input_bytes };
        Self {
            priority: Reverse(request.placement.priority),
            profile: request.profile,
            memory: limits.memory,
            gpu: request.gpu.map(offered_part),
            bid: request.max_price.map(bid),
            labels: request.placement.labels.clone(),
            has_deadline: request.placement.deadline_ms.is_some(),
        }
    }

    /// The first thing that rules a node out. The order is from what the owner can hardly change to what a client can: a node
    /// without slots is of no use to anyone, whereas a price limit is a word. The class is asked for labels and GPU, which few jobs demand.
    pub(crate) fn unfit<'a>(&self, offered: &Offered, class: impl Fn() -> &'a Class) -> Option<UnfitReason> {
        if !offered.has_slots {
            Some(UnfitReason::Slots)
        } else if !offered.profiles.contains(self.profile) {
            Some(UnfitReason::Profile)
        } else if !self.labels.is_empty() && !self.labels.iter().all(|label| class().labels.contains(label)) {
            Some(UnfitReason::Label)
        } else if offered.memory < self.memory {
            Some(UnfitReason::Memory)
        } else if let Some(reason) = self.gpu.and_then(|need| match &class().gpu {
            Some(offer) => offer.unfit(&need),
            None => Some(UnfitReason::Gpu),
        }) {
            Some(reason)
        } else if self.is_too_dear(&offered.price) {
            Some(UnfitReason::Price)
        } else {
            None
        }
    }

    /// Labels that a node must carry.
    pub(crate) fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// The demand of a job on which so much was spent.
    pub(crate) fn after(&self, spent: Microcredits) -> Self {
        let bid = self.bid.clone().map(|bid| Bid { max: Microcredits(bid.max.0.saturating_sub(spent.0)), ..bid });
        Self { bid, ..self.clone() }
    }

    /// The demand of a job with these limits and so much to read whose client can pay no more than this for an attempt.
    pub(crate) fn within(&self, affordable: Microcredits, limits: &JobLimits, input_bytes: u64) -> Self {
        let max = self.bid.as_ref().map_or(affordable, |bid| bid.max.min(affordable));
        let JobLimits { fuel, output, gpu_ns, .. } = *limits;
        Self { bid: Some(Bid { max, fuel, output, gpu_ns, input_bytes }), ..self.clone() }
    }

    /// The most that a job may cost.
    pub(crate) fn most(&self) -> Microcredits {
        self.bid.as_ref().map_or(Microcredits(u64::MAX), |bid| bid.max)
    }

    /// A price outside of what a bill can express is over any limit.
    fn is_too_dear(&self, price: &Price) -> bool {
        let Some(bid) = &self.bid else { return false };
        let limits =
            JobLimits { fuel: bid.fuel, memory: self.memory, output: bid.output, gpu_ns: bid.gpu_ns, ..JobLimits::default() };
        price.cost_max(&limits, bid.input_bytes).map_or(true, |cost| cost > bid.max)
    }
}

/// What of a need an offer is held against. The rest is the job's own limit, whatever the node: jobs that differ in it alone share a lane.
fn offered_part(need: GpuNeed) -> GpuNeed {
    let GpuNeed { memory, buffer, invocations, workgroup_memory, .. } = need;
    let (buffers, pipelines, dispatches, workgroups, comparison) = (0, 0, 0, 0, Comparison::Exact);
    GpuNeed { memory, buffer, buffers, pipelines, dispatches, workgroups, invocations, workgroup_memory, comparison }
}

/// What a job asks of time and money, beside what it demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) module: BlobRef,
    /// The inputs that a node has to fetch where it has not got them.
    pub(crate) fetched: Vec<BlobRef>,
    pub(crate) input_bytes: u64,
    pub(crate) limits: JobLimits,
    pub(crate) profile: Profile,
    pub(crate) prefer: Preference,
    pub(crate) may_hedge: bool,
}

impl Ask {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            module: request.module,
            fetched: (!request.is_inline).then_some(request.input).into_iter().chain(request.named.iter().copied()).collect(),
            input_bytes: request.input_bytes(),
            limits: request.limits,
            profile: request.profile,
            prefer: request.placement.prefer,
            may_hedge: request.placement.hedge,
        }
    }
}
