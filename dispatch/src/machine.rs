use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use adit_protocol::{
    Attempt, AttemptFailure, Candidate, Decision, Digest, JobId, JobLimits, Microcredits, NodeOffer, NodeState, Price, Profile,
    PublicKey, Refusal, UnfitReason, Wait,
};

use crate::class::{Class, Members};
use crate::credit::{Credit, TRY_PAUSE_US};
use crate::grace::Grace;
use crate::history::{Histories, Short};
use crate::job::{Cause, DECLINED_MAX, GIVEN_BACK_MAX, Job, Limited, Setback, Shortage};
use crate::node::{Node, NodeView, Nodes, Slot};
use crate::queue::Queue;
use crate::reputation::Deed;
use crate::request::Demand;
use crate::search::{Found, Search, fetched_bytes, mix};
use crate::timer::{Armed, Timer, Timers};
use crate::{Action, Config, Event, Lease, Phase, Report, Request, Tick};

/// Decisions that are remembered for [`Dispatcher::passed`], the latest ones: some 2 KiB each.
const DECISIONS_MAX: usize = 1_024;

/// How long a node may take to say that it has no slot for an attempt, in microseconds, beyond all that may have come before. It knows within
/// a second.
const BUSY_GRACE_US: u64 = 10_000_000;

/// Where so many jobs wait, a new one of a client whose like waits already is not tried on any node: it would not fit either.
const CROWD: usize = 64;

/// Nodes that get empty for one job at once: the first of them may have a job of hours.
const KEPT_MAX: usize = 4;

/// Nodes that are asked, busy or not, whether a job that waits could still end by its deadline. Where more are connected, what is sure is only
/// how long the fastest of all takes to run it.
const DEADLINE_LOOKS: usize = 256;

/// Nodes and classes of them that are looked at in vain for a client's waiting jobs, when one more owner has declined it, before those with another
/// demand are left for the next time: under a millisecond. In a network of a few nodes, all jobs that a client may have waiting are asked about,
/// each with a demand of its own.
const DECLINED_LOOKS: usize = 32_768;

/// Decides which job runs where. See the [crate's page](crate) for what it promises and costs.
///
/// A driver calls [`handle`](Self::handle) or [`handle_timeout`](Self::handle_timeout), then drains
/// [`poll_action`](Self::poll_action), then arms its clock by [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Dispatcher {
    config: Config,
    /// The latest time that was handed in.
    now: Tick,
    nodes: Nodes,
    grace: Grace,
    /// The jobs that have not ended.
    jobs: BTreeMap<JobId, Box<Job>>,
    jobs_submitted: u64,
    histories: Histories,
    queue: Queue,
    credit: Credit,
    /// Attempts whose job another one has ended, until their nodes report.
    losers: BTreeMap<(JobId, Attempt), Loser>,
    decisions: VecDeque<Recent>,
    /// Nodes whose owners took the machine back a moment ago.
    vacating: BTreeMap<PublicKey, Armed>,
    /// Clients of whose waiting jobs some are left to ask about, as owners declined such, each with where they begin among them.
    unasked: BTreeMap<PublicKey, usize>,
    /// Nodes that gave work back a moment ago, and of whose owners nothing was heard that explains it.
    unexplained: BTreeMap<PublicKey, Armed>,
    /// Jobs for which nodes are to get empty that have another client's, as their owners take one at a time.
    kept: BTreeMap<JobId, Vec<PublicKey>>,
    /// Nodes for which that is over.
    unkept: Vec<PublicKey>,
    timers: Timers,
    /// Jobs whose wait began in the event that is being handled, with what was found in a search for a node.
    waiting: Vec<(JobId, Found)>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Loser {
    node: PublicKey,
    armed: Armed,
    /// Whose job it was, for what it takes of the slots' time.
    client: PublicKey,
    profile: Profile,
    lease: Lease,
}

/// What an attempt may cost.
#[derive(Debug, Clone, Copy)]
struct Most {
    cost: Microcredits,
    /// Whether its job allows no more, whatever its client has.
    is_by_job: bool,
}

#[derive(Debug)]
struct Recent {
    at: Tick,
    job: JobId,
    decision: Arc<Decision>,
}

impl Dispatcher {
    /// A dispatcher without nodes and jobs.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Tick::default(),
            nodes: Nodes::default(),
            grace: Grace::default(),
            jobs: BTreeMap::new(),
            jobs_submitted: 0,
            histories: Histories::default(),
            queue: Queue::default(),
            credit: Credit::default(),
            losers: BTreeMap::new(),
            decisions: VecDeque::new(),
            vacating: BTreeMap::new(),
            unasked: BTreeMap::new(),
            unexplained: BTreeMap::new(),
            kept: BTreeMap::new(),
            unkept: Vec::new(),
            timers: Timers::default(),
            waiting: Vec::new(),
            actions: VecDeque::new(),
        }
    }

    /// Begins the time in which nodes of an earlier gateway process may come back, where nothing has happened yet that begins it.
    pub fn open(&mut self, now: Tick) {
        self.now = now;
        if self.grace.open() {
            self.timers.arm(now.after(self.config.opening_grace_us), Timer::Opening);
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Tick, event: Event) {
        self.open(now);
        match event {
            Event::NodeJoined { node, offer, state, cached } => self.node_joined(now, node, offer, state, &cached),
            Event::NodeLeft { node } => self.node_left(now, node, Deed::LeftWork, || Cause::Left),
            Event::NodeExpelled { node, fault } => {
                self.node_left(now, node, Deed::Expelled, || Cause::Failed(fault.clone()));
            }
            Event::NodePath { node, rtt_us, spread_us } => self.nodes.set_path(now, &node, rtt_us, spread_us),
            Event::NodeOffers { node, offer } => self.node_offers(now, node, offer),
            Event::NodeIs { node, state } => self.node_is(now, node, state),
            Event::ClientWeight { client, weight } => self.queue.set_weight(client, weight),
            Event::Submitted { job, request } => self.submitted(now, job, &request),
            Event::Cancelled { job } => self.cancelled(now, job),
            Event::AttemptFinished { node, job, attempt, report } => self.finished(now, node, job, attempt, &report),
            Event::AttemptPreempted { node, job, attempt, spent, report } => {
                self.preempted(now, node, job, attempt, spent, &report);
            }
            Event::AttemptFailed { node, job, attempt, failure } => self.failed(now, node, job, attempt, failure),
            Event::ReceiptRefused { node } => self.note(now, &node, Deed::BadReceipt),
            Event::Declined { node, job, attempt, affordable, is_all_it_allows } => {
                self.declined(now, node, job, attempt, Most { cost: affordable, is_by_job: is_all_it_allows });
            }
            Event::Funded { client } => self.funded(now, &client),
        }
        self.fill_unkept(now);
        self.note_waits();
    }

    /// Takes in that time went by. Does nothing where no deadline was reached, so that an extra call is harmless.
    pub fn handle_timeout(&mut self, now: Tick) {
        self.now = now;
        let mut is_grace_shorter = false;
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Opening => self.grace.end_opening(),
                Timer::Return(node) => _ = self.grace.end_return(&node),
                Timer::Credit(client) => {
                    self.credit.end_pause(&client);
                    self.try_funded(now, &client);
                }
                Timer::Queue(job) => self.waited_too_long(now, job),
                Timer::Lease(job, attempt) => self.lease_expired(now, job, attempt),
                Timer::Stop(job) => self.stop_unanswered(now, job),
                Timer::Hedge(job) => self.hedge(now, job),
                Timer::Loser(job, attempt) => self.loser_unanswered(job, attempt),
                Timer::Vacate(node) => self.vacate(now, node),
                Timer::Explain(node) => self.unexplained_for_long(now, node),
                Timer::Unbar(node) => self.judge_again(now, node),
            }
            is_grace_shorter |= matches!(timer, Timer::Opening | Timer::Return(_));
        }
        // Once, and not per node: when a network splits, thousands leave at a time.
        if is_grace_shorter {
            self.give_up_stranded();
            self.give_up_all_declined(now);
        }
        self.fill_unkept(now);
        self.note_waits();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.timers.next()
    }

    /// What to do next, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The node that holds this attempt now. A report from any other node, or on an attempt that this gives nothing for, does
    /// not count. Ask before the report is handed in: an accepted one ends the lease.
    pub fn lease(&self, job: JobId, attempt: Attempt) -> Option<PublicKey> {
        self.lease_of(job, attempt).map(|lease| lease.node)
    }

    /// The hold that a node has on this attempt now.
    pub fn lease_of(&self, job: JobId, attempt: Attempt) -> Option<&Lease> {
        self.jobs.get(&job)?.lease(attempt)
    }

    /// The attempts of a job that are out.
    pub fn leases_of(&self, job: JobId) -> &[Lease] {
        self.jobs.get(&job).map_or(&[], |job| &job.leases)
    }

    /// What a node is at, by job: also attempts that were taken back and of which it has not said yet that it let go.
    pub fn leases(&self, node: &PublicKey) -> impl Iterator<Item = (JobId, Attempt)> {
        self.nodes.get(node).into_iter().flat_map(|node| node.leases())
    }

    /// Whether an attempt is one whose job another one has ended, and whose report is awaited: its node is paid for what it did.
    pub fn is_loser(&self, node: &PublicKey, job: JobId, attempt: Attempt) -> bool {
        self.losers.get(&(job, attempt)).is_some_and(|loser| loser.node == *node)
    }

    /// Where a job stands; nothing where it has ended or was never submitted.
    pub fn phase(&self, job: JobId) -> Option<Phase> {
        self.jobs.get(&job).map(|job| job.phase)
    }

    /// Whether a job is kept from nodes that it fits until its client has more to pay with.
    pub fn is_short_of_credit(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.limited.is_some())
    }

    /// How long a job waited before its attempts, in microseconds in all; a wait that goes on is not counted.
    pub fn waited_us(&self, job: JobId) -> Option<u64> {
        self.jobs.get(&job).map(|job| job.waited_us)
    }

    /// Jobs that wait for a node.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What the connected nodes ask that fit a request and take jobs, busy or not: each price once for nodes with equal offers.
    pub fn prices(&self, request: &Request) -> Vec<Price> {
        let demand = Demand::of(request);
        let usable = self.nodes.classes().fitting(&demand).filter(|(_, members)| members.usable() > 0);
        usable.map(|(class, _)| class.price()).collect()
    }

    /// The least that a job's dearest run can cost on any of the nodes that fit and take jobs; nothing where there is none.
    pub fn cost_floor(&self, request: &Request) -> Option<Microcredits> {
        self.cost_floor_of(&Demand::of(request), &request.limits, request.input_bytes())
    }

    fn cost_floor_of(&self, demand: &Demand, limits: &JobLimits, input_bytes: u64) -> Option<Microcredits> {
        let usable = self.nodes.classes().fitting(demand).filter(|(_, members)| members.usable() > 0);
        usable.filter_map(|(class, _)| class.price().cost_max(limits, input_bytes).ok()).min()
    }

    /// Why a request would be refused at once: no connected node fits and takes jobs, busy or not, and none that would is expected back; or the
    /// owners of all that do decline it; or none could end it by its deadline; or none has room, and no more jobs may wait.
    pub fn refusal(&self, id: JobId, request: &Request) -> Option<Refusal> {
        let job = Job::new(0, self.now, request);
        let found = self.search(self.now, id, &job).run_or(|| self.queue.is_first(&job.client));
        if found.chosen.is_some() { None } else { self.admit(self.now, id, &job, &found).err() }
    }

    /// The connected nodes, by key.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.iter().map(|node| self.view(node))
    }

    /// A connected node.
    pub fn node(&self, key: &PublicKey) -> Option<NodeView<'_>> {
        self.nodes.get(key).map(|node| self.view(node))
    }

    fn view<'a>(&self, node: &'a Node) -> NodeView<'a> {
        node.view(self.now, self.nodes.verdicts(&node.key))
    }

    /// The last jobs for which a node was compared and that went to another one, newest first: when, what was known of the node, and of
    /// the one that got the job.
    pub fn passed(&self, node: &PublicKey) -> impl Iterator<Item = (Tick, JobId, Candidate, Candidate)> {
        self.decisions.iter().rev().filter_map(move |recent| {
            let candidates = &recent.decision.candidates;
            let own = candidates.iter().find(|candidate| candidate.node == *node)?;
            let chosen = candidates.iter().find(|candidate| candidate.verdict == adit_protocol::Verdict::Chosen)?;
            (chosen.node != *node).then_some((recent.at, recent.job, *own, *chosen))
        })
    }
}

/// What happens to nodes.
impl Dispatcher {
    fn node_joined(&mut self, now: Tick, key: PublicKey, offer: NodeOffer, state: NodeState, cached: &[Digest]) {
        self.disconnect(now, key, Deed::LeftWork, || Cause::Left);
        self.nodes.join(now, key, offer, state, cached);
        self.may_have_again(&key);
        self.judge_again(now, key);
        // A trusted one may be back that takes no jobs now, for which barred ones were kept waiting.
        self.fill_barred(now);
    }

    fn node_left(&mut self, now: Tick, key: PublicKey, deed: Deed, cause: impl Fn() -> Cause) {
        self.disconnect(now, key, deed, cause);
        self.place_retries(now);
        self.fill_barred(now);
    }

    /// Gives work to nodes that are not trusted, where none is left that is and fits it.
    fn fill_barred(&mut self, now: Tick) {
        if self.queue.len() == 0 {
            return;
        }
        for key in self.nodes.barred_open() {
            self.fill(now, &key);
        }
    }

    /// Queues what the node held. Nothing is started: where the node is being replaced, it is to be among the candidates.
    fn disconnect(&mut self, now: Tick, key: PublicKey, deed: Deed, cause: impl Fn() -> Cause) {
        // Who leaves explains nothing any more.
        if let Some(armed) = self.unexplained.remove(&key) {
            self.timers.disarm(&armed);
            self.nodes.note(now, &key, Deed::GaveBack);
        }
        if deed == Deed::Expelled || self.leases(&key).next().is_some() {
            self.nodes.note(now, &key, deed);
        }
        let Some(node) = self.nodes.leave(now, &key) else { return };
        if let Some(armed) = self.vacating.remove(&key) {
            self.timers.disarm(&armed);
        }
        if let Some(job) = node.kept_for {
            self.forget_kept(job, &key);
        }
        for (job, attempt) in node.leases() {
            if self.lease(job, attempt) == Some(key) {
                self.set_back(now, job, attempt, cause());
            } else if let Some(loser) = self.take_loser(&key, job, attempt) {
                self.queue.refund(&loser.client, loser.lease.charged_us);
                self.actions.push_back(Action::Abandon { job, attempt, node: key });
            }
        }
        self.await_return(now, key, node.class);
    }

    /// Not only the jobs of the node that left: one that failed on all others may be tried there again, now that it is gone.
    fn place_retries(&mut self, now: Tick) {
        for job in self.queue.retries().collect::<Vec<_>>() {
            // When a network splits, thousands leave at a time, each with its jobs.
            if !self.nodes.has_open() {
                return;
            }
            self.place(now, job);
        }
    }

    /// Has jobs that only this node's offer fitted wait for a moment before they are refused: connections break, and owners' rules flap.
    fn await_return(&mut self, now: Tick, key: PublicKey, class: Arc<Class>) {
        if let Some(before) = self.grace.end_return(&key) {
            self.timers.disarm(&before);
        }
        let armed = self.timers.arm(now.after(self.config.join_grace_us), Timer::Return(key));
        self.grace.await_return(key, class, armed);
    }

    fn node_offers(&mut self, now: Tick, key: PublicKey, offer: NodeOffer) {
        let Some(before) = self.nodes.get(&key).map(|node| Arc::clone(&node.class)) else { return };
        self.nodes.set_offer(&key, offer);
        self.owner_changed(now, key);
        self.await_return(now, key, before);
        self.fill(now, &key);
        self.fill_barred(now);
    }

    fn node_is(&mut self, now: Tick, key: PublicKey, state: NodeState) {
        let Some(before) = self.nodes.get(&key).map(|node| node.state.clone()) else { return };
        let is_paused = matches!(state, NodeState::Paused(_));
        if state == NodeState::Ready && before != NodeState::Ready {
            self.may_have_again(&key);
        }
        let is_ready = state == NodeState::Ready;
        self.nodes.set_state(&key, state);
        if !is_ready {
            self.owner_changed(now, key);
        }
        if is_paused && !matches!(before, NodeState::Paused(_)) {
            let armed = self.timers.arm(now.after(self.config.vacate_grace_us), Timer::Vacate(key));
            self.vacating.insert(key, armed);
        } else if !is_paused && let Some(armed) = self.vacating.remove(&key) {
            self.timers.disarm(&armed);
        }
        if before == NodeState::Ready
            && let Some(class) = self.nodes.get(&key).filter(|node| !node.is_ready()).map(|node| Arc::clone(&node.class))
        {
            self.await_return(now, key, class);
            self.fill_barred(now);
        }
        self.fill(now, &key);
    }

    /// What a node gave back before, it may have again.
    fn may_have_again(&mut self, key: &PublicKey) {
        for id in self.queue.retries().collect::<Vec<_>>() {
            self.job_mut(id).given_back.retain(|node| node != key);
        }
    }

    /// Gives work to a node that may have more than before.
    fn offer_work(&mut self, now: Tick, key: PublicKey) {
        self.fill(now, &key);
        self.place_retries(now);
    }

    /// Takes its leases from a node whose owner took the machine back, and which did not hand them in.
    fn vacate(&mut self, now: Tick, key: PublicKey) {
        self.vacating.remove(&key);
        let Some(node) = self.nodes.get(&key).filter(|node| matches!(node.state, NodeState::Paused(_))) else { return };
        let held: Vec<_> = node.leases().collect();
        for (job, attempt) in held {
            if self.lease(job, attempt) == Some(key) {
                self.actions.push_back(Action::Stop { job, attempt, node: key });
                self.try_again(now, job, attempt, Cause::NotVacated);
            }
        }
    }

    /// Takes in that a node's owner changed what it takes, which explains what it gave back just before.
    fn owner_changed(&mut self, now: Tick, key: PublicKey) {
        self.nodes.note_changed(now, &key);
        if self.unexplained.contains_key(&key)
            && self.nodes.explain(&key, now)
            && let Some(armed) = self.unexplained.remove(&key)
        {
            self.timers.disarm(&armed);
        }
    }

    /// Takes in that a node gave back what it had since then. Where its owner had not said so before, there is a moment left for that: messages
    /// overtake each other.
    fn await_explanation(&mut self, now: Tick, key: PublicKey, since: Tick) {
        if self.unexplained.contains_key(&key) || self.nodes.explain(&key, since) {
            return;
        }
        let armed = self.timers.arm(now.after(self.config.vacate_grace_us), Timer::Explain(key));
        self.unexplained.insert(key, armed);
    }

    /// All that a node gave back within the moment counts once.
    fn unexplained_for_long(&mut self, now: Tick, key: PublicKey) {
        self.unexplained.remove(&key);
        self.note(now, &key, Deed::GaveBack);
    }

    fn note(&mut self, now: Tick, key: &PublicKey, deed: Deed) {
        if let Some(unbar) = self.nodes.note(now, key, deed) {
            self.timers.arm(unbar, Timer::Unbar(*key));
            self.place_retries(now);
            self.fill_barred(now);
        }
    }

    /// Trusts a node again, if its reputation allows that by now.
    fn judge_again(&mut self, now: Tick, key: PublicKey) {
        if let Some(unbar) = self.nodes.judge(now, &key) {
            self.timers.arm(unbar.max(now.after(1)), Timer::Unbar(key));
        }
        self.offer_work(now, key);
    }
}

/// What clients want.
impl Dispatcher {
    fn submitted(&mut self, now: Tick, id: JobId, request: &Request) {
        if self.jobs.contains_key(&id) {
            return;
        }
        self.jobs_submitted += 1;
        let mut job = Box::new(Job::new(self.jobs_submitted, now, request));
        let like = self.crowd_of(&job).map(|like| &self.jobs[&like]);
        job.shortage = like.and_then(|like| like.shortage.clone());
        let is_first = || self.queue.is_first(&job.client);
        let found = if like.is_some() { Found::default() } else { self.search(now, id, &job).run_or(is_first) };
        if found.chosen.is_some() {
            self.jobs.insert(id, job);
            self.start(now, id, &found, Why::Best);
        } else if let Err(refusal) = self.admit(now, id, &job, &found) {
            self.actions.push_back(Action::Refuse { job: id, refusal });
        } else {
            // Before others of those that have it: the turn is this job's.
            let is_first = self.queue.is_first(&job.client);
            let kept = found.best_let.filter(|_| is_first);
            self.enqueue(now, id, job, found);
            if let Some((_, slot)) = kept {
                self.keep(id, slot);
            }
        }
    }

    /// Where many wait, one that is like this job and waits for no reason of its own: then no node has room for this one either.
    fn crowd_of(&self, job: &Job) -> Option<JobId> {
        let is_like = |id: &JobId| {
            let like = &self.jobs[id];
            like.deadline.is_none() && like.declined.is_empty()
        };
        if self.queue.len() < CROWD {
            return None;
        }
        self.queue.first_like(job).filter(is_like)
    }

    fn admit(&self, now: Tick, id: JobId, job: &Job, found: &Found) -> Result<(), Refusal> {
        if self.is_stranded(&job.demand) || self.is_declined_by_all(now, job) {
            return Err(self.no_node_fits(job));
        }
        // Busy nodes may yet do what the open ones cannot.
        let needed_us = found.soonest_us.filter(|_| self.nodes.full_count() == 0 && found.let_count() == 0);
        if let Some(needed_us) = needed_us.or_else(|| self.needed_in_vain_us(now, id, job)) {
            return Err(deadline_missed(now, job, needed_us));
        }
        self.queue.admit(&job.client, &self.config)
    }

    fn enqueue(&mut self, now: Tick, id: JobId, job: Box<Job>, found: Found) {
        self.waiting.push((id, found));
        self.queue.push(id, &job);
        self.jobs.insert(id, job);
        self.arm_wait(now, id);
    }

    /// Has a queued job looked at when it has waited for as long as it may, or can no longer end in time.
    fn arm_wait(&mut self, now: Tick, id: JobId) {
        let job = &self.jobs[&id];
        let Phase::Queued { since } = job.phase else { unreachable!("only a queued job waits") };
        let mut at = job.queue_deadline(since);
        if let Some((last, needed_us)) = job.deadline.zip(self.needed_surely_us(now, id, job)) {
            let in_vain = if now.after(needed_us) > last { now } else { last.before(needed_us).after(1).max(now.after(1)) };
            at = at.min(in_vain);
        }
        self.arm(id, at, Timer::Queue(id));
    }

    /// The least time, in microseconds, in which a node that fits would end a job that it got now, busy or not; nothing where none fits, or
    /// where it does not matter. Where many are connected, of those that are looked at.
    fn needed_us(&self, now: Tick, id: JobId, job: &Job) -> Option<u64> {
        job.deadline?;
        let search = self.search(now, id, job);
        let is_usable = |slot: &Slot| self.is_usable(job, self.nodes.at(*slot));
        self.nodes.in_order().take(DEADLINE_LOOKS).filter(is_usable).map(|slot| search.needed_us(slot)).min()
    }

    /// A time in which no node would end it, be they looked at or not: the same where all of them are.
    fn needed_surely_us(&self, now: Tick, id: JobId, job: &Job) -> Option<u64> {
        job.deadline?;
        let are_many = self.nodes.count() > DEADLINE_LOOKS;
        if are_many { self.search(now, id, job).least_us() } else { self.needed_us(now, id, job) }
    }

    /// What it needs, where even what it surely needs is longer than it has, so that waiting is in vain.
    fn needed_in_vain_us(&self, now: Tick, id: JobId, job: &Job) -> Option<u64> {
        let last = job.deadline?;
        let surely_us = self.needed_surely_us(now, id, job).filter(|needed_us| now.after(*needed_us) > last)?;
        Some(self.needed_us(now, id, job).map_or(surely_us, |needed_us| needed_us.max(surely_us)))
    }

    fn cancelled(&mut self, now: Tick, id: JobId) {
        match self.phase(id) {
            Some(Phase::Queued { .. }) => {
                self.end(id);
                self.actions.push_back(Action::CancelledInQueue { job: id });
            }
            Some(Phase::Leased) => {
                let job = self.job_mut(id);
                job.phase = Phase::Stopping;
                for Lease { node, attempt, .. } in job.leases.clone() {
                    self.actions.push_back(Action::Stop { job: id, attempt, node });
                }
                self.arm(id, now.after(self.config.cancel_grace_us), Timer::Stop(id));
            }
            Some(Phase::Stopping) | None => {}
        }
    }
}

/// What nodes report.
impl Dispatcher {
    fn finished(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, report: &Report) {
        if !self.nodes.release(&node, id, attempt) {
            return;
        }
        if self.lease(id, attempt) == Some(node) {
            self.outcome(now, node, id, attempt, report);
        } else {
            self.charge_loser(now, &node, id, attempt, report);
        }
        self.fill(now, &node);
    }

    /// Ends a job with an attempt's outcome. Another attempt of it that is out has lost.
    fn outcome(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, report: &Report) {
        let lease = self.take_lease(id, attempt);
        let elapsed_us = now.since(lease.since);
        let believed = lease.believed(report, elapsed_us);
        for other in self.jobs[&id].leases.clone() {
            self.lose_lease(now, id, &other);
        }
        let job = self.end(id);
        self.settle_charge(now, &job.client, job.charged_us, job.ask.profile, &lease, report);
        self.nodes.learn_blob(&node, &job.ask.module.digest);
        for input in &job.ask.fetched {
            self.nodes.learn_blob(&node, &input.digest);
        }
        // A run that was cut short says nothing of how long others take.
        if job.is_stopping() {
            return self.nodes.count_cut_short(&node);
        }
        let is_overclaimed = self.nodes.count_done(&node, now, &lease, report);
        let history = self.histories.get_mut(Short::of(&job.ask.module.digest));
        history.add(&believed.report, elapsed_us, &lease.predicted);
        let deed = match () {
            () if !believed.is_likely => Deed::UnlikelyTimes,
            () if is_overclaimed => Deed::SlowerThanClaimed,
            () => Deed::Finished,
        };
        self.note(now, &node, deed);
        // Only now is it known that it was not the job's own fault.
        let failed: BTreeSet<PublicKey> =
            job.failed.into_iter().chain(job.left_by.map(|node| *node)).filter(|other| *other != node).collect();
        for other in failed {
            self.note(now, &other, Deed::Failed);
        }
    }

    /// Sets right what a client was charged for a start, by what is believed of the report on it.
    fn settle_charge(
        &mut self,
        now: Tick,
        client: &PublicKey,
        charged_us: u64,
        profile: Profile,
        lease: &Lease,
        report: &Report,
    ) {
        let Some(node) = self.nodes.get(&lease.node) else { return };
        let elapsed_us = now.since(lease.since);
        let slot_us = node.slot_us(lease, profile, &lease.believed(report, elapsed_us).report, elapsed_us);
        self.queue.settle(client, charged_us, slot_us);
    }

    /// Stops an attempt whose job has ended by another one.
    fn lose_lease(&mut self, now: Tick, id: JobId, lease: &Lease) {
        let Lease { node, attempt, charged_us, .. } = *lease;
        let job = self.job_mut(id);
        job.charged_us = job.charged_us.saturating_sub(charged_us);
        let (client, profile) = (job.client, job.ask.profile);
        if !self.jobs[&id].is_stopping() {
            self.actions.push_back(Action::Stop { job: id, attempt, node });
        }
        let armed = self.timers.arm(now.after(self.config.cancel_grace_us), Timer::Loser(id, attempt));
        self.losers.insert((id, attempt), Loser { node, armed, client, profile, lease: *lease });
    }

    /// Takes in what an attempt took that lost: its client had two slots.
    fn charge_loser(&mut self, now: Tick, node: &PublicKey, id: JobId, attempt: Attempt, report: &Report) {
        if let Some(Loser { client, profile, lease, .. }) = self.take_loser(node, id, attempt) {
            self.settle_charge(now, &client, lease.charged_us, profile, &lease, report);
        }
    }

    /// The attempt, where it is one that lost. Nothing more is awaited of it.
    fn take_loser(&mut self, node: &PublicKey, id: JobId, attempt: Attempt) -> Option<Loser> {
        let loser = self.is_loser(node, id, attempt).then(|| self.losers.remove(&(id, attempt))).flatten()?;
        self.timers.disarm(&loser.armed);
        Some(loser)
    }

    fn preempted(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, spent: Microcredits, report: &Report) {
        if !self.nodes.release(&node, id, attempt) {
            return;
        }
        if let Some(lease) = self.lease_of(id, attempt).filter(|lease| lease.node == node).copied() {
            self.nodes.count_preempted(&node, now, &lease, report);
            self.await_explanation(now, node, lease.since);
            let job = self.job_mut(id);
            job.preemptions += 1;
            if !job.given_back.contains(&node) {
                job.given_back.push(node);
            }
            job.demand = Arc::new(job.demand.after(spent));
            job.charged_us = job.charged_us.saturating_sub(lease.charged_us);
            let (client, profile) = (job.client, job.ask.profile);
            self.settle_charge(now, &client, lease.charged_us, profile, &lease, report);
            self.cut_short(now, id, attempt, Cause::Preempted);
        } else {
            self.charge_loser(now, &node, id, attempt, report);
        }
        self.fill(now, &node);
    }

    fn failed(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, failure: AttemptFailure) {
        if !self.nodes.release(&node, id, attempt) {
            return;
        }
        if self.lease(id, attempt) == Some(node) {
            self.attempt_failed(now, node, id, attempt, failure);
        } else if let Some(loser) = self.take_loser(&node, id, attempt) {
            self.queue.refund(&loser.client, loser.lease.charged_us);
        }
        self.fill(now, &node);
    }

    fn attempt_failed(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, failure: AttemptFailure) {
        let (is_stopping, is_last) = (self.jobs[&id].is_stopping(), self.jobs[&id].leases.len() == 1);
        match failure {
            AttemptFailure::ModuleInvalid(why) => self.called_invalid(now, node, id, attempt, why),
            // Where another attempt is out, that one tells.
            AttemptFailure::BlobMissing(digest) if is_last => self.refuse(id, Refusal::InputMissing(digest)),
            AttemptFailure::BlobMissing(_) => _ = self.take_lease(id, attempt),
            AttemptFailure::Withdrawn if is_stopping => self.cut_short(now, id, attempt, Cause::GaveBack),
            AttemptFailure::Withdrawn => self.try_again(now, id, attempt, Cause::GaveBack),
            AttemptFailure::Node(why) => self.try_again(now, id, attempt, Cause::Failed(why)),
            AttemptFailure::Preempted(_) => self.given_back(now, node, id, attempt, Cause::Preempted),
            AttemptFailure::GpuAway(why) => self.given_back(now, node, id, attempt, Cause::GpuAway(why)),
            AttemptFailure::Busy if self.may_be_busy(now, id, attempt) && self.nodes.note_busy(&node) => {
                self.handed_back(now, node, id, attempt);
            }
            AttemptFailure::Busy => self.given_back(now, node, id, attempt, Cause::GaveBack),
            AttemptFailure::Declined(_) => {
                let client = self.jobs[&id].client;
                self.nodes.note_declined(now, &node, &self.jobs[&id]);
                self.take_lease(id, attempt);
                self.declined_by_owner(now, id, node);
                self.give_up_declined(now, id);
                self.give_up_declined_of(now, &client);
                // For whom its owner declines, this node is none to wait for.
                self.fill_barred(now);
            }
        }
    }

    /// Takes in that a node says that a job's module runs nowhere. Another one is to say so too, where there is one that could: a single
    /// node could end everybody's jobs by its word, and an honest one may have failed to compile a module that others run.
    fn called_invalid(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, why: String) {
        let attempts_max = self.config.attempts_max;
        let job = self.job_mut(id);
        let was_called_invalid = std::mem::replace(&mut job.is_called_invalid, true);
        if !job.failed.contains(&node) {
            job.failed.push(node);
        }
        let job = &self.jobs[&id];
        let is_no_more_asked = || job.is_stopping() || job.setbacks + 1 >= attempts_max || !self.has_fresh_node(job);
        if job.leases.len() == 1 && (was_called_invalid || is_no_more_asked()) {
            self.refuse(id, Refusal::ModuleInvalid(why));
        } else {
            self.try_again(now, id, attempt, Cause::Failed(format!("it says that the module is invalid: {why}")));
        }
    }

    /// Whether a node may hand back an attempt now for want of a slot, which it does as soon as it knows: whoever sat on others' jobs until their
    /// time was over would lose nothing by it.
    fn may_be_busy(&self, now: Tick, id: JobId, attempt: Attempt) -> bool {
        let is_soon =
            self.lease_of(id, attempt).is_some_and(|lease| now <= lease.since.after(lease.before_us()).after(BUSY_GRACE_US));
        is_soon && self.jobs[&id].handed_back < GIVEN_BACK_MAX
    }

    /// Takes in that a job waited in vain for a slot of its node, as what is there takes longer than was thought.
    fn handed_back(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt) {
        let attempts_max = self.config.attempts_max;
        let lease = self.take_lease(id, attempt);
        let job = self.jobs.get_mut(&id).expect("a job in hand is known");
        job.handed_back += 1;
        job.charged_us = job.charged_us.saturating_sub(lease.charged_us);
        self.queue.refund(&job.client, lease.charged_us);
        if !job.leases.is_empty() {
            // It was no attempt, so the one that is left may have another beside it, once that takes unusually long.
            if job.phase == Phase::Leased {
                let (module, left) = (Short::of(&job.ask.module.digest), job.leases[0]);
                let unusual = left.since.after(self.histories.unusual_us(module, left.predicted.total_us()));
                self.arm(id, unusual.max(now.after(self.config.hedge_min_us)), Timer::Hedge(id));
            }
            return;
        }
        if job.is_stopping() {
            self.end(id);
            return self.actions.push_back(Action::CancelledInQueue { job: id });
        }
        // The setbacks may have come while this attempt was out.
        if job.setbacks >= attempts_max
            && let Some(words) = job.setback.as_ref().map(Setback::to_string)
        {
            return self.lose(id, words);
        }
        self.queue_where_it_fits(now, id, node);
    }

    /// Takes in that a node could not have a job for now, for a reason that is not the job's.
    fn given_back(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, cause: Cause) {
        if let Some(since) = self.lease_of(id, attempt).map(|lease| lease.since) {
            self.await_explanation(now, node, since);
        }
        let job = self.job_mut(id);
        job.preemptions += 1;
        if !job.given_back.contains(&node) {
            job.given_back.push(node);
        }
        self.cut_short(now, id, attempt, cause);
    }

    /// Looks elsewhere for a job that a node's owner declined. Where another attempt of it is out, that one goes on alone.
    fn declined_by_owner(&mut self, now: Tick, id: JobId, node: PublicKey) {
        let job = self.job_mut(id);
        if !job.leases.is_empty() {
            return;
        }
        job.declined.insert(node, UnfitReason::Declined);
        job.shortage = None;
        self.look_elsewhere(now, id, now);
    }

    fn declined(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, most: Most) {
        if !self.nodes.release(&node, id, attempt) {
            return;
        }
        if self.lease(id, attempt) == Some(node) {
            self.unaffordable(now, id, attempt, most);
        }
        self.fill(now, &node);
    }

    /// Takes back an attempt for which its job's client cannot pay, and looks for one that it can. The job's wait goes on, so that it lasts no
    /// longer however often that happens.
    fn unaffordable(&mut self, now: Tick, id: JobId, attempt: Attempt, most: Most) {
        let lease = self.take_lease(id, attempt);
        let job = self.jobs.get_mut(&id).expect("a job in hand is known");
        // Nobody heard of it. Attempts are numbered in the order of their starts, so it is the last one.
        job.attempts -= 1;
        job.charged_us = job.charged_us.saturating_sub(lease.charged_us);
        self.queue.refund(&job.client, lease.charged_us);
        if !job.leases.is_empty() {
            return;
        }
        let since = lease.queued.unwrap_or(now);
        job.waited_us = job.waited_us.saturating_sub(lease.since.since(since));
        let demand = Arc::new(job.demand.within(most.cost, &job.ask.limits, job.ask.input_bytes));
        if self.nodes.get(&lease.node).is_some_and(|node| node.fits(&demand)) {
            job.declined.insert(lease.node, UnfitReason::Price);
        }
        let turn = self.credit.push(job.client, id);
        job.limited = Some(Limited { own: std::mem::replace(&mut job.demand, demand), turn, is_by_job: most.is_by_job });
        // What it waits for is told anew where that was something else, or before an attempt that has ended.
        if lease.queued.is_none() || job.shortage.as_ref().is_some_and(|shortage| !shortage.is_of_price()) {
            job.shortage = None;
        }
        self.look_elsewhere(now, id, since);
    }

    /// Looks for another node for a job that one is not to have, and that has waited since then.
    fn look_elsewhere(&mut self, now: Tick, id: JobId, since: Tick) {
        if self.jobs[&id].is_stopping() {
            self.end(id);
            return self.actions.push_back(Action::CancelledInQueue { job: id });
        }
        if self.is_declined_by_many(id) || self.jobs[&id].setbacks >= self.config.attempts_max {
            let refusal = self.no_node_fits(&self.jobs[&id]);
            return self.give_up(id, refusal);
        }
        self.queue_since(now, id, since);
        self.place(now, id);
    }

    /// Whether a job was declined as often as it may, and none is left that did not: many strangers could end everybody's jobs otherwise,
    /// while those that would run them are busy.
    fn is_declined_by_many(&self, id: JobId) -> bool {
        let job = &self.jobs[&id];
        let count = job.declined.len();
        count > DECLINED_MAX && (count >= GIVEN_BACK_MAX as usize || !self.has_fresh_node(job))
    }

    /// Gives up a job where the owner of each node that fits it has declined its client: waiting for room would be in vain.
    fn give_up_declined(&mut self, now: Tick, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|job| matches!(job.phase, Phase::Queued { .. })) else { return };
        if self.is_declined_by_all(now, job) {
            let refusal = self.no_node_fits(job);
            self.give_up(id, refusal);
        }
    }

    /// The same for all of a client's jobs that wait, of which an owner declined one like them, or for whose like no other node may come any more.
    fn give_up_declined_of(&mut self, now: Tick, client: &PublicKey) {
        let (declined, left) = self.declined_of(now, client);
        self.note_unasked(client, left);
        for id in declined {
            let refusal = self.no_node_fits(&self.jobs[&id]);
            self.give_up(id, refusal);
        }
    }

    /// The jobs of a client that wait for nodes whose owners all decline them. Where too much would be looked at in vain, also
    /// where among them it ended: the next time begins about there, so that none is left each time.
    fn declined_of(&self, now: Tick, client: &PublicKey) -> (Vec<JobId>, Option<usize>) {
        let decliners: Vec<&Node> = self.nodes.decliners(now, client).collect();
        let mut declined = Vec::new();
        if decliners.is_empty() {
            return (declined, None);
        }
        let retries: Vec<JobId> = self.queue.retries_of(client).collect();
        let lanes: Vec<_> = self.queue.lanes_of(client).collect();
        let count = retries.len() + lanes.len();
        let first = self.unasked.get(client).map_or(0, |at| at % count.max(1));
        let mut looks = 0;
        for at in (first..count).chain(0..first) {
            if looks >= DECLINED_LOOKS {
                return (declined, Some(at));
            }
            looks += match retries.get(at) {
                Some(id) => self.ask_owners(now, &decliners, &self.jobs[id].demand, std::iter::once(*id), &mut declined),
                None => {
                    let (demand, ids) = &lanes[at - retries.len()];
                    self.ask_owners(now, &decliners, demand, ids.clone(), &mut declined)
                }
            };
        }
        (declined, None)
    }

    /// Remembers of whose jobs some were not asked about, as long as they wait.
    fn note_unasked(&mut self, client: &PublicKey, left: Option<usize>) {
        self.unasked.remove(client);
        if let Some(at) = left {
            self.unasked.retain(|client, _| self.queue.has_any_of(client));
            self.unasked.insert(*client, at);
        }
    }

    /// Asks about jobs of one client with one demand. Says how much was looked at in vain.
    fn ask_owners(
        &self,
        now: Tick,
        decliners: &[&Node],
        demand: &Demand,
        ids: impl Iterator<Item = JobId>,
        declined: &mut Vec<JobId>,
    ) -> usize {
        let for_all = decliners.len() + self.nodes.classes().count_carrying(demand);
        let Some(fitting) = self.few_fitting(demand) else { return for_all };
        let decliners: Vec<&Node> = decliners.iter().copied().filter(|node| node.is_ready() && node.fits(demand)).collect();
        let before = declined.len();
        let mut in_vain = 0;
        for id in ids {
            let job = &self.jobs[&id];
            // Whoever only lacks credits may get some.
            if job.limited.is_none() && self.is_declined_by(now, job, decliners.iter().copied(), fitting) {
                declined.push(id);
            } else {
                in_vain += decliners.len().max(1);
            }
        }
        in_vain + if declined.len() > before { 0 } else { for_all }
    }

    fn is_declined_by_all(&self, now: Tick, job: &Job) -> bool {
        let mut decliners = self.nodes.decliners(now, &job.client).peekable();
        // It is asked of many jobs, and few owners decline anybody.
        if decliners.peek().is_none() && job.declined.is_empty() {
            return false;
        }
        self.few_fitting(&job.demand).is_some_and(|fitting| self.is_declined_by(now, job, decliners, fitting))
    }

    /// How many nodes fit a demand and take jobs, where no other may come and they are so few that their owners are asked.
    fn few_fitting(&self, demand: &Demand) -> Option<usize> {
        if self.grace.covers(demand) {
            return None;
        }
        let mut usable = self.nodes.classes().fitting(demand).map(|(_, members)| Members::usable(members) as usize);
        let few = usable.try_fold(0, |sum, count| Some(sum + count).filter(|sum| *sum <= DECLINED_MAX));
        few.filter(|few| *few > 0)
    }

    /// Whether so many nodes that fit a job are not to have it, for what was said of it or of one like it. What was said of itself holds for as long
    /// as it waits, though its owner has forgotten it, or the node was away since.
    fn is_declined_by<'a>(&self, now: Tick, job: &Job, decliners: impl Iterator<Item = &'a Node>, fitting: usize) -> bool {
        let of_itself = job.declined.keys().filter_map(|key| self.nodes.get(key));
        let of_its_like = decliners.filter(|node| !job.declined.contains_key(&node.key) && node.declines(now, job));
        of_itself.filter(|node| self.is_usable(job, node)).count() + of_its_like.filter(|node| self.is_usable(job, node)).count()
            == fitting
    }

    /// Whether owners took a job's machines back as often as they may, and none is left that did not: those who give back all that they get
    /// could end everybody's jobs otherwise, beside others that have nothing to do.
    fn is_given_back_by_all(&self, id: JobId) -> bool {
        let job = &self.jobs[&id];
        let is_often = job.preemptions > self.config.preemptions_max;
        is_often && (job.preemptions >= GIVEN_BACK_MAX || !self.has_fresh_node(job))
    }

    /// Takes in that an attempt ended without an outcome and through nobody's fault.
    fn cut_short(&mut self, now: Tick, id: JobId, attempt: Attempt, cause: Cause) {
        let attempts_max = self.config.attempts_max;
        let node = self.take_lease(id, attempt).node;
        let job = self.job_mut(id);
        let setback = Setback { node, cause };
        let words = setback.to_string();
        job.setback = Some(setback);
        if !job.leases.is_empty() {
            return;
        }
        if job.is_stopping() {
            self.end(id);
            return self.actions.push_back(Action::CancelledInQueue { job: id });
        }
        // The setbacks may have come while this attempt was out.
        if job.setbacks >= attempts_max || self.is_given_back_by_all(id) {
            return self.lose(id, words);
        }
        self.queue_where_it_fits(now, id, node);
    }

    /// Looks for a node for a job that `node` had and does not run, unless what is left of its price limit is too little for any.
    fn queue_where_it_fits(&mut self, now: Tick, id: JobId, node: PublicKey) {
        self.queue_again(now, id);
        if self.is_stranded(&self.jobs[&id].demand) {
            let refusal = self.no_node_fits(&self.jobs[&id]);
            return self.give_up(id, refusal);
        }
        self.place_in_turn(now, id, Some(node));
    }
}

/// What time brings.
impl Dispatcher {
    fn waited_too_long(&mut self, now: Tick, id: JobId) {
        let job = &self.jobs[&id];
        let Phase::Queued { since } = job.phase else { unreachable!("a job that does not wait has no queue deadline") };
        let in_vain_us = self.needed_in_vain_us(now, id, job);
        let refusal = if in_vain_us.is_some() || job.is_of_no_use(now) {
            deadline_missed(now, job, in_vain_us.or_else(|| self.needed_us(now, id, job)).unwrap_or(0))
        } else if job.queue_deadline(since) <= now {
            let waited_ms = now.since(since) / 1_000;
            self.too_dear(job).unwrap_or(Refusal::QueueTimeout { waited_ms })
        } else {
            // A faster node has come since.
            return self.arm_wait(now, id);
        };
        self.give_up(id, refusal);
    }

    /// What a job is told that waited as long as it may, where it fits nodes and none of them is to be had for what is left.
    fn too_dear(&self, job: &Job) -> Option<Refusal> {
        let limited = job.limited.as_ref()?;
        let floor = |demand| self.cost_floor_of(demand, &job.ask.limits, job.ask.input_bytes);
        let needed = floor(&limited.own)?;
        let is_none_left = floor(&job.demand).is_none();
        let refusal = || match limited.is_by_job {
            true => self.no_node_fits(job),
            false => Refusal::InsufficientCredit { available: job.demand.most(), needed },
        };
        is_none_left.then(refusal)
    }

    /// The slot stays taken until the node reports or leaves: it may well be busy with this job still.
    fn lease_expired(&mut self, now: Tick, id: JobId, attempt: Attempt) {
        let node = self.lease(id, attempt).expect("an attempt that is not out has no lease deadline");
        self.actions.push_back(Action::Stop { job: id, attempt, node });
        self.try_again(now, id, attempt, Cause::Expired);
    }

    fn stop_unanswered(&mut self, now: Tick, id: JobId) {
        let lease = *self.jobs[&id].leases.first().expect("a job that nobody has is not being stopped");
        self.note(now, &lease.node, Deed::Silent);
        let setback = Setback { node: lease.node, cause: Cause::Unanswered };
        self.lose(id, setback.to_string());
    }

    fn loser_unanswered(&mut self, id: JobId, attempt: Attempt) {
        if let Some(loser) = self.losers.remove(&(id, attempt)) {
            self.actions.push_back(Action::Abandon { job: id, attempt, node: loser.node });
        }
    }

    /// Starts a second attempt beside one that takes longer than such jobs nearly always do.
    fn hedge(&mut self, now: Tick, id: JobId) {
        let job = &self.jobs[&id];
        if job.phase != Phase::Leased || job.leases.len() != 1 {
            return;
        }
        let since = job.leases[0].since;
        let found = self.search(now, id, job).run();
        if found.chosen.is_some() {
            return self.start(now, id, &found, Why::Hedge);
        }
        let later = (now.since(since) / 4).max(self.config.hedge_min_us);
        self.arm(id, now.after(later), Timer::Hedge(id));
    }

    /// Takes in that a client has more to pay with.
    fn funded(&mut self, now: Tick, client: &PublicKey) {
        self.credit.fund(client);
        self.try_funded(now, client);
    }

    /// Tries some of the jobs again that waited until their client could pay, and after a pause the next. Whether it can is not known before
    /// the driver has been told to start one.
    fn try_funded(&mut self, now: Tick, client: &PublicKey) {
        let due = self.credit.due(client);
        if due.is_empty() {
            return;
        }
        self.timers.arm(now.after(TRY_PAUSE_US), Timer::Credit(*client));
        self.credit.begin_pause(client);
        for id in due {
            let job = self.jobs.get_mut(&id).expect("a job that waits is known");
            self.queue.remove(job);
            job.unlimit(&mut self.credit);
            self.queue.push(id, job);
            self.arm_wait(now, id);
            self.place(now, id);
        }
    }

    /// Gives up the jobs that were declined while another node might still have come, and none did.
    fn give_up_all_declined(&mut self, now: Tick) {
        // Whoever only lacks credits may get some.
        let was_declined = |id: &JobId| !self.jobs[id].declined.is_empty() && self.jobs[id].limited.is_none();
        let declined: Vec<JobId> = self.queue.retries().filter(was_declined).collect();
        for id in declined {
            self.give_up_declined(now, id);
        }
        for client in self.queue.clients() {
            self.give_up_declined_of(now, &client);
        }
    }

    fn give_up_stranded(&mut self) {
        let in_lanes = self.queue.stranded(|demand| self.is_stranded(demand));
        // Whoever only lacks credits may get some.
        let is_stranded = |id: &JobId| self.is_stranded(self.jobs[id].own_demand());
        let in_lanes = in_lanes.into_iter().filter(|id| self.jobs[id].limited.is_none() || is_stranded(id));
        let stranded: Vec<JobId> = self.queue.retries().filter(|id| is_stranded(id)).chain(in_lanes).collect();
        for id in stranded {
            let refusal = self.no_node_fits(&self.jobs[&id]);
            self.give_up(id, refusal);
        }
    }
}

/// What the classes of nodes say of a demand.
#[derive(Debug)]
struct Fitting {
    /// How many nodes it rules out.
    unfit: BTreeMap<UnfitReason, u32>,
    /// How many fit and take jobs, busy or not.
    usable: u32,
}

/// How an attempt comes to its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is the best of those with room.
    Best,
    /// It was the first one with room.
    FirstFree,
    /// As the best of those with room, beside another attempt.
    Hedge,
}

/// Placement.
impl Dispatcher {
    fn search<'a>(&'a self, now: Tick, id: JobId, job: &'a Job) -> Search<'a> {
        let chance = u64::from_be_bytes(*id.0.first_chunk().expect("a job's id has sixteen bytes"));
        let ask = &job.ask;
        let module = Short::of(&ask.module.digest);
        Search {
            now,
            nodes: &self.nodes,
            id,
            job,
            module,
            is_held: self.nodes.is_held(id),
            trusted: OnceCell::new(),
            estimate: self.histories.estimate(module, &ask.limits, ask.input_bytes),
            with_let: false,
            skips_failed: (!job.failed.is_empty() || !job.given_back.is_empty()) && self.has_fresh_node(job),
            lot: mix(self.config.seed ^ chance ^ u64::from(job.attempts)),
            spread: self.config.spread,
        }
    }

    /// The job that goes to an open node next, with what is known of the node for it. Where that cannot have it beside another client's that it has,
    /// it is to get empty, unless some others are to for that job: nothing else goes there.
    fn next_for(&mut self, now: Tick, key: &PublicKey) -> Option<(JobId, Found)> {
        let slot = self.nodes.slot(key)?;
        let node = self.nodes.at(slot);
        let fits = |demand: &Demand| node.fits(demand);
        let is_let = |id| node.is_let_to_another(&self.jobs[&id].client);
        let has_enough = |id| self.kept.get(&id).is_some_and(|nodes| nodes.len() >= KEPT_MAX);
        let may = |id| !(is_let(id) && has_enough(id)) && self.may_start(now, id, slot).is_some();
        let id = self.queue.next(|id| fits(&self.jobs[id].demand), fits, may)?;
        if is_let(id) {
            self.keep(id, slot);
            return None;
        }
        Some((id, self.may_start(now, id, slot)?))
    }

    /// Has a node get empty for a job, where it is to for none.
    fn keep(&mut self, id: JobId, slot: Slot) {
        let Node { key, kept_for, .. } = self.nodes.at(slot);
        let key = *key;
        if kept_for.is_none() {
            self.nodes.keep_for(&key, Some(id));
            self.kept.entry(id).or_default().push(key);
        }
    }

    /// Ends that nodes are to get empty for a job, which has started or ended.
    fn unkeep(&mut self, id: JobId) {
        for node in self.kept.remove(&id).unwrap_or_default() {
            self.nodes.keep_for(&node, None);
            self.unkept.push(node);
        }
    }

    fn forget_kept(&mut self, id: JobId, node: &PublicKey) {
        if let Some(nodes) = self.kept.get_mut(&id) {
            nodes.retain(|kept| kept != node);
            if nodes.is_empty() {
                self.kept.remove(&id);
            }
        }
    }

    fn fill_unkept(&mut self, now: Tick) {
        while let Some(node) = self.unkept.pop() {
            self.fill(now, &node);
        }
    }

    /// What is known of an open node for a queued job that it may have. One that was told to stop this very job and did not answer yet
    /// must not get it: its late report could not be told from a new one.
    fn may_start(&self, now: Tick, id: JobId, slot: Slot) -> Option<Found> {
        let found = Search { with_let: true, ..self.search(now, id, &self.jobs[&id]) }.of_one(slot);
        found.chosen.is_some().then_some(found)
    }

    /// Whether a node that takes jobs fits this one, and neither failed nor declined it.
    fn has_fresh_node(&self, job: &Job) -> bool {
        let fitting = self.nodes.classes().fitting(&job.demand).map(|(_, members)| Members::usable(members)).sum::<u32>();
        let given_back = job.given_back.iter().filter(|node| !job.failed.contains(node));
        let known = job.failed.iter().chain(given_back).chain(job.declined.keys().filter(|node| !job.had(node)));
        let stale = known.filter_map(|key| self.nodes.get(key)).filter(|node| self.is_usable(job, node)).count();
        u64::from(fitting) > stale as u64
    }

    fn is_usable(&self, job: &Job, node: &Node) -> bool {
        node.is_ready() && node.fits(&job.demand)
    }

    /// Whether no connected node fits and takes jobs, busy or not, and none that would is expected back.
    fn is_stranded(&self, demand: &Demand) -> bool {
        let has_any = self.nodes.classes().fitting(demand).any(|(_, members)| members.usable() > 0);
        !has_any && !self.grace.covers(demand)
    }

    fn no_node_fits(&self, job: &Job) -> Refusal {
        let counts = self.ruled_out(job, self.nodes.classes().unfit(&job.demand));
        Refusal::NoNodeFits { nodes: counts.into_iter().collect() }
    }

    /// How many nodes are ruled out for a job: those that its demand does, and those that fit it and may not have it all the same.
    fn ruled_out(&self, job: &Job, mut counts: BTreeMap<UnfitReason, u32>) -> BTreeMap<UnfitReason, u32> {
        let is_declining = |node: &&Node| node.declines(self.now, job) && self.is_usable(job, node);
        let by_owner: Vec<_> = self.nodes.decliners(self.now, &job.client).filter(is_declining).map(|node| node.key).collect();
        if !by_owner.is_empty() {
            counts.insert(UnfitReason::Declined, by_owner.len() as u32);
        }
        let declined = job.declined.iter().filter(|(node, _)| !by_owner.contains(node)).map(|(node, reason)| (*reason, node));
        let failed = job.failed.iter().filter(|node| !job.declined.contains_key(node) && !by_owner.contains(node));
        for (reason, node) in declined.chain(failed.map(|node| (UnfitReason::FailedBefore, node))) {
            if self.nodes.get(node).is_some_and(|node| self.is_usable(job, node)) {
                *counts.entry(reason).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Has the driver remember what kept jobs from starting whose wait began just now. Once for each event, as it may have let many wait.
    fn note_waits(&mut self) {
        let mut by_demand = BTreeMap::new();
        for (id, found) in std::mem::take(&mut self.waiting) {
            if !matches!(self.phase(id), Some(Phase::Queued { .. })) {
                continue;
            }
            for (slot, verdict) in found.verdicts() {
                self.nodes.count_verdict(slot, verdict);
            }
            let job = &self.jobs[&id];
            let shortage = job.shortage.clone().unwrap_or_else(|| self.shortage(job, &found, &mut by_demand));
            let (queued, ahead, clients) = self.queue.before(job);
            let [queued, ahead, clients] = [queued, ahead, clients].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
            let Shortage { unfit, full } = shortage.clone();
            self.job_mut(id).shortage = Some(shortage);
            self.actions.push_back(Action::Waits { job: id, wait: Box::new(Wait { unfit, full, queued, ahead, clients }) });
        }
    }

    /// What keeps nodes from having a queued job. `by_demand` is what the classes of nodes say, which many jobs have in common.
    fn shortage(&self, job: &Job, found: &Found, by_demand: &mut BTreeMap<Arc<Demand>, Fitting>) -> Shortage {
        let fitting = by_demand.entry(Arc::clone(&job.demand)).or_insert_with(|| self.fitting(&job.demand));
        let unfit = self.ruled_out_now(job, found, fitting);
        let by_job = unfit.iter().map(|(_, count)| count).sum::<u32>().saturating_sub(fitting.unfit.values().sum());
        Shortage { unfit, full: fitting.usable.saturating_sub(by_job) }
    }

    fn fitting(&self, demand: &Demand) -> Fitting {
        let classes = self.nodes.classes();
        let usable = classes.fitting(demand).map(|(_, members)| Members::usable(members)).sum();
        Fitting { unfit: classes.unfit(demand), usable }
    }

    fn ruled_out_now(&self, job: &Job, found: &Found, fitting: &Fitting) -> Vec<(UnfitReason, u32)> {
        let mut counts = self.ruled_out(job, fitting.unfit.clone());
        if !job.failed.is_empty() && !self.has_fresh_node(job) {
            // They may have it again.
            counts.remove(&UnfitReason::FailedBefore);
        }
        for reason in [UnfitReason::Deadline, UnfitReason::Reputation, UnfitReason::FailedBefore] {
            if let Some(seen) = found.unfit.get(&reason) {
                let count = counts.entry(reason).or_insert(0);
                *count = (*count).max(*seen);
            }
        }
        counts.into_iter().collect()
    }

    /// Starts a queued job if a node is open for it.
    fn place(&mut self, now: Tick, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let found = self.search(now, id, job).run();
        if found.chosen.is_some() {
            self.queue.serve(&self.jobs[&id], now);
            self.start(now, id, &found, Why::Best);
        } else if let Some((_, waiting)) = self.waiting.last_mut().filter(|(waiting, _)| *waiting == id) {
            *waiting = found;
        }
    }

    /// Starts queued jobs on a node as long as it has room.
    fn fill(&mut self, now: Tick, node: &PublicKey) {
        self.fill_until(now, node, None);
    }

    /// The same, until it is the turn of a job that may find a better node.
    fn fill_until(&mut self, now: Tick, node: &PublicKey, last: Option<JobId>) {
        // For whom it is to get empty now is seen anew.
        if let Some(job) = self.nodes.get(node).and_then(|node| node.kept_for) {
            self.nodes.keep_for(node, None);
            self.forget_kept(job, node);
        }
        while self.queue.len() > 0
            && self.nodes.is_open(node)
            && let Some((id, found)) = self.next_for(now, node).filter(|(id, _)| Some(*id) != last)
        {
            self.queue.serve(&self.jobs[&id], now);
            self.start(now, id, &found, Why::FirstFree);
        }
    }
}

/// The steps of a job.
impl Dispatcher {
    /// Leases a job to the node that was chosen. The job is not in the queue.
    fn start(&mut self, now: Tick, id: JobId, found: &Found, why: Why) {
        let (slot, chosen) = found.chosen.and_then(|at| found.candidates.get(at)).expect("a job starts where it was placed");
        let (slot, key, predicted) = (*slot, chosen.node, chosen.predicted);
        // It is looked up once: where many jobs are out, each time costs more than all else that happens here.
        let is_next = !self.nodes.summary(slot).is_open();
        let job = self.jobs.get_mut(&id).expect("only a known job is started");
        job.unlimit(&mut self.credit);
        let queued = match job.phase {
            Phase::Queued { since } => Some(since),
            Phase::Leased | Phase::Stopping => None,
        };
        job.waited_us += queued.map_or(0, |since| now.since(since));
        job.attempts += 1;
        let attempt = Attempt(job.attempts);
        job.phase = Phase::Leased;
        let decision = decision(job, &self.nodes, &self.histories, found, why, is_next);
        let fetched_bytes = fetched_bytes(std::iter::once(&job.ask.module).chain(&job.ask.fetched), slot, &self.nodes);
        let ahead = self.nodes.lease(slot, id, job.client, attempt, &predicted);
        let armed = Some(self.timers.arm(job.lease_deadline(now, &self.config), Timer::Lease(id, attempt)));
        let charged_us = self.queue.charge(&job.client, predicted.run_us.saturating_add(predicted.compile_us));
        job.charged_us += charged_us;
        let lease = Lease { node: key, attempt, since: now, predicted, fetched_bytes, ahead, queued, charged_us, armed };
        job.leases.push(lease);
        if let Some(before) = job.armed.take() {
            self.timers.disarm(&before);
        }
        if job.ask.may_hedge && why != Why::Hedge {
            let module = Short::of(&job.ask.module.digest);
            let unusual_us = self.histories.unusual_us(module, predicted.total_us()).max(self.config.hedge_min_us);
            job.armed = Some(self.timers.arm(now.after(unusual_us), Timer::Hedge(id)));
        }
        self.unkeep(id);
        self.remember(now, id, found, &decision);
        self.actions.push_back(Action::Start { job: id, attempt, node: key, decision });
    }

    /// Notes a decision, for those who ask why.
    fn remember(&mut self, now: Tick, id: JobId, found: &Found, decision: &Arc<Decision>) {
        for (slot, verdict) in found.verdicts() {
            self.nodes.count_verdict(slot, verdict);
        }
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.pop_front();
        }
        self.decisions.push_back(Recent { at: now, job: id, decision: Arc::clone(decision) });
    }

    /// Takes a job whose attempt came to nothing to another node, at once where one is open.
    fn try_again(&mut self, now: Tick, id: JobId, attempt: Attempt, cause: Cause) {
        let node = self.lease(id, attempt);
        self.set_back(now, id, attempt, cause);
        if matches!(self.phase(id), Some(Phase::Queued { .. })) {
            self.place_in_turn(now, id, node);
        }
    }

    /// Looks for a node for a job that had one. The slot that it left is whose turn it is; where others have room, nobody waits for that.
    fn place_in_turn(&mut self, now: Tick, id: JobId, left: Option<PublicKey>) {
        if let Some(left) = left {
            self.fill_until(now, &left, Some(id));
        }
        self.place(now, id);
    }

    /// Queues a job whose attempt came to nothing before its client's others, or ends it where it may not be tried again. Where another attempt of
    /// it is out, that one goes on alone.
    fn set_back(&mut self, now: Tick, id: JobId, attempt: Attempt, cause: Cause) {
        let attempts_max = self.config.attempts_max;
        let lease = self.take_lease(id, attempt);
        let job = self.job_mut(id);
        let setback = Setback { node: lease.node, cause };
        job.setbacks += 1;
        // What an owner does is no fault of the node's; and a connection that broke once says little of the job.
        let may_again = match setback.cause {
            Cause::NotVacated => true,
            Cause::Left => job.setbacks == 1,
            _ => false,
        };
        if may_again && matches!(setback.cause, Cause::Left) {
            job.left_by = Some(Box::new(lease.node));
        }
        let had = if may_again { &mut job.given_back } else { &mut job.failed };
        if !had.contains(&lease.node) {
            had.push(lease.node);
        }
        let words = setback.to_string();
        job.setback = Some(setback);
        if !job.leases.is_empty() {
            return;
        }
        if job.is_stopping() {
            return self.lose(id, format!("{words}, while the job was being cancelled"));
        }
        if job.setbacks >= attempts_max {
            return self.lose(id, words);
        }
        self.queue_again(now, id);
    }

    /// Puts a job into the queue that a node had, or should have had.
    fn queue_again(&mut self, now: Tick, id: JobId) {
        self.job_mut(id).shortage = None;
        self.queue_since(now, id, now);
    }

    /// The same, where its wait began then. What it waits for is told where that is not known.
    fn queue_since(&mut self, now: Tick, id: JobId, since: Tick) {
        self.job_mut(id).phase = Phase::Queued { since };
        self.queue.push(id, &self.jobs[&id]);
        self.arm_wait(now, id);
        if self.jobs[&id].shortage.is_none() {
            self.waiting.push((id, Found::default()));
        }
    }

    /// Takes back a hold on an attempt that is out.
    fn take_lease(&mut self, id: JobId, attempt: Attempt) -> Lease {
        let leases = &mut self.job_mut(id).leases;
        let at = leases.iter().position(|lease| lease.attempt == attempt).expect("only a lease that is out is taken back");
        let lease = leases.remove(at);
        if let Some(armed) = &lease.armed {
            self.timers.disarm(armed);
        }
        lease
    }

    /// Ends a queued job for which no node was found. One that had an attempt is not *refused*: its guest may have run.
    fn give_up(&mut self, id: JobId, refusal: Refusal) {
        match &self.jobs[&id].setback {
            None => self.refuse(id, refusal),
            Some(setback) => self.lose(id, format!("{setback}; then {refusal}")),
        }
    }

    fn refuse(&mut self, id: JobId, refusal: Refusal) {
        self.end(id);
        self.actions.push_back(Action::Refuse { job: id, refusal });
    }

    fn lose(&mut self, id: JobId, reason: String) {
        let job = self.end(id);
        // What was handed back was none.
        let attempts = job.attempts - job.handed_back;
        self.actions.push_back(Action::Lost { job: id, attempts, reason });
    }

    /// Forgets a job. What a node still holds of it stays with the node.
    fn end(&mut self, id: JobId) -> Box<Job> {
        self.disarm(id);
        self.unkeep(id);
        let mut job = self.jobs.remove(&id).expect("only a known job ends");
        for armed in job.leases.iter().filter_map(|lease| lease.armed.as_ref()) {
            self.timers.disarm(armed);
        }
        if matches!(job.phase, Phase::Queued { .. }) {
            self.queue.remove(&job);
        }
        job.unlimit(&mut self.credit);
        job
    }

    /// Replaces a job's deadline.
    fn arm(&mut self, id: JobId, at: Tick, timer: Timer) {
        self.disarm(id);
        let armed = self.timers.arm(at, timer);
        self.job_mut(id).armed = Some(armed);
    }

    fn disarm(&mut self, id: JobId) {
        if let Some(before) = self.job_mut(id).armed.take() {
            self.timers.disarm(&before);
        }
    }

    fn job_mut(&mut self, id: JobId) -> &mut Job {
        self.jobs.get_mut(&id).expect("a job in hand is known")
    }
}

/// What was known when an attempt was given to a node.
fn decision(job: &Job, nodes: &Nodes, histories: &Histories, found: &Found, why: Why, is_next: bool) -> Arc<Decision> {
    let estimate = histories.estimate(Short::of(&job.ask.module.digest), &job.ask.limits, job.ask.input_bytes);
    Arc::new(Decision {
        attempt: Attempt(job.attempts),
        is_hedge: why == Why::Hedge,
        waited_us: job.waited_us,
        prefer: job.ask.prefer,
        fuel: estimate.usage.fuel,
        is_fuel_known: estimate.is_known,
        is_first_free: why == Why::FirstFree,
        is_next,
        candidates: found.candidates.iter().map(|(_, candidate)| *candidate).collect(),
        unfit: found.unfit.iter().map(|(reason, count)| (*reason, *count)).collect(),
        full: nodes.full_count() + found.let_count() - u32::from(is_next),
        others: nodes.open_count().saturating_sub(found.seen_count() + found.let_count() + found.unseen),
    })
}

/// The refusal of a job that cannot end by its deadline; `needed_us` is what it would take.
fn deadline_missed(now: Tick, job: &Job, needed_us: u64) -> Refusal {
    let left_us = job.deadline.map_or(0, |deadline| deadline.since(now));
    Refusal::DeadlineMissed { left_ms: left_us / 1_000, needed_ms: needed_us.div_ceil(1_000) }
}
