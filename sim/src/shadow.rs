//! The oracles of the dispatcher: what its page promises, kept beside it by whoever only sees what goes in and what comes out.

use std::collections::{BTreeMap, BTreeSet};

use adit_dispatch::{Action, Config, Dispatcher, Event, GIVEN_BACK_MAX, NodeView, Phase, Request, Tick};
use adit_ledger::Reader;
use adit_protocol::{
    Attempt, AttemptFailure, Decision, Digest, JobId, Microcredits, NodeOffer, NodeState, Prediction, PublicKey, Refusal,
    UnfitReason, Verdict, Wait,
};

use crate::gateway::{STARTED_MARGIN_MS, is_of_start};
use crate::plan::SECOND;
use crate::points::{Point, Points};
use crate::vault::Vault;

/// How much later than its deadline something may be seen by a gateway that never stood still: its clock is a little off from the world's.
const LATE_US: u64 = 10_000;

/// How far a lease's begin and its attempt's are apart at most, in milliseconds: an attempt may wait for a slot, and its message for a path.
const APART_SLACK_MS: u64 = 60_000;

/// Where more wait, what is told of the nodes may be of an earlier moment.
const FEW_WAIT: usize = 32;

/// Jobs that are predicted to take at least this, in microseconds, have nothing behind them at their node.
const SHORT_JOB_US: u64 = 20_000;

/// Leases for each slot that a node with short jobs may hold; and one more for each of clients that have nothing else there.
const LEASES_PER_SLOT: u32 = 5;

/// Jobs that a node was too slow for, and behind which no other one like them is looked at.
const LIKE_LOOKS: usize = 16;

/// Jobs whose attempt was lost that may not have a node, and behind which no other one like them is looked at for it.
const RETRY_LOOKS: usize = 64;

/// What is believed of a node that has shown nothing: its round trip, in microseconds, until that is measured, the most that its claim of a
/// speed counts, its speed without one, its bytes per second, and how long a byte of a module compiles, in thousandths of a microsecond.
const RTT_GUESS_US: u64 = 30_000;
const SPEED_CLAIM_MAX: u64 = 4_000_000_000;
const SPEED_GUESS: u64 = 1_000_000_000;
const BANDWIDTH_GUESS: u64 = 2_500_000;
const COMPILE_MILLI_US_PER_BYTE: u64 = 400;

/// Bytes that a connection sends before the first word comes back.
const SLOW_START_BYTES: u64 = 14_720;

/// The reputation from which on a node counts as one that gets jobs: a little over the bar, as the dispatcher looks at it when its timer
/// comes.
const TRUSTED: u16 = 210;

/// Below this a node is barred: it gets only jobs that no trusted node fits.
const BARRED_BELOW: u16 = 200;

/// Below this it is barred for sure.
const DISTRUSTED: u16 = 190;

/// What the dispatcher was told and has decided, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    config: Config,
    fault: Option<String>,
    /// When the gateway began.
    begun: Tick,
    /// How much later than its deadline something may be seen: a gateway that stood still looks at its clock afterwards.
    late_us: u64,
    jobs: BTreeMap<JobId, Job>,
    nodes: BTreeMap<PublicKey, Node>,
    /// What each node offered that left, was taken back or offers something else now, and since when: it may be back in a moment.
    gone: BTreeMap<PublicKey, (NodeOffer, Tick)>,
    /// The longest compilation of each module that a node told of, in microseconds.
    compiled_us: BTreeMap<Digest, u64>,
    /// Attempts whose job another one has ended, and since when.
    losers: BTreeMap<(JobId, Attempt), (PublicKey, Tick)>,
    /// What must come before the next event.
    due: BTreeSet<Due>,
    touched: BTreeSet<JobId>,
    cause: Cause,
    /// The job that is new in this step.
    newcomer: Option<JobId>,
    /// The window of the node whose attempt ends in this step, before that is known: a start may have been decided just before, when credits came
    /// back, and the window be smaller by what the attempt says.
    window_before: Option<(PublicKey, u32)>,
    /// Whether credits came back since the last attempt that ended.
    has_funded: bool,
    /// What was thought of each node before what is looked at now.
    reputations: BTreeMap<PublicKey, u16>,
    /// Nodes that were barred when last looked at, connected or not.
    barred: BTreeSet<PublicKey>,
    /// Receipts that are as the gateway asked for them: what nodes did, truly told, each with the error of its node's clock.
    true_receipts: BTreeMap<Digest, i64>,
    vault: Vault,
}

/// An action that an event makes necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Stop(JobId, Attempt, PublicKey),
    Abandon(JobId, Attempt, PublicKey),
    End(JobId),
}

/// What the dispatcher is handling.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Cause {
    #[default]
    Other,
    Submitted(JobId),
    Timeout,
}

/// Whether a node may have a job by its reputation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Whole,
    /// Barred, and no trusted node fits.
    ForWantOfBetter,
    None,
    Unclear,
}

/// A job that has not ended.
#[derive(Debug)]
struct Job {
    request: Request,
    /// What was paid for attempts that were cut short.
    spent: u64,
    submitted: Tick,
    leases: Vec<Lease>,
    queued_since: Option<Tick>,
    /// Whether it was told why it waits.
    is_wait_told: bool,
    /// The number of its last attempt, and what that was before the first.
    started: u32,
    before: u32,
    setbacks: u32,
    preemptions: u32,
    failed: BTreeSet<PublicKey>,
    /// Nodes whose owner took the machine back before it began there. They get it again where there is no other, or when they are ready anew.
    given_back: BTreeSet<PublicKey>,
    /// Of the failed, those whose owner may have taken the machine back, or the lease ended: from here both look alike.
    maybe_given_back: BTreeSet<PublicKey>,
    declined: BTreeSet<PublicKey>,
    /// Whether any attempt of it was declined.
    was_declined: bool,
    /// While it waits, what its client could not pay.
    limit: Option<Limit>,
    /// What its client could not pay for a second attempt, and when that was.
    hedge_limit: Option<(Tick, Limit)>,
    /// Since when it had waited before an attempt.
    waited: Option<(Attempt, Tick)>,
    cancelled: Option<Tick>,
    /// Nodes that said that its module runs nowhere.
    called_invalid: u32,
    /// Times that nodes handed it back.
    handed_back: u32,
}

/// An attempt that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    attempt: Attempt,
    node: PublicKey,
    since: Tick,
}

/// The most that a job's client could pay for an attempt of it.
#[derive(Debug, Clone, Copy)]
struct Limit {
    most: u64,
    /// Whether the job allows no more, whatever its client has.
    is_by_job: bool,
    /// Since when it may be more.
    funded: Option<Tick>,
}

#[derive(Debug)]
struct Node {
    offer: NodeOffer,
    state: NodeState,
    /// Since when its owner has it paused, where that was said on this connection.
    paused: Option<Tick>,
    /// The longest round trip that was ever believed of it.
    rtt_max_us: u64,
    /// Whether an attempt of it came to an outcome, and whether any showed how fast it is.
    has_finished: bool,
    has_shown: bool,
    /// What it was given and has not reported.
    owed: BTreeMap<JobId, Attempt>,
    /// Of these, the ones that are predicted to take their slots for long; and some that it owes no more.
    long: BTreeSet<JobId>,
    /// Whose they are; and of some that it owes no more.
    clients: BTreeMap<JobId, PublicKey>,
    /// The most slots that it offered since it owed none.
    slots_held: u32,
    /// Clients that its owner declined, and whether that was with a GPU, which says nothing of jobs without.
    declines: BTreeSet<(PublicKey, bool)>,
}

impl Node {
    /// Whether it owes a report on a job that is predicted to take its slot for long.
    fn is_at_long(&self) -> bool {
        self.long.iter().any(|id| self.owed.contains_key(id))
    }

    /// Whether its owner takes one client at a time, and it owes a report on another one's job.
    fn is_let_to_another(&self, client: &PublicKey) -> bool {
        self.offer.one_tenant && self.owed.keys().any(|id| self.clients.get(id) != Some(client))
    }

    /// The most that it would be predicted to take for a job, were it at nothing else; nothing where it has shown what it can do. A module
    /// that was compiled before took up to `compiled_us`.
    fn needed_most_us(&self, request: &Request, compiled_us: u64) -> Option<u64> {
        if self.has_shown {
            return None;
        }
        let bytes = request.named.iter().fold(request.module.bytes, |sum, blob| sum + blob.bytes);
        let trips = 2 + (bytes / SLOW_START_BYTES).max(1).ilog2();
        let fetch_us = self.rtt_max_us * u64::from(trips) + bytes * SECOND / BANDWIDTH_GUESS;
        let compile_us = compiled_us.max(request.module.bytes * COMPILE_MILLI_US_PER_BYTE / 1_000);
        let speed = match self.offer.fuel_per_second {
            0 => SPEED_GUESS,
            claimed => claimed.min(SPEED_CLAIM_MAX),
        };
        let run_us = request.limits.fuel.0.saturating_mul(SECOND) / speed + request.limits.gpu_ns / 1_000;
        Some(self.rtt_max_us + fetch_us + compile_us + run_us)
    }

    /// Whether its owner declined a job like this one.
    fn has_declined(&self, job: &Job) -> bool {
        let Request { client, gpu, .. } = job.request;
        self.declines.contains(&(client, false)) || gpu.is_some() && self.declines.contains(&(client, true))
    }
}

impl Job {
    /// Whether a node failed it, gave it back or declined it.
    fn had(&self, node: &PublicKey) -> bool {
        [&self.failed, &self.given_back, &self.declined].iter().any(|nodes| nodes.contains(node))
    }

    /// Its lease of an attempt.
    fn lease(&self, attempt: Attempt, node: &PublicKey) -> Option<&Lease> {
        self.leases.iter().find(|lease| (lease.attempt, lease.node) == (attempt, *node))
    }

    /// How long it has until its deadline, where it has one.
    fn left_us(&self, now: Tick) -> Option<u64> {
        let deadline_us = self.request.placement.deadline_ms?.saturating_mul(1_000);
        Some(self.submitted.after(deadline_us).since(now))
    }

    /// Whether it had its turn.
    fn has_started(&self) -> bool {
        self.started > self.before
    }

    /// Whether the most that it can cost on a node with this offer is no more than this.
    fn costs_within(&self, offer: &NodeOffer, most: u64) -> bool {
        offer.price.cost_max(&self.request.limits, self.request.input_bytes()).is_ok_and(|cost| cost.0 <= most)
    }

    /// Whether its client can surely pay a node, as far as the dispatcher knows.
    fn is_payable(&self, offer: &NodeOffer) -> bool {
        self.limit.is_none_or(|limit| self.costs_within(offer, limit.most))
    }

    /// Whether its client may be able to pay a node.
    fn may_be_payable(&self, offer: &NodeOffer) -> bool {
        self.limit.is_none_or(|limit| limit.funded.is_some()) || self.is_payable(offer)
    }

    /// Whether a node's offer has what it asks, at a price that is left of its limit.
    fn fits(&self, offer: &NodeOffer) -> bool {
        let Request { limits, gpu, profile, placement, .. } = &self.request;
        let is_cheap = self.request.max_price.is_none_or(|max| self.costs_within(offer, max.0.saturating_sub(self.spent)));
        let has_labels = placement.labels.iter().all(|label| offer.labels.contains(label));
        let has_gpu = gpu.is_none_or(|need| offer.gpu.as_ref().is_some_and(|offer| offer.fits(&need)));
        let has_memory = offer.memory >= limits.memory;
        offer.slots > 0 && offer.profiles.contains(profile) && has_labels && has_memory && has_gpu && is_cheap
    }
}

impl Shadow {
    /// A new gateway process begins: of the last one's jobs and nodes nothing is known.
    pub(crate) fn begin(&mut self, config: Config, begun: Tick) {
        let (fault, vault, barred) = (self.fault.take(), std::mem::take(&mut self.vault), BTreeSet::new());
        *self = Self { config, begun, late_us: LATE_US, fault, vault, barred, ..Self::default() };
    }

    /// The gateway stood still for so long: from then on it may have been as late.
    pub(crate) fn stood_still(&mut self, us: u64) {
        self.late_us = self.late_us.max(us + LATE_US);
    }

    /// Notes that something is wrong. The first fault stands.
    pub(crate) fn fault(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    pub(crate) fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// Notes what a node hands in of what it did, by a clock that is wrong by so much.
    pub(crate) fn true_receipt(&mut self, receipt: Digest, skew_ms: i64) {
        self.true_receipts.insert(receipt, skew_ms);
    }

    /// Whoever did what was asked is paid, whatever others say; unless the node's clock and the gateway's are more than a day apart.
    pub(crate) fn receipt_checked(&mut self, receipt: &Digest, refused: Option<&String>, wall_off_ms: i64) {
        let Some(skew_ms) = self.true_receipts.get(receipt) else { return };
        let apart_ms = skew_ms.abs_diff(wall_off_ms);
        match refused {
            Some(why) if is_of_start(why) => self.check_that(apart_ms + APART_SLACK_MS > STARTED_MARGIN_MS, || {
                format!("a true receipt was refused, and the two clocks are {apart_ms} ms apart: {why}")
            }),
            Some(why) => self.fault(format!("a true receipt was refused: {why}")),
            None => self.check_that(apart_ms <= STARTED_MARGIN_MS + APART_SLACK_MS, || {
                format!("a receipt was taken, and the two clocks are {apart_ms} ms apart")
            }),
        }
    }

    /// A client has this job, with this price limit.
    pub(crate) fn may_cost(&mut self, job: JobId, max: Option<Microcredits>) {
        self.vault.may_cost(job, max);
    }

    /// A node is told of an attempt, which the ledger is to hold for.
    pub(crate) fn leased(&mut self, id: JobId, node: PublicKey) {
        let (Some(job), Some(node)) = (self.jobs.get(&id), self.nodes.get(&node)) else { return };
        let cost = node.offer.price.cost_max(&job.request.limits, job.request.input_bytes());
        self.vault.leased(id, cost.map_or(u64::MAX, |cost| cost.0));
    }

    fn check_that(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fault(what());
        }
    }

    /// Jobs that the dispatcher should still have.
    pub(crate) fn jobs_left(&self) -> usize {
        self.jobs.len()
    }
}

/// What goes in.
impl Shadow {
    pub(crate) fn timeout(&mut self, _now: Tick, dispatcher: &Dispatcher) {
        self.note_reputations(dispatcher);
        self.cause = Cause::Timeout;
    }

    /// What the dispatcher thinks of each node before it hears what is next.
    fn note_reputations(&mut self, dispatcher: &Dispatcher) {
        self.reputations = dispatcher.nodes().map(|view| (view.node, view.reputation)).collect();
    }

    pub(crate) fn event(&mut self, now: Tick, event: &Event, dispatcher: &Dispatcher, points: &mut Points) {
        // These answer an action, and belong to whatever made that; or come before what frees credits.
        if !matches!(event, Event::Declined { .. } | Event::Funded { .. }) {
            self.note_reputations(dispatcher);
        }
        match event {
            Event::Declined { .. } | Event::Funded { .. } => {}
            Event::Submitted { job, .. } => self.cause = Cause::Submitted(*job),
            _ => (self.cause, self.newcomer) = (Cause::Other, None),
        }
        if !matches!(event, Event::Declined { .. } | Event::Funded { .. }) {
            self.window_before = None;
        }
        match event {
            Event::NodeJoined { node, offer, state, .. } => self.joined(now, *node, offer, state, points),
            Event::NodeLeft { node } => self.left(now, *node, true, points),
            Event::NodeExpelled { node, .. } => self.left(now, *node, false, points),
            Event::NodeOffers { node, offer } => {
                if let Some(known) = self.nodes.get_mut(node) {
                    known.slots_held = known.slots_held.max(offer.slots);
                    let before = std::mem::replace(&mut known.offer, offer.clone());
                    self.gone.insert(*node, (before, now));
                }
            }
            Event::NodeIs { node, state } => self.node_is(now, node, state),
            Event::Submitted { job, request } => self.submitted(now, *job, request),
            Event::Cancelled { job } => self.cancelled(now, *job, points),
            Event::AttemptFinished { node, job, attempt, report } => {
                let has_funded = std::mem::take(&mut self.has_funded);
                self.window_before = dispatcher.node(node).filter(|_| has_funded).map(|view| (*node, view.window));
                self.finished(now, *node, *job, *attempt, report.compile_us, points);
            }
            Event::AttemptPreempted { node, job, attempt, spent, .. } => {
                self.preempted(now, *node, *job, *attempt, spent.0, points);
            }
            Event::AttemptFailed { node, job, attempt, failure } => {
                self.failed(now, *node, *job, *attempt, failure, points);
            }
            Event::Declined { node, job, attempt, affordable, is_all_it_allows } => {
                let limit = Limit { most: affordable.0, is_by_job: *is_all_it_allows, funded: None };
                self.declined(now, *node, *job, *attempt, limit);
            }
            Event::Funded { client } => {
                self.has_funded = true;
                self.funded(now, client);
            }
            Event::NodePath { node, rtt_us, .. } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.rtt_max_us = node.rtt_max_us.max(*rtt_us);
                }
            }
            Event::ReceiptRefused { .. } | Event::ClientWeight { .. } => {}
        }
        self.note_barred(dispatcher, points);
    }

    fn node_is(&mut self, now: Tick, key: &PublicKey, state: &NodeState) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        let before = std::mem::replace(&mut node.state, state.clone());
        let is_paused = |state: &NodeState| matches!(state, NodeState::Paused(_));
        if is_paused(state) != is_paused(&before) {
            node.paused = is_paused(state).then_some(now);
        }
        if before == NodeState::Ready && *state != NodeState::Ready {
            self.gone.insert(*key, (node.offer.clone(), now));
        }
        // What it gave back before, it may have again.
        if *state == NodeState::Ready && before != NodeState::Ready {
            self.may_have_again(key);
        }
    }

    fn may_have_again(&mut self, key: &PublicKey) {
        let waiting = self.jobs.values_mut().filter(|job| job.queued_since.is_some());
        waiting.for_each(|job| _ = job.given_back.remove(key));
    }

    fn joined(&mut self, now: Tick, key: PublicKey, offer: &NodeOffer, state: &NodeState, points: &mut Points) {
        self.left(now, key, true, points);
        self.may_have_again(&key);
        let waits = |job: &Job| job.queued_since.is_some() && job.fits(offer);
        let is_alone = |job: &Job| !self.nodes.values().any(|node| job.fits(&node.offer));
        if self.jobs.values().any(|job| waits(job) && is_alone(job)) {
            points.hit(Point::NodeBackWithinGrace);
        }
        let node = Node {
            offer: offer.clone(),
            state: state.clone(),
            paused: None,
            rtt_max_us: RTT_GUESS_US,
            has_finished: false,
            has_shown: false,
            owed: BTreeMap::new(),
            long: BTreeSet::new(),
            clients: BTreeMap::new(),
            slots_held: 0,
            declines: BTreeSet::new(),
        };
        self.nodes.insert(key, node);
    }

    /// Takes in that a node is gone. Where its connection `broke`, it may have what it had again once.
    fn left(&mut self, now: Tick, key: PublicKey, broke: bool, points: &mut Points) {
        let Some(node) = self.nodes.remove(&key) else { return };
        self.gone.insert(key, (node.offer, now));
        for (id, attempt) in node.owed {
            points.hit(Point::NodeLeftWithWork);
            if self.has_lease(id, attempt, key) {
                self.set_back(now, id, attempt, points);
                if let Some(job) = self.jobs.get_mut(&id).filter(|job| broke && job.setbacks == 1) {
                    job.failed.remove(&key);
                    job.given_back.insert(key);
                }
            } else if self.losers.contains_key(&(id, attempt)) {
                self.due.insert(Due::Abandon(id, attempt, key));
            }
        }
    }

    fn submitted(&mut self, now: Tick, id: JobId, request: &Request) {
        self.touched.insert(id);
        self.newcomer = (!self.jobs.contains_key(&id)).then_some(id);
        self.jobs.entry(id).or_insert(Job {
            request: request.clone(),
            spent: 0,
            before: request.last_attempt,
            submitted: now,
            leases: Vec::new(),
            queued_since: Some(now),
            is_wait_told: false,
            started: request.last_attempt,
            setbacks: 0,
            preemptions: 0,
            failed: BTreeSet::new(),
            given_back: BTreeSet::new(),
            maybe_given_back: BTreeSet::new(),
            declined: BTreeSet::new(),
            was_declined: false,
            limit: None,
            hedge_limit: None,
            waited: None,
            cancelled: None,
            called_invalid: 0,
            handed_back: 0,
        });
    }

    fn cancelled(&mut self, now: Tick, id: JobId, points: &mut Points) {
        self.touched.insert(id);
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.cancelled.is_none()) else { return };
        job.cancelled = Some(now);
        if job.leases.is_empty() {
            points.hit(Point::CancelledInQueue);
            self.due.insert(Due::End(id));
        }
        if job.leases.len() == 2 {
            points.hit(Point::CancelOfHedged);
        }
        self.due.extend(job.leases.iter().map(|lease| Due::Stop(id, lease.attempt, lease.node)));
    }

    fn has_lease(&self, id: JobId, attempt: Attempt, node: PublicKey) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.lease(attempt, &node).is_some())
    }

    /// Takes in that a node reported on an attempt that it was given. Says whether it is a lease still; of one that is none no job changes.
    fn reported(&mut self, node: PublicKey, id: JobId, attempt: Attempt, points: &mut Points) -> bool {
        self.touched.insert(id);
        let is_owed = self.nodes.get(&node).is_some_and(|node| node.owed.get(&id) == Some(&attempt));
        if !is_owed {
            // The gateway lets no such report pass.
            self.fault(format!("the dispatcher was told of attempt {attempt} of job {id} by a node that does not have it"));
            return false;
        }
        if let Some(node) = self.nodes.get_mut(&node) {
            node.owed.remove(&id);
        }
        if self.has_lease(id, attempt, node) {
            return true;
        }
        let is_loser = self.losers.get(&(id, attempt)).is_some_and(|(loser, _)| *loser == node);
        if is_loser {
            self.losers.remove(&(id, attempt));
        }
        points.hit(if is_loser { Point::LoserReported } else { Point::LateReport });
        false
    }

    fn finished(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, compile_us: u64, points: &mut Points) {
        if !self.reported(node, id, attempt, points) {
            return;
        }
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some(node) = self.nodes.get_mut(&node) {
            (node.has_finished, node.has_shown) = (true, true);
        }
        let compiled_us = self.compiled_us.entry(job.request.module.digest).or_default();
        *compiled_us = compile_us.max(*compiled_us);
        if job.called_invalid > 0 {
            points.hit(Point::CalledInvalid);
        }
        points.hit(match job.started - job.before {
            1 => Point::FinishedFirstTry,
            2 => Point::FinishedAfterSetback,
            _ => Point::FinishedOnThird,
        });
        if job.cancelled.is_some() {
            points.hit(Point::CancelledWhileRunning);
        }
        for Lease { attempt: other, node: holder, .. } in job.leases.into_iter().filter(|lease| lease.attempt != attempt) {
            points.hit(if other < attempt { Point::HedgeWonBySecond } else { Point::HedgeWonByFirst });
            self.losers.insert((id, other), (holder, now));
            // Where its client withdrew it, it was stopped before.
            if job.cancelled.is_none() {
                self.due.insert(Due::Stop(id, other, holder));
            }
        }
    }

    fn preempted(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, spent: u64, points: &mut Points) {
        if self.reported(node, id, attempt, points) {
            points.hit(Point::Preempted);
            if let Some(node) = self.nodes.get_mut(&node) {
                node.has_shown = true;
            }
            self.count_preemption(id, points);
            if let Some(job) = self.jobs.get_mut(&id) {
                job.spent += spent;
                job.given_back.insert(node);
            }
            self.cut_short(now, id, attempt, points);
        }
    }

    fn count_preemption(&mut self, id: JobId, points: &mut Points) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.preemptions += 1;
        if job.preemptions == 2 {
            points.hit(Point::PreemptedTwice);
        }
    }

    fn failed(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, failure: &AttemptFailure, points: &mut Points) {
        if !self.reported(node, id, attempt, points) {
            return;
        }
        let is_cancelled = self.jobs[&id].cancelled.is_some();
        match failure {
            AttemptFailure::ModuleInvalid(_) => {
                let job = self.jobs.get_mut(&id).expect("it has a lease");
                job.called_invalid += 1;
                let is_over = job.called_invalid > 1 && job.leases.len() == 1;
                self.set_back(now, id, attempt, points);
                if is_over {
                    self.due.insert(Due::End(id));
                }
            }
            AttemptFailure::BlobMissing(_) => self.fault(format!("a blob of job {id} was taken for missing, and none is")),
            AttemptFailure::Withdrawn if is_cancelled => {
                points.hit(Point::CancelledBeforeStart);
                self.cut_short(now, id, attempt, points);
            }
            AttemptFailure::Withdrawn | AttemptFailure::Node(_) => self.set_back(now, id, attempt, points),
            AttemptFailure::Busy if self.jobs[&id].handed_back < GIVEN_BACK_MAX && self.note_busy(&node) => {
                self.jobs.get_mut(&id).expect("it has a lease").handed_back += 1;
                self.cut_short(now, id, attempt, points);
            }
            AttemptFailure::Preempted(_) | AttemptFailure::GpuAway(_) | AttemptFailure::Busy => {
                self.count_preemption(id, points);
                self.jobs.get_mut(&id).expect("it has a lease").given_back.insert(node);
                self.cut_short(now, id, attempt, points);
            }
            AttemptFailure::Declined(_) => {
                points.hit(Point::DeclinedByOwner);
                let Request { client, gpu, .. } = self.jobs[&id].request;
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.declines.insert((client, gpu.is_some()));
                }
                self.passed_over(now, id, attempt, node);
            }
        }
    }

    /// A node says that what it has takes long, which is so only where all its slots may be taken.
    fn note_busy(&mut self, node: &PublicKey) -> bool {
        let is_full = |node: &&mut Node| node.owed.len() >= node.slots_held.max(1) as usize;
        let Some(node) = self.nodes.get_mut(node).filter(is_full) else { return false };
        node.long.extend(node.owed.keys());
        true
    }

    /// Nobody heard of the attempt. Where it was the only one, the job waits on as before, for a node that its client can pay.
    fn declined(&mut self, now: Tick, key: PublicKey, id: JobId, attempt: Attempt, limit: Limit) {
        self.touched.insert(id);
        let Some(node) = self.nodes.get_mut(&key) else { return };
        node.owed.remove(&id);
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.lease(attempt, &key).is_some()) else { return };
        job.started -= 1;
        if job.leases.len() > 1 {
            job.hedge_limit = Some((now, limit));
            return self.unlease(now, id, attempt);
        }
        let is_cause = !job.costs_within(&node.offer, limit.most);
        job.was_declined = true;
        job.limit = Some(limit);
        let waited = job.waited.filter(|(of, _)| *of == attempt).map(|(_, since)| since);
        let was_told = job.is_wait_told;
        self.unlease(now, id, attempt);
        if let (Some(job), Some(since)) = (self.jobs.get_mut(&id), waited) {
            (job.queued_since, job.is_wait_told) = (Some(since), was_told);
        }
        self.check_that(is_cause, || format!("job {id} was kept from {key}, where its client can pay {}", limit.most));
    }

    fn funded(&mut self, now: Tick, client: &PublicKey) {
        for job in self.jobs.values_mut().filter(|job| job.request.client == *client) {
            let limits = job.limit.iter_mut().chain(job.hedge_limit.as_mut().map(|(_, limit)| limit));
            limits.for_each(|limit| _ = limit.funded.get_or_insert(now));
        }
    }

    /// An attempt on a node whose owner declines it. Where another one is out, that is all that was said of the node.
    fn passed_over(&mut self, now: Tick, id: JobId, attempt: Attempt, node: PublicKey) {
        let job = self.jobs.get_mut(&id).expect("it has a lease");
        job.was_declined = true;
        if job.leases.len() == 1 {
            job.declined.insert(node);
        }
        self.unlease(now, id, attempt);
    }

    /// An attempt that ended through nobody's fault.
    fn cut_short(&mut self, now: Tick, id: JobId, attempt: Attempt, points: &mut Points) {
        self.note_other_goes_on(id, points);
        self.unlease(now, id, attempt);
    }

    /// An attempt that came to nothing.
    fn set_back(&mut self, now: Tick, id: JobId, attempt: Attempt, points: &mut Points) {
        self.note_other_goes_on(id, points);
        let job = self.jobs.get_mut(&id).expect("it has a lease");
        job.setbacks += 1;
        job.failed.extend(job.leases.iter().find(|lease| lease.attempt == attempt).map(|lease| lease.node));
        self.unlease(now, id, attempt);
    }

    fn note_other_goes_on(&mut self, id: JobId, points: &mut Points) {
        if self.jobs[&id].leases.len() == 2 {
            points.hit(Point::HedgeLostOne);
        }
    }

    /// Ends a lease. Where it was the last, the job waits anew; a cancelled one is to end.
    fn unlease(&mut self, now: Tick, id: JobId, attempt: Attempt) {
        self.touched.insert(id);
        let job = self.jobs.get_mut(&id).expect("it has a lease");
        job.leases.retain(|lease| lease.attempt != attempt);
        if job.leases.is_empty() {
            job.queued_since = Some(now);
            job.is_wait_told = false;
            if job.cancelled.is_some() {
                self.due.insert(Due::End(id));
            }
        }
    }

    fn note_barred(&mut self, dispatcher: &Dispatcher, points: &mut Points) {
        let barred: Vec<PublicKey> = self.nodes.keys().copied().collect();
        for key in barred {
            let reputation = dispatcher.node(&key).map_or(u16::MAX, |view| view.reputation);
            if reputation < BARRED_BELOW && self.barred.insert(key) {
                points.hit(Point::NodeBarred);
            }
        }
    }
}

/// What comes out.
impl Shadow {
    pub(crate) fn action(&mut self, now: Tick, action: &Action, dispatcher: &Dispatcher, points: &mut Points) {
        match action {
            Action::Start { job, attempt, node, decision } => {
                self.touched.insert(*job);
                self.check_start(now, *job, *attempt, *node, decision, dispatcher);
                self.note_start(now, *job, *node, decision, dispatcher, points);
                self.start(now, *job, *attempt, *node, decision, points);
            }
            Action::Waits { job, wait } => self.waits(*job, wait, dispatcher, points),
            Action::Stop { job, attempt, node } => self.stop(now, *job, *attempt, *node, points),
            Action::Abandon { job, attempt, node } => self.abandon(now, *job, *attempt, *node, points),
            Action::Refuse { job, refusal } => self.refuse(now, *job, refusal, dispatcher, points),
            Action::CancelledInQueue { job } => {
                let is_cancelled = self.jobs.get(job).is_some_and(|job| job.cancelled.is_some());
                self.check_that(is_cancelled, || format!("job {job} was cancelled, and nobody asked for that"));
                self.end(*job);
            }
            Action::Lost { job, attempts, reason } => self.lost(now, *job, *attempts, reason, dispatcher, points),
        }
    }

    fn check_start(
        &mut self,
        now: Tick,
        id: JobId,
        attempt: Attempt,
        key: PublicKey,
        decision: &Decision,
        dispatcher: &Dispatcher,
    ) {
        let (Some(job), Some(node)) = (self.jobs.get(&id), self.nodes.get(&key)) else {
            return self.fault(format!("job {id} was started, and job or node are not there"));
        };
        let view = dispatcher.node(&key);
        let window_before = self.window_before.filter(|(node, _)| *node == key).map_or(0, |(_, window)| window);
        // Of the starts of one event only the last may be of a long job, and its node has less room by then.
        let mut leases = dispatcher.leases(&key).filter_map(|(job, attempt)| dispatcher.lease_of(job, attempt));
        let is_at_long = node.is_at_long() || leases.any(|lease| is_long(&lease.predicted));
        let most = if is_at_long { node.offer.slots * LEASES_PER_SLOT } else { 0 };
        // At a node clients take turns.
        let is_of_client = |id: &JobId| self.jobs.get(id).is_some_and(|other| other.request.client == job.request.client);
        let is_new = self.cause == Cause::Submitted(id) && job.leases.is_empty();
        let for_first = if !is_new || node.owed.keys().any(is_of_client) { 0 } else { node.offer.slots };
        let most = view.as_ref().map_or(0, |view| view.window.max(window_before).max(most) + for_first);
        let has_room = view.as_ref().is_some_and(|view| view.leases <= most);
        // One that has finished nothing yet is taken for one with long jobs.
        let own_most = node.offer.slots * if node.has_finished { LEASES_PER_SLOT + 1 } else { 1 };
        let is_hedge = decision.is_hedge;
        let (others, deadline_us) = (job.leases.len(), job.request.placement.deadline_ms.map(|ms| ms.saturating_mul(1_000)));
        let is_often = job.preemptions > self.config.preemptions_max;
        let had = job.had(&key) && !job.maybe_given_back.contains(&key);
        let is_soon = job.leases.iter().any(|lease| now < lease.since.after(self.config.hedge_min_us));
        let rows = [
            (attempt.0 == job.started + 1, "its attempts are not numbered one by one"),
            (job.leases.iter().all(|lease| lease.attempt != attempt && lease.node != key), "the lease is out already"),
            (is_hedge == (others == 1), "a second attempt is a hedge, and a hedge is a second attempt"),
            (others <= 1, "two attempts are out already"),
            (others == 0 || job.request.placement.hedge, "nobody asked for a hedge"),
            (!is_soon, "the first attempt had no time yet"),
            (job.cancelled.is_none(), "its client withdrew it"),
            (self.trust(&key, job, dispatcher) != Trust::None, "the node is barred, and a trusted one fits"),
            (!node.owed.contains_key(&id), "the node owes a report on it"),
            (node.state == NodeState::Ready, "the node takes no jobs"),
            (job.fits(&node.offer), "the node does not fit"),
            (job.may_be_payable(&node.offer), "its client cannot pay there"),
            (!job.declined.contains(&key), "the node is not to have it"),
            (has_room, "the node has no room"),
            (node.owed.len() < own_most as usize, "the node has as much as it may"),
            (!node.is_let_to_another(&job.request.client), "its owner takes one client at a time"),
            (node.owed.len() < node.offer.slots as usize || !node.is_at_long(), "it would wait behind a long job"),
            (others > 0 || job.setbacks < self.config.attempts_max, "it had all attempts that it may have"),
            (others > 0 || !is_often || !had || !self.has_fresh_node(job), "owners cut it short as often as they may"),
            (deadline_us.is_none_or(|us| now <= job.submitted.after(us)), "its deadline is over"),
        ];
        if let Some((_, what)) = rows.into_iter().find(|(holds, _)| !holds) {
            self.fault(format!("attempt {attempt} of job {id} was started on {key}: {what}"));
        }
    }

    fn start(&mut self, now: Tick, id: JobId, attempt: Attempt, key: PublicKey, decision: &Decision, points: &mut Points) {
        let client = self.jobs.get(&id).map(|job| job.request.client);
        if let Some(node) = self.nodes.get_mut(&key) {
            if node.owed.is_empty() {
                node.slots_held = node.offer.slots;
            }
            node.clients.retain(|id, _| node.owed.contains_key(id));
            node.clients.extend(client.map(|client| (id, client)));
            node.owed.insert(id, attempt);
            node.long.retain(|long| *long != id && node.owed.contains_key(long));
            let mut chosen = decision.candidates.iter().filter(|candidate| candidate.node == key);
            if chosen.any(|chosen| is_long(&chosen.predicted)) {
                node.long.insert(id);
            }
            if node.owed.len() > node.offer.slots as usize {
                points.hit(Point::StartedOverWindow);
            }
        }
        let offer = self.nodes.get(&key).map(|node| &node.offer);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.waited = job.queued_since.map(|since| (attempt, since));
            job.leases.push(Lease { attempt, node: key, since: now });
            job.queued_since = None;
            job.started += 1;
            if offer.is_some_and(|offer| !job.is_payable(offer)) {
                points.hit(Point::CreditsCameBack);
            }
            job.limit = None;
        }
    }

    fn note_start(
        &mut self,
        now: Tick,
        id: JobId,
        key: PublicKey,
        decision: &Decision,
        dispatcher: &Dispatcher,
        points: &mut Points,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        if decision.is_hedge {
            points.hit(Point::HedgeStarted);
        } else {
            let is_at_once = self.cause == Cause::Submitted(id) && job.submitted == now;
            points.hit(if is_at_once { Point::StartedAtOnce } else { Point::StartedFromQueue });
        }
        let is_passed = |other: &Job| {
            let (theirs, own) = (&other.request, &job.request);
            let is_older = other.submitted < job.submitted && other.queued_since.is_some() && !other.has_started();
            is_older && theirs.client == own.client && theirs.placement.priority < own.placement.priority
        };
        if self.jobs.values().any(is_passed) {
            points.hit(Point::PriorityPassed);
        }
        if job.request.gpu.is_some() {
            points.hit(Point::GpuStarted);
        }
        if dispatcher.node(&key).is_some_and(|view| view.leases > view.window && view.window > view.offer.slots) {
            points.hit(Point::PutFirst);
        }
        if job.preemptions > self.config.preemptions_max {
            points.hit(Point::GivenBackByMany);
        }
        let chosen = decision.candidates.iter().find(|candidate| candidate.verdict == Verdict::Chosen);
        if chosen.is_some_and(|chosen| chosen.predicted.compile_us == 0) {
            points.hit(Point::CachedModuleChosen);
        }
        if self.barred.contains(&key) {
            match dispatcher.node(&key) {
                Some(view) if view.reputation < BARRED_BELOW => points.hit(Point::BarredGotJob),
                _ => {
                    self.barred.remove(&key);
                    points.hit(Point::NodeUnbarred);
                }
            }
        }
    }

    /// Where few wait, what is told of the nodes is of this moment, and each is counted once.
    fn waits(&mut self, id: JobId, wait: &Wait, dispatcher: &Dispatcher, points: &mut Points) {
        let connected = self.nodes.len();
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.queued_since.is_some()) else {
            return self.fault(format!("job {id} is said to wait, and does not"));
        };
        job.is_wait_told = true;
        points.hit(Point::WaitTold);
        if job.has_started() {
            points.hit(Point::WaitedForRetry);
        }
        if job.request.gpu.is_some() && wait.full > 0 {
            points.hit(Point::GpuWaited);
        }
        let counted = wait.unfit.iter().map(|(_, count)| *count as usize).sum::<usize>() + wait.full as usize;
        let is_shared = dispatcher.queued() >= FEW_WAIT || wait.queued as usize >= FEW_WAIT;
        self.check_that(is_shared || counted == connected, || {
            format!("job {id} waits for {counted} nodes, and {connected} are connected: {wait:?}")
        });
    }

    fn stop(&mut self, now: Tick, id: JobId, attempt: Attempt, key: PublicKey, points: &mut Points) {
        let is_owed = self.nodes.get(&key).is_some_and(|node| node.owed.get(&id) == Some(&attempt));
        self.check_that(is_owed, || format!("attempt {attempt} of job {id} was stopped on {key}, which was not at it"));
        if self.due.remove(&Due::Stop(id, attempt, key)) {
            return;
        }
        // Only time takes a lease away from a node that is there: its own, or that of a paused node to hand in what it has.
        let lease = self.jobs.get(&id).and_then(|job| Some((job.lease(attempt, &key)?.since, job.request.limits.wall_ms)));
        let Some((since, wall_ms)) = lease.filter(|_| self.cause == Cause::Timeout) else {
            return self.fault(format!("attempt {attempt} of job {id} was stopped for no reason"));
        };
        let is_expired = now >= since.after(wall_ms.saturating_mul(1_000)).after(self.config.lease_grace_us);
        let paused = self.nodes.get(&key).and_then(|node| node.paused);
        let is_unvacated = paused.is_some_and(|since| now >= since.after(self.config.vacate_grace_us));
        self.check_that(is_expired || is_unvacated, || {
            format!("attempt {attempt} of job {id} was stopped after {} us, before its time", now.since(since))
        });
        points.hit(if is_unvacated { Point::NotVacated } else { Point::LeaseExpired });
        if is_unvacated {
            self.jobs.get_mut(&id).expect("it has a lease").maybe_given_back.insert(key);
        }
        self.set_back(now, id, attempt, points);
        self.note_hedge_limit(now, id);
    }

    /// Takes in that a second attempt that was declined for its price in this step was the only one by then: the first had been taken back, and
    /// only now is that told.
    fn note_hedge_limit(&mut self, now: Tick, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.leases.is_empty()) else { return };
        if let Some((_, limit)) = job.hedge_limit.take_if(|(at, _)| *at == now) {
            job.was_declined = true;
            job.limit = Some(limit);
        }
    }

    fn abandon(&mut self, now: Tick, id: JobId, attempt: Attempt, key: PublicKey, points: &mut Points) {
        points.hit(Point::LoserAbandoned);
        let has_left = self.due.remove(&Due::Abandon(id, attempt, key));
        let Some((_, since)) = self.losers.remove(&(id, attempt)).filter(|(node, _)| *node == key) else {
            return self.fault(format!("attempt {attempt} of job {id} was abandoned, and had not lost"));
        };
        let is_unanswered = self.cause == Cause::Timeout && now >= since.after(self.config.cancel_grace_us);
        self.check_that(has_left || is_unanswered, || {
            format!("attempt {attempt} of job {id} was abandoned after {} us, before its time", now.since(since))
        });
    }

    fn refuse(&mut self, now: Tick, id: JobId, refusal: &Refusal, dispatcher: &Dispatcher, points: &mut Points) {
        let Some(job) = self.jobs.get(&id) else { return self.fault(format!("job {id} was refused and is not known")) };
        let is_new = self.cause == Cause::Submitted(id);
        let others = || self.jobs.iter().filter(|(other, job)| **other != id && job.queued_since.is_some());
        let own = others().filter(|(_, other)| other.request.client == job.request.client).count();
        if job.request.gpu.is_some() && matches!(refusal, Refusal::NoNodeFits { nodes } if is_only_gpu(nodes)) {
            points.hit(Point::GpuRefused);
        }
        let is_full = others().count() >= self.config.queue_max;
        // Who would not have to wait needs no room in the queue.
        let has_to_wait = || self.idle_node_for(now, &id, job, &self.open_nodes(dispatcher), dispatcher).is_none();
        let is_by_job = job.limit.is_some_and(|limit| limit.is_by_job);
        let is_short = |by_job| has_waited(job, now) && self.is_too_dear(job) && is_by_job == by_job;
        let (holds, point) = match refusal {
            Refusal::QueueFull { .. } if is_full => (is_new && has_to_wait(), Point::RefusedQueueFull),
            Refusal::QueueFull { .. } => {
                (is_new && own >= self.config.queue_per_client_max && has_to_wait(), Point::RefusedClientFull)
            }
            Refusal::NoNodeFits { .. } => (self.has_no_node(now, job) || is_short(true), Point::RefusedNoNode),
            Refusal::QueueTimeout { .. } => (has_waited(job, now), Point::QueueTimeout),
            Refusal::InsufficientCredit { .. } => (is_short(false), Point::ShortOfCredits),
            Refusal::DeadlineMissed { left_ms, needed_ms } => {
                let point = if is_new { Point::RefusedDeadline } else { Point::DeadlineInQueue };
                (misses_deadline(job, now, *left_ms, *needed_ms) && !self.could_end(now, &id, job, dispatcher), point)
            }
            Refusal::ModuleInvalid(_) => (self.is_invalid(job), Point::ModuleInvalid),
            _ => (false, Point::RefusedNoNode),
        };
        points.hit(point);
        let is_invalid = matches!(refusal, Refusal::ModuleInvalid(_));
        let holds = holds && (!job.has_started() || is_invalid || job.setbacks + job.preemptions == 0);
        self.check_that(holds, || format!("job {id} was refused without cause: {refusal}"));
        self.end(id);
    }

    fn lost(&mut self, now: Tick, id: JobId, attempts: u32, reason: &str, dispatcher: &Dispatcher, points: &mut Points) {
        let Some(job) = self.jobs.get(&id) else { return self.fault(format!("job {id} was lost and is not known")) };
        let grace_us = self.config.cancel_grace_us;
        let is_unanswered = job.cancelled.is_some_and(|at| now >= at.after(grace_us)) && self.cause == Cause::Timeout;
        let is_often = job.preemptions > self.config.preemptions_max;
        let is_given_back = is_often && (job.preemptions >= GIVEN_BACK_MAX || !self.has_fresh_node(job));
        let is_spent = job.setbacks >= self.config.attempts_max || is_given_back;
        let is_in_vain = match deadline_told(reason) {
            Some((left_ms, needed_ms)) => {
                misses_deadline(job, now, left_ms, needed_ms) && !self.could_end(now, &id, job, dispatcher)
            }
            None => has_waited(job, now) || self.has_no_node(now, job),
        };
        let gives_up = job.has_started() && is_in_vain;
        // What was handed back was none.
        let (is_out, counted) = (!job.leases.is_empty(), job.started - job.handed_back);
        let holds = attempts == counted && (job.cancelled.is_some() || is_spent || gives_up) && (!is_out || is_unanswered);
        points.hit(match () {
            () if is_unanswered => Point::CancelUnanswered,
            () if reason.contains("; then no node fits") => Point::LostThenNoNode,
            () => Point::JobLost,
        });
        self.check_that(holds, || format!("job {id} was lost without cause after {attempts} attempts: {reason}"));
        self.end(id);
    }

    fn end(&mut self, id: JobId) {
        self.touched.insert(id);
        self.due.remove(&Due::End(id));
        let known = self.jobs.remove(&id).is_some();
        self.check_that(known, || format!("job {id} ended a second time"));
    }
}

/// Whether a job is predicted to keep its slot for longer than what may have others behind it.
fn is_long(predicted: &Prediction) -> bool {
    predicted.run_us >= SHORT_JOB_US
}

/// What must hold between events.
impl Shadow {
    pub(crate) fn check(&mut self, now: Tick, dispatcher: &Dispatcher, points: &mut Points) {
        if let Some(due) = self.due.pop_first() {
            self.fault(format!("something did not come: {due:?}"));
            self.due.clear();
        }
        for id in std::mem::take(&mut self.touched) {
            self.check_job(id, dispatcher);
        }
        if let Some(id) = self.newcomer.take() {
            self.check_admitted(id);
        }
        self.check_widely(now, dispatcher, points);
    }

    /// The dispatcher has each job, and at the nodes that it was started on.
    fn check_job(&mut self, id: JobId, dispatcher: &Dispatcher) {
        let Some(job) = self.jobs.get(&id) else {
            let is_gone = dispatcher.phase(id).is_none();
            return self.check_that(is_gone, || format!("job {id} has ended, and the dispatcher has it still"));
        };
        let is_same = match dispatcher.phase(id) {
            None => false,
            Some(Phase::Queued { since }) => job.queued_since == Some(since) && job.leases.is_empty() && job.is_wait_told,
            Some(Phase::Leased) => !job.leases.is_empty() && job.cancelled.is_none(),
            Some(Phase::Stopping) => !job.leases.is_empty() && job.cancelled.is_some(),
        };
        let leases = dispatcher.leases_of(id).iter();
        let leases: Vec<Lease> =
            leases.map(|lease| Lease { attempt: lease.attempt, node: lease.node, since: lease.since }).collect();
        let holds = is_same && leases == job.leases;
        let (phase, own) = (dispatcher.phase(id), format!("{:?} {:?}", job.queued_since, job.leases));
        self.check_that(holds, || format!("accepted job {id} went astray: {phase:?} {leases:?}, and should be {own}"));
    }

    /// All that is dear to look at.
    pub(crate) fn check_widely(&mut self, now: Tick, dispatcher: &Dispatcher, points: &mut Points) {
        for id in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.check_job(id, dispatcher);
        }
        self.check_nodes(dispatcher);
        self.check_bounds(dispatcher, points);
        let is_kept = |view: &NodeView<'_>| view.offer.one_tenant && view.leases > 0 && view.window == view.leases;
        if dispatcher.nodes().any(|view| is_kept(&view) && view.leases < view.offer.slots) {
            points.hit(Point::KeptForAnother);
        }
        self.check_losers(now);
        self.check_waits(now);
        self.check_credit(now, dispatcher);
        if let Some((id, node)) = self.idle_for(now, dispatcher) {
            let ahead = self.ahead_of(id, node, now);
            self.fault(format!("job {id} waits, and node {node} has room for it; older ones of its client: {ahead}"));
        }
    }

    /// Each node is at what it was given, and no attempt is at two. It may have as many as it has slots, or five times that where its jobs
    /// are short; no more than it has where it gets empty for another client's job.
    fn check_nodes(&mut self, dispatcher: &Dispatcher) {
        let mut fault = None;
        for (key, node) in &self.nodes {
            let leases: BTreeMap<JobId, Attempt> = dispatcher.leases(key).collect();
            if leases != node.owed {
                fault = Some(format!("node {key} is taken to be at {leases:?}, and is at {:?}", node.owed));
            }
            let (slots, window) = (node.offer.slots, dispatcher.node(key).map_or(0, |view| view.window));
            let is_short = node.has_finished && !node.is_at_long() && window == slots * LEASES_PER_SLOT;
            let is_kept = || window as usize == node.owed.len() && self.is_for_another(node);
            if window != slots && !is_short && !is_kept() {
                fault = Some(format!("node {key} has {slots} slots, is at {}, and may be at {window}", node.owed.len()));
            }
        }
        if dispatcher.nodes().count() != self.nodes.len() {
            fault = Some("the dispatcher has other nodes than those that joined".to_owned());
        }
        if let Some(fault) = fault {
            self.fault(fault);
        }
    }

    /// The jobs in the clients' lines: those that were admitted to the queue and had no turn. One that was started and declined was never
    /// admitted, and jobs whose attempt was lost stand before their client's others.
    fn lined_up(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(|job| job.queued_since.is_some() && !job.has_started())
    }

    fn check_bounds(&mut self, dispatcher: &Dispatcher, points: &mut Points) {
        let queued = self.jobs.values().filter(|job| job.queued_since.is_some()).count();
        let admitted = self.lined_up().filter(|job| !job.was_declined);
        let mut clients: BTreeMap<PublicKey, usize> = BTreeMap::new();
        admitted.for_each(|job| *clients.entry(job.request.client).or_default() += 1);
        if clients.len() >= 3 {
            points.hit(Point::QueuedForMany);
        }
        let (most, all) = (clients.values().copied().max().unwrap_or(0), clients.values().sum::<usize>());
        let (queue_max, client_max) = (self.config.queue_max, self.config.queue_per_client_max);
        self.check_that(all <= queue_max, || format!("{all} jobs wait where {queue_max} may"));
        self.check_that(most <= client_max, || format!("{most} jobs of one client wait where {client_max} may"));
        let told = dispatcher.queued();
        self.check_that(told == queued, || format!("{told} jobs are said to wait, and {queued} do"));
    }

    /// A job that was taken into the queue found room among all that wait, those counted whose attempt was lost.
    fn check_admitted(&mut self, id: JobId) {
        let is_admitted = |job: &&Job| job.queued_since.is_some() && !job.has_started() && !job.was_declined;
        let Some(job) = self.jobs.get(&id).filter(is_admitted) else { return };
        let waiting = || self.jobs.values().filter(|other| other.queued_since.is_some());
        let (all, own) = (waiting().count(), waiting().filter(|other| other.request.client == job.request.client).count());
        let holds = all <= self.config.queue_max && own <= self.config.queue_per_client_max;
        self.check_that(holds, || format!("job {id} was taken into the queue, and {all} wait, {own} of them of its client"));
    }

    /// Whether a node's owner takes one client at a time, and a job of another than whose it has waits for it.
    fn is_for_another(&self, node: &Node) -> bool {
        let may_wait = |job: &Job| job.queued_since.is_some() && job.fits(&node.offer);
        self.jobs.values().any(|job| may_wait(job) && node.is_let_to_another(&job.request.client))
    }

    fn check_losers(&mut self, now: Tick) {
        let late_us = self.config.cancel_grace_us + self.late_us;
        let late = self.losers.iter().find(|(_, (_, since))| now.since(*since) > late_us);
        if let Some(((id, attempt), _)) = late {
            let what = format!("nothing more was said of attempt {attempt} of job {id}, which lost");
            self.fault(what);
        }
    }

    /// Nothing lasts longer than it may: no wait, no lease, no stop that is not answered.
    fn check_waits(&mut self, now: Tick) {
        let Config { lease_grace_us, cancel_grace_us, .. } = self.config;
        let is_over = |since: Tick, us: u64| now.since(since) > us.saturating_add(self.late_us);
        let overdue = |job: &Job| {
            let limits = &job.request.limits;
            let lease_us = limits.wall_ms.saturating_mul(1_000).saturating_add(lease_grace_us);
            let has_waited = job.queued_since.is_some_and(|since| is_over(since, limits.queue_ms.saturating_mul(1_000)));
            let was_stopped = job.cancelled.is_some_and(|since| is_over(since, cancel_grace_us));
            has_waited || was_stopped || job.leases.iter().any(|lease| is_over(lease.since, lease_us))
        };
        if let Some((id, job)) = self.jobs.iter().find(|(_, job)| overdue(job)) {
            let what = format!("job {id} should have been given up: {job:?}");
            self.fault(what);
        }
    }

    /// A job waits for credits only where its client could not pay, and not for long after there was more.
    fn check_credit(&mut self, now: Tick, dispatcher: &Dispatcher) {
        let is_wrong = |id: &JobId, job: &Job| match (dispatcher.is_short_of_credit(*id), job.limit) {
            (true, Some(limit)) => limit.funded.is_some_and(|at| now.since(at) > SECOND + self.late_us),
            (true, None) => true,
            (false, limit) => limit.is_some_and(|limit| limit.funded.is_none()),
        };
        if let Some((id, job)) = self.jobs.iter().find(|(id, job)| is_wrong(id, job)) {
            let what = format!("job {id} waits for credits without cause, or should and does not: {job:?}");
            self.fault(what);
        }
    }

    /// A node with room and a job that it could have, where there are such. Not where the job stands behind many that have deadlines as it has,
    /// or whose attempt was lost as its was: these may be kept from that node.
    fn idle_for(&self, now: Tick, dispatcher: &Dispatcher) -> Option<(JobId, PublicKey)> {
        let waiting = || self.jobs.iter().filter(|(_, job)| job.queued_since.is_some());
        waiting().next()?;
        let has_deadline = |job: &Job| job.request.placement.deadline_ms.is_some();
        let are_many = |is_like: &dyn Fn(&Job) -> bool, most| waiting().filter(|(_, job)| is_like(job)).count() > most;
        let (many_like, many_lost) = (are_many(&has_deadline, LIKE_LOOKS), are_many(&Job::has_started, RETRY_LOOKS));
        let is_behind = |job: &Job| many_like && has_deadline(job) || many_lost && job.has_started();
        let open = self.open_nodes(dispatcher);
        let mut asked = waiting().filter(|(_, job)| !is_behind(job));
        asked.find_map(|(id, job)| Some((*id, self.idle_node_for(now, id, job, &open, dispatcher)?)))
    }

    /// The nodes with room.
    fn open_nodes(&self, dispatcher: &Dispatcher) -> Vec<(&PublicKey, &Node)> {
        let has_room = |key: &PublicKey| dispatcher.node(key).is_some_and(|view| view.leases < view.window);
        self.nodes.iter().filter(|(key, _)| has_room(key)).collect()
    }

    /// Of the nodes with room, one that a job could have.
    fn idle_node_for(
        &self,
        now: Tick,
        id: &JobId,
        job: &Job,
        open: &[(&PublicKey, &Node)],
        dispatcher: &Dispatcher,
    ) -> Option<PublicKey> {
        let is_let = |node: &Node| node.is_let_to_another(&job.request.client);
        let is_trusted = |key: &PublicKey| matches!(self.trust(key, job, dispatcher), Trust::Whole | Trust::ForWantOfBetter);
        let could_have = |key: &PublicKey, node: &Node| {
            self.may_run(key, node, id, job, dispatcher) && !is_let(node) && self.is_in_time(now, node, job) && is_trusted(key)
        };
        open.iter().find(|(key, node)| could_have(key, node)).map(|(key, _)| **key)
    }

    /// Whether a node takes jobs, fits this one, and nothing is known against it: it did not fail there, was not given back or declined, is not
    /// there still, and its client can pay.
    fn may_run(&self, key: &PublicKey, node: &Node, id: &JobId, job: &Job, dispatcher: &Dispatcher) -> bool {
        let is_ruled_out = job.had(key) || node.owed.contains_key(id) || node.has_declined(job);
        // Of a job that ends now it is not known any more.
        let is_short = || dispatcher.is_short_of_credit(*id) || dispatcher.phase(*id).is_none();
        let is_dear = || !job.is_payable(&node.offer) && is_short();
        node.state == NodeState::Ready && job.fits(&node.offer) && !is_ruled_out && !is_dear()
    }

    /// Whether a node would surely be believed to end a job by its deadline, where that has one.
    fn is_in_time(&self, now: Tick, node: &Node, job: &Job) -> bool {
        let Some(left_us) = job.left_us(now) else { return true };
        let compiled_us = self.compiled_us.get(&job.request.module.digest).copied().unwrap_or(0);
        node.needed_most_us(&job.request, compiled_us).is_some_and(|most_us| most_us <= left_us)
    }

    /// Whether a node, busy or not, would surely be believed to end a job by its deadline.
    fn could_end(&self, now: Tick, id: &JobId, job: &Job, dispatcher: &Dispatcher) -> bool {
        let is_trusted = |key: &PublicKey| self.trust(key, job, dispatcher) == Trust::Whole;
        let could = |key: &PublicKey, node: &Node| {
            self.may_run(key, node, id, job, dispatcher) && is_trusted(key) && self.is_in_time(now, node, job)
        };
        self.nodes.iter().any(|(key, node)| could(key, node))
    }

    /// What stands before a job in its client's line.
    fn ahead_of(&self, id: JobId, key: PublicKey, now: Tick) -> String {
        let job = &self.jobs[&id];
        let is_ahead = |other: &Job| other.request.client == job.request.client && other.submitted <= job.submitted;
        let tell = |(other_id, other): (&JobId, &Job)| {
            let left_ms = other.request.placement.deadline_ms.map(|ms| ms as i64 - (now.since(other.submitted) / 1_000) as i64);
            let is_ruled_out = other.failed.contains(&key) || other.declined.contains(&key);
            let owed = self.nodes.get(&key).is_some_and(|node| node.owed.contains_key(other_id));
            format!("{other_id} (starts {}, deadline in {left_ms:?} ms, ruled out {is_ruled_out}, owed {owed})", other.started)
        };
        let ahead =
            self.jobs.iter().filter(|(other_id, other)| **other_id != id && other.queued_since.is_some() && is_ahead(other));
        ahead.map(tell).collect::<Vec<_>>().join(", ")
    }

    /// Whether a node is trusted with a job. Where its reputation is about at the bar, nobody here can tell.
    fn trust(&self, key: &PublicKey, job: &Job, dispatcher: &Dispatcher) -> Trust {
        let reputation = |key: &PublicKey| dispatcher.node(key).map_or(0, |view| view.reputation);
        if reputation(key) >= TRUSTED {
            return Trust::Whole;
        }
        let had = |other: &PublicKey| job.had(other);
        let is_usable = |node: &Node| node.state == NodeState::Ready && job.fits(&node.offer);
        let others = || self.nodes.iter().filter(|(other, node)| *other != key && is_usable(node)).map(|(other, _)| other);
        let best_of = |may: &dyn Fn(&PublicKey) -> bool| others().filter(|key| may(key)).map(reputation).max().unwrap_or(0);
        // What an owner declined is forgotten after a while, at a moment that nobody here can tell.
        let offer = |other: &PublicKey| &self.nodes[other].offer;
        let sure = best_of(&|other| !had(other) && !self.nodes[other].has_declined(job) && job.is_payable(offer(other)));
        let possible =
            best_of(&|other| (!had(other) || job.maybe_given_back.contains(other)) && job.may_be_payable(offer(other)));
        // Many things may happen at one moment to a gateway that stood still: it may have been trusted as it got the job.
        let was_distrusted = self.reputations.get(key).is_some_and(|before| *before < DISTRUSTED);
        match was_distrusted && reputation(key) < DISTRUSTED {
            true if sure >= TRUSTED => Trust::None,
            true if possible < DISTRUSTED => Trust::ForWantOfBetter,
            _ => Trust::Unclear,
        }
    }

    /// Whether the owner of each node that is there and fits has declined the job's client, or the job itself, be it before the node was away.
    fn is_declined_by_all(&self, job: &Job) -> bool {
        let mut fitting = self.nodes.iter().filter(|(_, node)| node.state == NodeState::Ready && job.fits(&node.offer));
        fitting.all(|(key, node)| node.has_declined(job) || job.declined.contains(key))
    }

    /// Whether enough was said against a job's module: by two nodes, or by one where no other can be asked.
    fn is_invalid(&self, job: &Job) -> bool {
        let is_last = job.setbacks >= self.config.attempts_max || job.cancelled.is_some();
        job.called_invalid > 1 || job.called_invalid == 1 && (is_last || !self.has_fresh_node(job))
    }

    /// Whether a node that is there may surely have a job, and neither failed it, gave it back nor declined it.
    fn has_fresh_node(&self, job: &Job) -> bool {
        let is_usable = |node: &Node| node.state == NodeState::Ready && job.fits(&node.offer) && job.is_payable(&node.offer);
        self.nodes.iter().any(|(key, node)| is_usable(node) && !job.had(key))
    }

    /// Whether a job's client could pay none of the nodes that it fits.
    fn is_too_dear(&self, job: &Job) -> bool {
        let mut usable = self.nodes.values().filter(|node| node.state == NodeState::Ready && job.fits(&node.offer));
        job.limit.is_some() && usable.all(|node| !job.is_payable(&node.offer))
    }

    /// Whether a job may be given up for want of a node: none that is there can have it, and none that could is expected back; or it was
    /// declined as often as it may.
    fn has_no_node(&self, now: Tick, job: &Job) -> bool {
        let is_usable = |node: &Node| node.state == NodeState::Ready && job.fits(&node.offer);
        let count = job.declined.len();
        let is_often = count >= GIVEN_BACK_MAX as usize || !self.has_fresh_node(job);
        let has_none = || self.is_declined_by_all(job) || !self.nodes.values().any(is_usable);
        count > adit_dispatch::DECLINED_MAX && is_often || has_none() && !self.is_awaited(now, job)
    }

    /// Whether a node that fits may still be on its way back: for a while after the start any node may, and after a departure that one.
    fn is_awaited(&self, now: Tick, job: &Job) -> bool {
        let is_recent = |since: Tick| now < since.after(self.config.join_grace_us);
        let is_opening = now < self.begun.after(self.config.opening_grace_us);
        is_opening || self.gone.values().any(|(offer, since)| is_recent(*since) && job.fits(offer))
    }
}

/// What the ledger holds.
impl Shadow {
    /// A client was told that a receipt is stored for good.
    pub(crate) fn promised(&mut self, job: JobId, index: u64, receipt: Digest) {
        if let Err(what) = self.vault.promised(job, index, receipt) {
            self.fault(what);
        }
    }

    /// A batch was committed.
    pub(crate) fn committed(&mut self, reader: &Reader, _now: u64) {
        if let Err(what) = self.vault.check_new(reader) {
            self.fault(what);
        }
    }

    /// The ledger was opened, or the run ends: everything is looked at.
    pub(crate) fn check_ledger(&mut self, reader: &Reader) {
        if let Err(what) = self.vault.check_all(reader) {
            self.fault(what);
        }
    }
}

fn is_only_gpu(nodes: &[(UnfitReason, u32)]) -> bool {
    let is_gpu = |reason: &UnfitReason| {
        use UnfitReason::{Gpu, GpuBuffer, GpuInvocations, GpuMemory, GpuWorkgroupMemory};
        matches!(reason, Gpu | GpuMemory | GpuBuffer | GpuInvocations | GpuWorkgroupMemory)
    };
    !nodes.is_empty() && nodes.iter().all(|(reason, _)| is_gpu(reason))
}

/// Whether a job has waited as long as it allows.
fn has_waited(job: &Job, now: Tick) -> bool {
    job.queued_since.is_some_and(|since| now.since(since) >= job.request.limits.queue_ms.saturating_mul(1_000))
}

/// Whether a job cannot end by its deadline, where it was told that so much is left and so much needed: 0 where no node fits any more.
fn misses_deadline(job: &Job, now: Tick, left_ms: u64, needed_ms: u64) -> bool {
    let Some(left_us) = job.left_us(now) else { return false };
    left_ms == left_us / 1_000 && (left_us == 0 || left_ms < needed_ms)
}

/// What a lost job was told of its deadline: how much is left, and how much it needs, in milliseconds.
fn deadline_told(reason: &str) -> Option<(u64, u64)> {
    let (_, told) = reason.rsplit_once("; then the deadline is ")?;
    let Some((left_ms, rest)) = told.strip_prefix("in ").and_then(|told| told.split_once(" ms, and ")) else {
        return Some((0, 0));
    };
    let needed_ms = rest.strip_prefix("the job would take ").and_then(|rest| rest.split_once(" ms "));
    Some((left_ms.parse().ok()?, needed_ms.map_or(Some(0), |(needed_ms, _)| needed_ms.parse().ok())?))
}
