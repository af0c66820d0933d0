use adit_protocol::{ByteCount, Fuel, JobLimits, JobSpec, Microcredits, NodeOffer, Profile, PublicKey, UnfitReason};

/// What decides where and when a job may run: the part of its specification that the dispatcher needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose job it is.
    pub client: PublicKey,
    /// What it may use.
    pub limits: JobLimits,
    /// Which promises its run keeps.
    pub profile: Profile,
    /// Labels that the node must carry.
    pub labels: Vec<(String, String)>,
    /// The most that it may cost.
    pub max_price: Option<Microcredits>,
    /// Bytes of its input, which a node may charge for.
    pub input_bytes: u64,
}

impl Request {
    /// The request that `client` makes with `spec`.
    pub fn new(client: &PublicKey, spec: &JobSpec) -> Self {
        Self {
            client: *client,
            limits: spec.limits,
            profile: spec.profile,
            labels: spec.placement.labels.clone(),
            max_price: spec.max_price,
            input_bytes: spec.input.bytes,
        }
    }
}

/// What a job demands of a node. Jobs with equal demands fit the same nodes, so the queue keeps them in one lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    profile: Profile,
    memory: ByteCount,
    labels: Vec<(String, String)>,
    bid: Option<Bid>,
}

/// A price limit, with what the price depends on. Without a limit none of this matters, and jobs of different sizes share a lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bid {
    max: Microcredits,
    fuel: Fuel,
    output: ByteCount,
    input_bytes: u64,
}

impl From<Request> for Demand {
    fn from(request: Request) -> Self {
        let limits = request.limits;
        let bid = |max| Bid { max, fuel: limits.fuel, output: limits.output, input_bytes: request.input_bytes };
        Self { profile: request.profile, memory: limits.memory, bid: request.max_price.map(bid), labels: request.labels }
    }
}

impl Demand {
    /// The first thing that rules `offer` out. The order is from what the owner can hardly change to what a client can: a node
    /// without slots is of no use to anyone, whereas a price limit is a word.
    pub(crate) fn unfit(&self, offer: &NodeOffer) -> Option<UnfitReason> {
        if offer.slots == 0 {
            Some(UnfitReason::Slots)
        } else if !offer.profiles.contains(&self.profile) {
            Some(UnfitReason::Profile)
        } else if !self.labels.iter().all(|label| offer.labels.contains(label)) {
            Some(UnfitReason::Label)
        } else if offer.memory < self.memory {
            Some(UnfitReason::Memory)
        } else if self.is_too_dear(offer) {
            Some(UnfitReason::Price)
        } else {
            None
        }
    }

    /// A price outside of what a bill can express is over any limit.
    fn is_too_dear(&self, offer: &NodeOffer) -> bool {
        let Some(bid) = &self.bid else { return false };
        let limits = JobLimits { fuel: bid.fuel, memory: self.memory, output: bid.output, ..JobLimits::default() };
        offer.price.cost_max(&limits, bid.input_bytes).map_or(true, |cost| cost > bid.max)
    }
}
