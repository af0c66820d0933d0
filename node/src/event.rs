use std::time::Duration;

use adit_protocol::{AttemptFailure, GpuOffer, JobId, Microcredits, NodeState, Outcome, PublicKey, Usage};
use adit_runtime::Speed;
use adit_transport::GatewayAddr;

/// Something that the owner may want to see.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NodeEvent {
    /// This machine's speed is known.
    Measured {
        /// That of one slot, while all work.
        speed: Speed,
        /// How many there are.
        slots: u32,
    },
    /// This machine's speed could not be measured. The node works, and gateways learn from its jobs.
    NotMeasured {
        /// Why.
        reason: String,
    },
    /// The gateway takes this node.
    Connected {
        /// The gateway.
        gateway: GatewayAddr,
    },
    /// The gateway is lost, or could not be reached.
    Disconnected {
        /// Why.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// Whether the node takes jobs has changed: its owner said so, or a rule.
    State(NodeState),
    /// A GPU is lent from here on.
    GpuLent {
        /// What one job gets of it.
        offer: GpuOffer,
    },
    /// The GPU that was lent is so no more: its owner took it back, or it was lost.
    GpuNotLent,
    /// The GPU that was to be lent cannot be had. The node works without.
    GpuMissing {
        /// Why.
        reason: String,
    },
    /// The owner's rules were read anew, and hold.
    RulesRead {
        /// In words, one a line; none where everything is allowed.
        rules: Vec<String>,
    },
    /// They were read anew and cannot be kept. Those from before hold on.
    RulesNotRead {
        /// Why.
        reason: String,
    },
    /// A lease arrived.
    JobStarted {
        /// The job.
        job: JobId,
        /// Whose it is.
        client: PublicKey,
    },
    /// A job came to an outcome, and its receipt was sent.
    JobEnded {
        /// The job.
        job: JobId,
        /// The outcome.
        outcome: Outcome,
        /// What it used.
        usage: Usage,
        /// What it earns.
        cost: Microcredits,
    },
    /// A job came to nothing.
    JobFailed {
        /// The job.
        job: JobId,
        /// Why.
        failure: AttemptFailure,
    },
}
