use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use adit_protocol::{Attempt, Prediction, PublicKey, UnfitReason};

use crate::credit::Credit;
use crate::request::{Ask, Demand};
use crate::timer::{Armed, Tick};
use crate::{Config, Report, Request};

/// Microseconds before a run that a node may have spent on what it was predicted to need no time for: looking into its caches, reading an
/// input from its disk.
const BEFORE_UNPREDICTED_US: u64 = 20_000;

/// How many times as long as it was predicted a fetch or a compilation may have taken.
const BEFORE_TIMES: u64 = 8;

/// The least that a compilation is believed to take which is to be expected: a worker's start, and a module about which nothing is known.
const COMPILE_LEAST_US: u64 = 250_000;

/// How much longer than the attempt a node's clock may have it: as the gateway, which refuses a receipt that claims more.
const CLOCK_SLACK_US: u64 = 60_000_000;

/// What a claim may exceed what is believed of it by, in microseconds, and be taken for an accident: a cold disk, a busy machine.
const BEFORE_SLACK_US: u64 = 100_000;

/// Nodes that decline a job before it is refused, where none is left that did not.
pub const DECLINED_MAX: usize = 16;

/// Times that a job may be given back, handed back or declined while nodes are left that did not: what is held for it is held for so many attempts, each as
/// long as it may be.
pub const GIVEN_BACK_MAX: u32 = 32;

/// A job that has not ended.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) client: PublicKey,
    pub(crate) demand: Arc<Demand>,
    /// Where its client could not pay for it, while it waits. `demand` is for the nodes then that the client can pay.
    pub(crate) limited: Option<Limited>,
    pub(crate) ask: Ask,
    /// The order of submission; unique.
    pub(crate) seq: u64,
    /// The number of the last attempt that was started.
    pub(crate) attempts: u32,
    /// What that was before the first.
    attempts_before: u32,
    /// Of these, the ones that came to nothing.
    pub(crate) setbacks: u32,
    /// Of these, the ones that owners cut short, or that lost their GPU through another's work.
    pub(crate) preemptions: u32,
    /// Nodes that lost or failed this job; at most one per attempt.
    pub(crate) failed: Vec<PublicKey>,
    /// The node whose connection broke at its first attempt.
    pub(crate) left_by: Option<Box<PublicKey>>,
    /// Nodes whose owner took the machine back before it began, whose GPU was away, or whose connection broke at its first attempt; at most one per
    /// attempt. They get it again where no other fits, or once they are there anew.
    pub(crate) given_back: Vec<PublicKey>,
    /// Nodes whose owner declines it, or that its driver keeps from it though its client could pay there, each with which of these it is; at most
    /// [`GIVEN_BACK_MAX`].
    pub(crate) declined: BTreeMap<PublicKey, UnfitReason>,
    /// How often nodes handed it back that had no slot for it.
    pub(crate) handed_back: u32,
    /// Whether a node said that its module runs nowhere.
    pub(crate) is_called_invalid: bool,
    /// The last attempt's end, where there was an attempt and it came to nothing.
    pub(crate) setback: Option<Setback>,
    /// Time in the queue, over all waits that ended.
    pub(crate) waited_us: u64,
    pub(crate) phase: Phase,
    /// The attempts that are out: none while it is queued, two where it is hedged.
    pub(crate) leases: Vec<Lease>,
    /// A job has one deadline at a time, beside those of its leases: its phase's.
    pub(crate) armed: Option<Armed>,
    /// When its result is of no use any more.
    pub(crate) deadline: Option<Tick>,
    /// What its client was charged for its start, where that is not settled yet.
    pub(crate) charged_us: u64,
    /// What kept nodes from having it when its wait began, once that is known.
    pub(crate) shortage: Option<Shortage>,
    wall_us: u64,
    queue_us: u64,
}

/// What a job that its client could not pay is put back to when that has more.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) own: Arc<Demand>,
    /// Its turn among the client's others.
    pub(crate) turn: u64,
    /// Whether it allows no more itself.
    pub(crate) is_by_job: bool,
}

/// Why no node could have a job.
#[derive(Debug, Clone)]
pub(crate) struct Shortage {
    /// How many were ruled out, under the first thing that ruled each out.
    pub(crate) unfit: Vec<(UnfitReason, u32)>,
    /// Those that fit and had no room.
    pub(crate) full: u32,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a node.
    Queued {
        /// Since when.
        since: Tick,
    },
    /// A node has it, or two.
    Leased,
    /// Who has it was told to stop it, because its client withdrew it.
    Stopping,
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
    /// What it was predicted to take.
    pub predicted: Prediction,
    /// Bytes that its node was thought to have to fetch.
    pub(crate) fetched_bytes: u64,
    /// What this one may have waited for.
    pub(crate) ahead: Ahead,
    /// Since when its job had waited; nothing for a second one beside another.
    pub(crate) queued: Option<Tick>,
    /// What its job's client was charged for its start.
    pub(crate) charged_us: u64,
    /// When to take it away.
    pub(crate) armed: Option<Armed>,
}

/// What a node held that came before a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) leases: u32,
    /// What they were predicted to take, in microseconds.
    pub(crate) us: u64,
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
    /// The node gave the lease back unasked, and for no cause that can be seen.
    GaveBack,
    /// The node was told to stop and did not answer.
    Unanswered,
    /// The lease's time was over.
    Expired,
    /// The node's owner took the machine back.
    Preempted,
    /// The node's GPU was not there, or was lost in another's work.
    GpuAway(String),
    /// The node's owner took the machine back, and it did not say what became of the job.
    NotVacated,
}

/// What of a report is believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Believed {
    pub(crate) report: Report,
    /// Whether that is about all of it. A machine may be many times slower than was thought; what is left then shows little.
    pub(crate) is_whole: bool,
    /// Whether the rest can be: it fits into the attempt's time, and something was to be fetched or compiled.
    pub(crate) is_likely: bool,
}

impl Lease {
    /// The most that fetching and compiling are believed to have taken.
    fn before_most_us(&self) -> (u64, u64) {
        let Prediction { fetch_us, compile_us, .. } = self.predicted;
        let least_us = if compile_us > 0 { COMPILE_LEAST_US } else { BEFORE_UNPREDICTED_US };
        let fetch_most_us = fetch_us.saturating_mul(BEFORE_TIMES).max(BEFORE_UNPREDICTED_US);
        (fetch_most_us, compile_us.saturating_mul(BEFORE_TIMES).max(least_us))
    }

    /// The most that may have passed before the attempt would have had its slot, had one been free.
    pub(crate) fn before_us(&self) -> u64 {
        let (fetch_us, compile_us) = self.before_most_us();
        self.predicted.rtt_us.saturating_add(fetch_us).saturating_add(compile_us)
    }

    /// What of a node's report is believed: what came before the run only as far as it was to be expected, for the node alone says how the
    /// time was spent, and one that ran for less of it counts as faster.
    pub(crate) fn believed(&self, report: &Report, elapsed_us: u64) -> Believed {
        let Prediction { fetch_us, compile_us, .. } = self.predicted;
        let (fetch_most_us, compile_most_us) = self.before_most_us();
        let over = |claimed_us: u64, most_us: u64| claimed_us.saturating_sub(most_us);
        let (fetch_over_us, compile_over_us) = (over(report.fetch_us, fetch_most_us), over(report.compile_us, compile_most_us));
        let unpredicted_us = [(fetch_us, fetch_over_us), (compile_us, compile_over_us)];
        let unpredicted_us =
            unpredicted_us.into_iter().filter(|(predicted_us, _)| *predicted_us == 0).map(|(_, over_us)| over_us);
        let claimed_us = report.fetch_us.saturating_add(report.compile_us);
        let slack_us = BEFORE_SLACK_US.max(elapsed_us / 4);
        Believed {
            report: Report {
                fetch_us: report.fetch_us - fetch_over_us,
                compile_us: report.compile_us - compile_over_us,
                ..*report
            },
            is_whole: fetch_over_us.saturating_add(compile_over_us) <= slack_us,
            is_likely: unpredicted_us.fold(0, u64::saturating_add) <= slack_us
                && claimed_us <= elapsed_us.saturating_add(CLOCK_SLACK_US),
        }
    }
}

impl Job {
    pub(crate) fn new(seq: u64, now: Tick, request: &Request) -> Self {
        Self {
            client: request.client,
            demand: Arc::new(Demand::of(request)),
            limited: None,
            ask: Ask::of(request),
            seq,
            attempts: request.last_attempt,
            attempts_before: request.last_attempt,
            setbacks: 0,
            preemptions: 0,
            failed: Vec::new(),
            left_by: None,
            given_back: Vec::new(),
            declined: BTreeMap::new(),
            handed_back: 0,
            is_called_invalid: false,
            setback: None,
            waited_us: 0,
            phase: Phase::Queued { since: now },
            leases: Vec::new(),
            armed: None,
            deadline: request.placement.deadline_ms.map(|ms| now.after(ms.saturating_mul(1_000))),
            charged_us: 0,
            shortage: None,
            wall_us: request.limits.wall_ms.saturating_mul(1_000),
            queue_us: request.limits.queue_ms.saturating_mul(1_000),
        }
    }

    /// Has it demand what its client does, whatever that can pay. It stands in no lane, as that is another one then.
    pub(crate) fn unlimit(&mut self, credit: &mut Credit) {
        if let Some(Limited { own, turn, .. }) = self.limited.take() {
            credit.remove(&self.client, turn);
            self.demand = own;
        }
    }

    /// What it demands of nodes, whatever its client can pay now.
    pub(crate) fn own_demand(&self) -> &Demand {
        self.limited.as_ref().map_or(&self.demand, |limited| &limited.own)
    }

    /// Whether it had its turn before: such a job queues before its client's others.
    pub(crate) fn is_retry(&self) -> bool {
        self.attempts > self.attempts_before
    }

    /// Whether another node is to have it while there is one.
    pub(crate) fn had(&self, node: &PublicKey) -> bool {
        self.failed.contains(node) || self.given_back.contains(node)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.phase == Phase::Stopping
    }

    /// The hold that a node has on an attempt of it now.
    pub(crate) fn lease(&self, attempt: Attempt) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.attempt == attempt)
    }

    /// Each wait may last as long as the job allows, whatever the waits before took; and none beyond its deadline.
    pub(crate) fn queue_deadline(&self, now: Tick) -> Tick {
        let queue = now.after(self.queue_us);
        self.deadline.map_or(queue, |last| queue.min(last.max(now)))
    }

    /// Whether it could not end by its deadline any more.
    pub(crate) fn is_of_no_use(&self, now: Tick) -> bool {
        self.deadline.is_some_and(|last| last <= now)
    }

    pub(crate) fn lease_deadline(&self, now: Tick, config: &Config) -> Tick {
        now.after(self.wall_us).after(config.lease_grace_us)
    }
}

impl Shortage {
    /// Whether any node was too dear.
    pub(crate) fn is_of_price(&self) -> bool {
        self.unfit.iter().any(|(reason, _)| *reason == UnfitReason::Price)
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
            Cause::Preempted => write!(f, "the owner of node {node} took the machine back"),
            Cause::GpuAway(reason) => write!(f, "the GPU of node {node} was not there for the job: {reason}"),
            Cause::NotVacated => write!(f, "the owner of node {node} took the machine back, and it did not report"),
        }
    }
}
