use std::fmt;
use std::sync::Arc;

use adit_protocol::{Attempt, PublicKey};

use crate::request::Demand;
use crate::timer::{Armed, Tick};
use crate::{Config, Request};

/// Nodes that are too dear for a job's client before it is refused.
pub const DECLINED_MAX: usize = 16;

/// A job that has not ended.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) client: PublicKey,
    pub(crate) demand: Arc<Demand>,
    /// The order of submission; unique.
    pub(crate) seq: u64,
    /// Attempts that were started.
    pub(crate) attempts: u32,
    /// Nodes that lost or failed this job; at most one per attempt.
    pub(crate) failed: Vec<PublicKey>,
    /// Nodes on which its client cannot pay for it; at most [`DECLINED_MAX`].
    pub(crate) declined: Vec<PublicKey>,
    /// The last attempt's end, where there was an attempt and it came to nothing.
    pub(crate) setback: Option<Setback>,
    /// Time in the queue, over all waits that ended.
    pub(crate) waited_us: u64,
    pub(crate) phase: Phase,
    /// A job has one deadline at a time: its phase's.
    pub(crate) armed: Option<Armed>,
    wall_us: u64,
    queue_us: u64,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a node.
    Queued {
        /// Since when.
        since: Tick,
    },
    /// A node has it.
    Leased(Lease),
    /// A node has it and was told to stop it, because its client withdrew it.
    Stopping(Lease),
}

/// A node's hold on an attempt of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub node: PublicKey,
    /// Which try.
    pub attempt: Attempt,
    /// Since when.
    pub since: Tick,
    /// Leases that the node held before this one: what this one may have waited for.
    pub(crate) ahead: u32,
}

/// How an attempt came to nothing.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) node: PublicKey,
    pub(crate) cause: Cause,
}

#[derive(Debug)]
pub(crate) enum Cause {
    /// The node's connection ended.
    Left,
    /// The node said that it could not do its part, and why.
    Failed(String),
    /// The node gave the lease back unasked.
    GaveBack,
    /// The node was told to stop and did not answer.
    Unanswered,
    /// The lease's time was over.
    Expired,
}

impl Job {
    pub(crate) fn new(seq: u64, now: Tick, request: Request) -> Self {
        Self {
            client: request.client,
            seq,
            attempts: 0,
            failed: Vec::new(),
            declined: Vec::new(),
            setback: None,
            waited_us: 0,
            phase: Phase::Queued { since: now },
            armed: None,
            wall_us: request.limits.wall_ms.saturating_mul(1_000),
            queue_us: request.limits.queue_ms.saturating_mul(1_000),
            demand: Arc::new(request.into()),
        }
    }

    /// Whether it had its turn before: such a job queues before all others.
    pub(crate) fn is_retry(&self) -> bool {
        self.attempts > 0
    }

    /// The hold that a node has on it now.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Queued { .. } => None,
            Phase::Leased(lease) | Phase::Stopping(lease) => Some(lease),
        }
    }

    /// Each wait may last as long as the job allows, whatever the waits before took.
    pub(crate) fn queue_deadline(&self, now: Tick) -> Tick {
        now.after(self.queue_us)
    }

    pub(crate) fn lease_deadline(&self, now: Tick, config: &Config) -> Tick {
        now.after(self.wall_us).after(config.lease_grace_us)
    }
}

impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node.to_string();
        let node = &node[..8];
        match &self.cause {
            Cause::Left => write!(f, "node {node} disconnected"),
            Cause::Failed(reason) => write!(f, "node {node} failed: {reason}"),
            Cause::GaveBack => write!(f, "node {node} gave the job back"),
            Cause::Unanswered => write!(f, "node {node} did not confirm the cancellation"),
            Cause::Expired => write!(f, "node {node} did not report within the lease"),
        }
    }
}
