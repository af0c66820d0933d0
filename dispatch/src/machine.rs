use std::collections::{BTreeMap, VecDeque};

use adit_protocol::{Attempt, AttemptFailure, JobId, NodeOffer, PublicKey, Refusal, UnfitReason};

use crate::grace::Grace;
use crate::job::{Cause, DECLINED_MAX, Job, Setback};
use crate::node::{Node, NodeView, Nodes};
use crate::queue::Queue;
use crate::request::Demand;
use crate::timer::{Timer, Timers};
use crate::{Action, Config, Event, Lease, Phase, Request, Tick};

/// Decides which job runs where. See the [crate's page](crate) for what it promises and costs.
///
/// A driver calls [`handle`](Self::handle) or [`handle_timeout`](Self::handle_timeout), then drains
/// [`poll_action`](Self::poll_action), then arms its clock by [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Dispatcher {
    config: Config,
    nodes: Nodes,
    grace: Grace,
    /// The jobs that have not ended.
    jobs: BTreeMap<JobId, Job>,
    jobs_submitted: u64,
    queue: Queue,
    timers: Timers,
    actions: VecDeque<Action>,
}

impl Dispatcher {
    /// A dispatcher without nodes and jobs.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            nodes: Nodes::default(),
            grace: Grace::default(),
            jobs: BTreeMap::new(),
            jobs_submitted: 0,
            queue: Queue::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Tick, event: Event) {
        if self.grace.open() {
            self.timers.arm(now.after(self.config.join_grace_us), Timer::Opening);
        }
        match event {
            Event::NodeJoined { node, offer } => self.node_joined(now, node, offer),
            Event::NodeLeft { node } => self.node_left(now, node, || Cause::Left),
            Event::NodeExpelled { node, fault } => self.node_left(now, node, || Cause::Failed(fault.clone())),
            Event::NodeRtt { node, rtt_us } => self.nodes.set_rtt(&node, rtt_us),
            Event::Submitted { job, request } => self.submitted(now, job, *request),
            Event::Cancelled { job } => self.cancelled(now, job),
            Event::AttemptFinished { node, job, attempt } => self.finished(now, node, job, attempt),
            Event::AttemptFailed { node, job, attempt, failure } => self.failed(now, node, job, attempt, failure),
            Event::Declined { node, job, attempt } => self.declined(now, node, job, attempt),
        }
    }

    /// Takes in that time went by. Does nothing where no deadline was reached, so that an extra call is harmless.
    pub fn handle_timeout(&mut self, now: Tick) {
        let mut is_grace_shorter = false;
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Opening => self.grace.end_opening(),
                Timer::Return(node) => _ = self.grace.end_return(&node),
                Timer::Queue(job) => self.waited_too_long(now, job),
                Timer::Lease(job) => self.lease_expired(now, job),
                Timer::Stop(job) => self.stop_unanswered(job),
            }
            is_grace_shorter |= matches!(timer, Timer::Opening | Timer::Return(_));
        }
        // Once, and not per node: when a network splits, thousands leave at a time.
        if is_grace_shorter {
            self.give_up_stranded();
        }
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
        let lease = self.jobs.get(&job)?.lease()?;
        (lease.attempt == attempt).then_some(lease.node)
    }

    /// What a node is at, by job: also attempts that were taken back and of which it has not said yet that it let go.
    pub fn leases(&self, node: &PublicKey) -> impl Iterator<Item = (JobId, Attempt)> {
        self.nodes.get(node).into_iter().flat_map(|node| node.leases())
    }

    /// Where a job stands; nothing where it has ended or was never submitted.
    pub fn phase(&self, job: JobId) -> Option<Phase> {
        self.jobs.get(&job).map(|job| job.phase)
    }

    /// How long a job waited before its attempts, in microseconds in all; a wait that goes on is not counted.
    pub fn waited_us(&self, job: JobId) -> Option<u64> {
        self.jobs.get(&job).map(|job| job.waited_us)
    }

    /// Jobs that wait for a node.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What the connected nodes offer that fit a request, busy or not.
    pub fn fitting(&self, request: Request) -> impl Iterator<Item = &NodeOffer> {
        let demand = Demand::from(request);
        self.nodes.iter().map(|(_, node)| &node.offer).filter(move |offer| demand.unfit(offer).is_none())
    }

    /// The connected nodes, by key.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.iter().map(|(key, node)| node.view(*key))
    }
}

/// What happens to nodes.
impl Dispatcher {
    fn node_joined(&mut self, now: Tick, key: PublicKey, offer: NodeOffer) {
        self.disconnect(now, key, || Cause::Left);
        self.nodes.join(key, offer);
        self.place_retries(now);
        self.fill(now, &key);
    }

    fn node_left(&mut self, now: Tick, key: PublicKey, cause: impl Fn() -> Cause) {
        self.disconnect(now, key, cause);
        self.place_retries(now);
    }

    /// Queues what the node held. Nothing is started: where the node is being replaced, it is to be among the candidates.
    fn disconnect(&mut self, now: Tick, key: PublicKey, cause: impl Fn() -> Cause) {
        let Some(node) = self.nodes.leave(&key) else { return };
        for (job, attempt) in node.leases() {
            if self.lease(job, attempt) == Some(key) {
                self.set_back(now, job, cause());
            }
        }
        self.await_return(now, key, node.offer);
    }

    /// Not only the jobs of the node that left: one that failed on all others may be tried there again, now that it is gone.
    fn place_retries(&mut self, now: Tick) {
        for job in self.queue.retries().collect::<Vec<_>>() {
            self.place(now, job);
        }
    }

    fn await_return(&mut self, now: Tick, key: PublicKey, offer: NodeOffer) {
        if let Some(before) = self.grace.end_return(&key) {
            self.timers.disarm(&before);
        }
        let armed = self.timers.arm(now.after(self.config.join_grace_us), Timer::Return(key));
        self.grace.await_return(key, offer, armed);
    }
}

/// What clients want.
impl Dispatcher {
    fn submitted(&mut self, now: Tick, id: JobId, request: Request) {
        if self.jobs.contains_key(&id) {
            return;
        }
        self.jobs_submitted += 1;
        let job = Job::new(self.jobs_submitted, now, request);
        if let Some(node) = self.pick(id, &job) {
            self.jobs.insert(id, job);
            self.start(now, id, node);
        } else if let Err(refusal) = self.admit(&job) {
            self.actions.push_back(Action::Refuse { job: id, refusal });
        } else {
            self.queue.push(id, &job);
            let deadline = job.queue_deadline(now);
            self.jobs.insert(id, job);
            self.arm(id, deadline, Timer::Queue(id));
        }
    }

    fn admit(&self, job: &Job) -> Result<(), Refusal> {
        if self.is_stranded(&job.demand) {
            return Err(self.no_node_fits(job));
        }
        self.queue.admit(&job.client, &self.config)
    }

    fn cancelled(&mut self, now: Tick, id: JobId) {
        match self.phase(id) {
            Some(Phase::Queued { .. }) => {
                self.end(id);
                self.actions.push_back(Action::CancelledInQueue { job: id });
            }
            Some(Phase::Leased(lease)) => {
                self.job_mut(id).phase = Phase::Stopping(lease);
                self.arm(id, now.after(self.config.cancel_grace_us), Timer::Stop(id));
                self.actions.push_back(Action::Stop { job: id, attempt: lease.attempt, node: lease.node });
            }
            Some(Phase::Stopping(_)) | None => {}
        }
    }
}

/// What nodes report.
impl Dispatcher {
    fn finished(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt) {
        if !self.nodes.release(&node, id, attempt) {
            return;
        }
        if self.lease(id, attempt) == Some(node) {
            // A run that was cut short says nothing of how long others take.
            let job = self.end(id);
            let whole = job.lease().filter(|_| matches!(job.phase, Phase::Leased(_)));
            self.nodes.count_done(&node, now, whole);
        }
        self.fill(now, &node);
    }

    fn failed(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt, failure: AttemptFailure) {
        if !self.nodes.release(&node, id, attempt) {
            return;
        }
        if self.lease(id, attempt) == Some(node) {
            self.attempt_failed(now, id, failure);
        }
        self.fill(now, &node);
    }

    fn declined(&mut self, now: Tick, node: PublicKey, id: JobId, attempt: Attempt) {
        if !self.nodes.release(&node, id, attempt) {
            return;
        }
        if self.lease(id, attempt) == Some(node) {
            self.attempt_declined(now, id, node);
        }
        self.fill(now, &node);
    }

    fn attempt_declined(&mut self, now: Tick, id: JobId, node: PublicKey) {
        let job = self.job_mut(id);
        if matches!(job.phase, Phase::Stopping(_)) {
            self.end(id);
            return self.actions.push_back(Action::CancelledInQueue { job: id });
        }
        job.declined.push(node);
        if job.declined.len() > DECLINED_MAX {
            let refusal = self.no_node_fits(&self.jobs[&id]);
            return self.refuse(id, refusal);
        }
        job.attempts -= 1;
        job.phase = Phase::Queued { since: now };
        let deadline = job.queue_deadline(now);
        self.queue.push(id, &self.jobs[&id]);
        self.arm(id, deadline, Timer::Queue(id));
        self.place(now, id);
    }

    fn attempt_failed(&mut self, now: Tick, id: JobId, failure: AttemptFailure) {
        let is_stopping = matches!(self.phase(id), Some(Phase::Stopping(_)));
        match failure {
            AttemptFailure::ModuleInvalid(why) => self.refuse(id, Refusal::ModuleInvalid(why)),
            AttemptFailure::BlobMissing(digest) => self.refuse(id, Refusal::InputMissing(digest)),
            AttemptFailure::Withdrawn if is_stopping => {
                self.end(id);
                self.actions.push_back(Action::CancelledInQueue { job: id });
            }
            AttemptFailure::Withdrawn | AttemptFailure::Declined(_) | AttemptFailure::Preempted(_) => {
                self.try_again(now, id, Cause::GaveBack);
            }
            AttemptFailure::Node(why) => self.try_again(now, id, Cause::Failed(why)),
        }
    }
}

/// What time brings.
impl Dispatcher {
    fn waited_too_long(&mut self, now: Tick, id: JobId) {
        let Phase::Queued { since } = self.jobs[&id].phase else {
            unreachable!("a job that does not wait has no queue deadline")
        };
        let waited_ms = now.since(since) / 1_000;
        self.give_up(id, Refusal::QueueTimeout { waited_ms });
    }

    /// The slot stays taken until the node reports or leaves: it may well be busy with this job still.
    fn lease_expired(&mut self, now: Tick, id: JobId) {
        let Lease { node, attempt, .. } = *self.jobs[&id].lease().expect("a job without a lease has no lease deadline");
        self.actions.push_back(Action::Stop { job: id, attempt, node });
        self.try_again(now, id, Cause::Expired);
    }

    fn stop_unanswered(&mut self, id: JobId) {
        let lease = self.jobs[&id].lease().expect("a job without a lease has no stop deadline");
        let setback = Setback { node: lease.node, cause: Cause::Unanswered };
        self.lose(id, setback.to_string());
    }

    fn give_up_stranded(&mut self) {
        let retries = self.queue.retries().filter(|id| self.is_stranded(&self.jobs[id].demand));
        let mut stranded: Vec<JobId> = retries.collect();
        stranded.extend(self.queue.stranded(|demand| self.is_stranded(demand)));
        for id in stranded {
            let refusal = self.no_node_fits(&self.jobs[&id]);
            self.give_up(id, refusal);
        }
    }
}

/// Placement.
impl Dispatcher {
    /// The open node that will start the job soonest; nothing where no open node may.
    fn pick(&self, id: JobId, job: &Job) -> Option<PublicKey> {
        self.nodes.open().find(|(key, node)| self.may_start(id, job, key, node)).map(|(key, _)| *key)
    }

    /// The job that goes to an open node next.
    fn next_for(&self, key: &PublicKey) -> Option<JobId> {
        let node = self.nodes.get(key)?;
        let retry = self.queue.retries().find(|id| self.may_start(*id, &self.jobs[id], key, node));
        let may = |demand: &Demand, id| {
            demand.unfit(&node.offer).is_none() && !node.holds(id) && !self.jobs[&id].declined.contains(key)
        };
        retry.or_else(|| self.queue.next(may))
    }

    /// A node that was told to stop this very job and did not answer yet must not get it: its late report could not be told
    /// from a new one.
    fn may_start(&self, id: JobId, job: &Job, key: &PublicKey, node: &Node) -> bool {
        self.unfit(job, key, node).is_none() && !node.holds(id)
    }

    /// The first thing that rules a node out for a job. That it failed the job before counts only while there is one that did not.
    fn unfit(&self, job: &Job, key: &PublicKey, node: &Node) -> Option<UnfitReason> {
        let failed_before = || job.failed.contains(key) && self.has_fresh_node(job);
        if job.declined.contains(key) {
            return Some(UnfitReason::Price);
        }
        job.demand.unfit(&node.offer).or_else(|| failed_before().then_some(UnfitReason::FailedBefore))
    }

    fn has_fresh_node(&self, job: &Job) -> bool {
        let fits = |key, node: &Node| {
            !job.failed.contains(key) && !job.declined.contains(key) && job.demand.unfit(&node.offer).is_none()
        };
        self.nodes.iter().any(|(key, node)| fits(key, node))
    }

    /// Whether no connected node fits, busy or not, and none that would is expected back.
    fn is_stranded(&self, demand: &Demand) -> bool {
        !self.nodes.iter().any(|(_, node)| demand.unfit(&node.offer).is_none()) && !self.grace.covers(demand)
    }

    fn no_node_fits(&self, job: &Job) -> Refusal {
        let mut counts = BTreeMap::new();
        for (key, node) in self.nodes.iter() {
            if let Some(reason) = self.unfit(job, key, node) {
                *counts.entry(reason).or_insert(0) += 1;
            }
        }
        Refusal::NoNodeFits { nodes: counts.into_iter().collect() }
    }

    /// Starts a queued job if a node is open for it.
    fn place(&mut self, now: Tick, id: JobId) {
        if let Some(node) = self.pick(id, &self.jobs[&id]) {
            self.queue.serve(&self.jobs[&id], now);
            self.start(now, id, node);
        }
    }

    /// Starts queued jobs on a node as long as it has room.
    fn fill(&mut self, now: Tick, node: &PublicKey) {
        while self.nodes.is_open(node)
            && let Some(id) = self.next_for(node)
        {
            self.queue.serve(&self.jobs[&id], now);
            self.start(now, id, *node);
        }
    }
}

/// The steps of a job.
impl Dispatcher {
    /// Leases a job to a node. The job is not in the queue.
    fn start(&mut self, now: Tick, id: JobId, node: PublicKey) {
        let job = self.jobs.get_mut(&id).expect("only a known job is started");
        let Phase::Queued { since } = job.phase else { unreachable!("only a job that nobody holds is started") };
        job.waited_us += now.since(since);
        job.attempts += 1;
        let attempt = Attempt(job.attempts);
        let ahead = self.nodes.lease(&node, id, attempt);
        job.phase = Phase::Leased(Lease { node, attempt, since: now, ahead });
        let deadline = job.lease_deadline(now, &self.config);
        self.arm(id, deadline, Timer::Lease(id));
        self.actions.push_back(Action::Start { job: id, attempt, node });
    }

    /// Takes a job whose attempt came to nothing to another node, at once where one is open.
    fn try_again(&mut self, now: Tick, id: JobId, cause: Cause) {
        self.set_back(now, id, cause);
        if self.jobs.contains_key(&id) {
            self.place(now, id);
        }
    }

    /// Queues a job whose attempt came to nothing before all others, or ends it where it may not be tried again.
    fn set_back(&mut self, now: Tick, id: JobId, cause: Cause) {
        let attempts_max = self.config.attempts_max;
        let job = self.job_mut(id);
        let lease = *job.lease().expect("only a leased job has a setback");
        let setback = Setback { node: lease.node, cause };
        if matches!(job.phase, Phase::Stopping(_)) {
            return self.lose(id, format!("{setback}, while the job was being cancelled"));
        }
        if job.attempts >= attempts_max {
            return self.lose(id, setback.to_string());
        }
        if !job.failed.contains(&lease.node) {
            job.failed.push(lease.node);
        }
        job.setback = Some(setback);
        job.phase = Phase::Queued { since: now };
        let deadline = job.queue_deadline(now);
        self.queue.push(id, &self.jobs[&id]);
        self.arm(id, deadline, Timer::Queue(id));
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
        let attempts = self.end(id).attempts;
        self.actions.push_back(Action::Lost { job: id, attempts, reason });
    }

    /// Forgets a job. What a node still holds of it stays with the node.
    fn end(&mut self, id: JobId) -> Job {
        let job = self.jobs.remove(&id).expect("only a known job ends");
        if let Some(armed) = &job.armed {
            self.timers.disarm(armed);
        }
        if matches!(job.phase, Phase::Queued { .. }) {
            self.queue.remove(&job);
        }
        job
    }

    /// Replaces a job's deadline.
    fn arm(&mut self, id: JobId, at: Tick, timer: Timer) {
        if let Some(before) = self.job_mut(id).armed.take() {
            self.timers.disarm(&before);
        }
        let armed = self.timers.arm(at, timer);
        self.job_mut(id).armed = Some(armed);
    }

    fn job_mut(&mut self, id: JobId) -> &mut Job {
        self.jobs.get_mut(&id).expect("a job in hand is known")
    }
}
