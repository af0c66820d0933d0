//! The gateway: as dull a driver of the real dispatcher and the real ledger as there can be. Where it repeats what the product's
//! `gateway/src/core.rs` does, the steps stand in the same order: reserve, hold, lease, check the receipt, tell the dispatcher, settle, void.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;

use adit_dispatch::{Action, Config, Dispatcher, Event, Report, Request, Tick};
use adit_ledger::{
    Account, Appended, Applied, BATCH_OPERATIONS_MAX, Entry, Hold, Ledger, Operation, Reader, Refused, StoreError,
};
use adit_protocol::{
    Attempt, AttemptFailure, BlobRef, ClientMessage, Digest, GatewayToClient, GatewayToNode, IdempotencyKey, JobEvent, JobId,
    JobResult, JobSpec, Leaf, Microcredits, NodeMessage, NodeOffer, NodeState, PublicKey, Refusal, Settlement, SignedReceipt,
    SignedSettlement, Terms, UnixMillis, UnpaidAttempt, VerifiedReceipt, VoidReason, sign_settlements,
};

use crate::disk::Disk;
use crate::env::{Env, GatewayAlarm, Greeting, Happening, LinkId, Message, Side};
use crate::plan::{Fault, SECOND};
use crate::points::Point;
use crate::world::gateway_key;

/// How long a hold may wait for an operation that it can go to the ledger with.
const HOLD_DELAY_US: u64 = 250_000;

/// How often holds are looked for that nobody ended.
const EXPIRY_INTERVAL_US: u64 = 10 * SECOND;

/// How long a hold lasts: longer than any run of the simulation.
const HOLD_MS: u64 = 24 * 60 * 60 * 1_000;

/// How far a node's wall clock may be from the gateway's.
pub(crate) const STARTED_MARGIN_MS: u64 = 24 * 60 * 60 * 1_000;

/// What all attempts of a job may cost together, in times of the dearest of them, where its client set no price limit.
pub(crate) const ATTEMPTS_WORTH: u64 = 3;

/// Actions that one happening brings about, at most: a dispatcher that decides on more goes round in circles.
const ACTIONS_MAX: usize = 1_000_000;

/// How often the paths to nodes are measured.
const PATHS_INTERVAL_US: u64 = SECOND;

/// The dispatcher's bounds in all runs; its times are short, so that what takes minutes in the product takes seconds here.
pub(crate) fn dispatch_config(env: &Env) -> Config {
    Config {
        seed: env.plan.seed,
        queue_max: env.plan.queue_max,
        queue_per_client_max: env.plan.queue_per_client_max,
        lease_grace_us: 2 * SECOND,
        cancel_grace_us: 2 * SECOND,
        ..Config::default()
    }
}

/// One process of the gateway, from start to crash.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) life: u64,
    clock: Clock,
    pub(crate) dispatcher: Dispatcher,
    armed: Option<Tick>,
    ledger: Ledger,
    pub(crate) reader: Reader,
    unrecorded: VecDeque<Operation>,
    /// Payments and ends of each job that are not on the disk yet. While there are some, the job is not forgotten.
    uncommitted: BTreeMap<JobId, usize>,
    /// What is being written.
    batch: Option<Vec<Operation>>,
    purses: BTreeMap<PublicKey, Purse>,
    jobs: BTreeMap<JobId, Job>,
    /// Ended jobs, the oldest first.
    ended: VecDeque<JobId>,
    nodes: BTreeMap<PublicKey, NodeLink>,
    clients: BTreeMap<LinkId, PublicKey>,
    /// Why the process ends.
    pub(crate) failed: Option<String>,
}

/// A clock that runs fast or slow, from the process's start.
#[derive(Debug, Clone, Copy)]
struct Clock {
    began: u64,
    /// What the wall clock said then.
    began_wall_ms: u64,
    ppm: i64,
}

#[derive(Debug)]
struct Purse {
    available: i128,
    users: usize,
}

#[derive(Debug)]
struct NodeLink {
    link: LinkId,
    offer: NodeOffer,
    rtt_us: u64,
}

#[derive(Debug)]
struct Job {
    client: PublicKey,
    spec_digest: Digest,
    stage: Stage,
    /// What its attempts were, those of earlier submissions among them.
    past: Past,
    followers: Vec<LinkId>,
}

/// What there was of a job's attempts.
#[derive(Debug, Default, Clone, Copy)]
struct Past {
    /// The highest of their numbers.
    last_attempt: u32,
    /// What was paid for those that did not end it.
    paid: Microcredits,
    /// The most that one of them could cost.
    dearest: Microcredits,
}

#[derive(Debug)]
enum Stage {
    Live(Live),
    Done { result: JobResult, settlement: Option<SignedSettlement>, contest: Option<Box<Contest>> },
    Failed(JobResult),
}

#[derive(Debug)]
struct Live {
    spec: Box<JobSpec>,
    running: Option<(PublicKey, Attempt)>,
    /// Attempts that are out.
    out: Vec<Out>,
    reserved: Microcredits,
    held: Option<Microcredits>,
    paid: Microcredits,
    /// The most that one of its attempts could cost.
    dearest: Microcredits,
}

/// An attempt that is out, with the most that it can cost.
#[derive(Debug, Clone)]
struct Out {
    attempt: Attempt,
    node: PublicKey,
    promised: Microcredits,
    gpu_class: Option<String>,
    since: Tick,
}

/// A job that one of two attempts has ended, and of which the other has not come yet.
#[derive(Debug)]
struct Contest {
    live: Live,
    winner: Box<Entry>,
}

impl Stage {
    fn live_mut(&mut self) -> Option<&mut Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Done { contest, .. } => contest.as_mut().map(|contest| &mut contest.live),
            Self::Failed(_) => None,
        }
    }
}

impl Clock {
    fn tick(self, now: u64) -> Tick {
        let elapsed = i128::from(now - self.began);
        // The origin is any: not zero, so that nobody takes it for one.
        Tick(5 + (elapsed + elapsed * i128::from(self.ppm) / 1_000_000) as u64)
    }

    /// The time of day as if nobody had set the clock since the start.
    fn undisturbed(self, now: u64) -> UnixMillis {
        UnixMillis(self.began_wall_ms + self.tick(now).since(self.tick(self.began)) / 1_000)
    }

    /// The first moment at which this clock shows `tick`.
    fn moment(self, tick: Tick) -> u64 {
        let shown = i128::from(tick.0.saturating_sub(5));
        let scale = 1_000_000 + i128::from(self.ppm);
        self.began + (shown * 1_000_000).div_euclid(scale) as u64 + 2
    }
}

impl Gateway {
    /// Opens the ledger on a disk, states the terms and gives back what is held for jobs of which this process knows nothing.
    ///
    /// # Errors
    /// Where the ledger does not open, which after a crash of this disk it must.
    pub(crate) fn start(env: &mut Env, life: u64, disk: &Disk, weights: &[(PublicKey, u32)]) -> Result<Self, Box<dyn Error>> {
        let mut ledger = Ledger::open_with(disk.backend(), gateway_key().public())?;
        // Before its first commit: after one that failed, redb reads only what it happens to have in memory.
        env.shadow.check_ledger(ledger.reader());
        let time = UnixMillis(env.gateway_wall_ms());
        let terms = Operation::State(Terms { gateway: ledger.gateway(), fee_ppm: env.plan.fee_ppm, time });
        let holds = ledger.reader().holds()?;
        if !holds.is_empty() {
            env.hit(Point::RestartedWithHolds);
        }
        let voids = holds.iter().map(|hold| Operation::Void {
            job: hold.job,
            customer: hold.customer,
            reason: VoidReason::Restarted,
            time,
        });
        let operations: Vec<Operation> = std::iter::once(terms).chain(voids).collect();
        // One whose disk fails it now does not start.
        for refused in ledger.apply(&operations)?.into_iter().filter_map(Result::err) {
            env.shadow.fault(format!("a starting gateway was refused: {refused}"));
        }
        env.shadow.committed(ledger.reader(), env.now);
        let ppm = if env.plan.has(Fault::Clocks) { env.chance.within(0, 1_000) as i64 - 500 } else { 0 };
        let mut gateway = Self {
            life,
            clock: Clock { began: env.now, began_wall_ms: time.0, ppm },
            dispatcher: Dispatcher::new(dispatch_config(env)),
            armed: None,
            reader: ledger.reader().clone(),
            ledger,
            unrecorded: VecDeque::new(),
            uncommitted: BTreeMap::new(),
            batch: None,
            purses: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ended: VecDeque::new(),
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            failed: None,
        };
        let now = gateway.clock.tick(env.now);
        env.shadow.begin(dispatch_config(env), now);
        gateway.dispatcher.open(now);
        for (client, weight) in weights {
            gateway.tell_dispatcher(env, Event::ClientWeight { client: *client, weight: *weight });
        }
        gateway.follow(env);
        env.note(format_args!("gateway starts its life {life} with {} holds to give back", holds.len()));
        gateway.alarm(env, PATHS_INTERVAL_US, GatewayAlarm::Paths);
        gateway.alarm(env, HOLD_DELAY_US, GatewayAlarm::HandOver);
        gateway.alarm(env, EXPIRY_INTERVAL_US, GatewayAlarm::Expire);
        Ok(gateway)
    }

    fn alarm(&self, env: &mut Env, us: u64, alarm: GatewayAlarm) {
        env.after(us, Happening::Gateway { life: self.life, alarm });
    }

    pub(crate) fn handle_alarm(&mut self, env: &mut Env, alarm: GatewayAlarm) {
        match alarm {
            GatewayAlarm::Timeout => self.handle_timeout(env),
            GatewayAlarm::Paths => {
                let keys: Vec<PublicKey> = self.nodes.keys().copied().collect();
                keys.into_iter().for_each(|key| self.node_path(env, key));
                self.alarm(env, PATHS_INTERVAL_US, GatewayAlarm::Paths);
            }
            GatewayAlarm::HandOver => {
                self.hand_over(env);
                self.alarm(env, HOLD_DELAY_US, GatewayAlarm::HandOver);
            }
            GatewayAlarm::Commit => self.commit(env),
            GatewayAlarm::Expire => {
                self.record(env, Operation::Expire { now: self.clock.undisturbed(env.now) });
                self.alarm(env, EXPIRY_INTERVAL_US, GatewayAlarm::Expire);
            }
        }
    }

    fn handle_timeout(&mut self, env: &mut Env) {
        let now = self.clock.tick(env.now);
        self.armed = None;
        env.shadow.timeout(now, &self.dispatcher);
        self.dispatcher.handle_timeout(now);
        self.act(env);
        self.arm(env);
    }

    fn dispatch(&mut self, env: &mut Env, event: Event) {
        self.tell_dispatcher(env, event);
        self.follow(env);
    }

    fn tell_dispatcher(&mut self, env: &mut Env, event: Event) {
        let now = self.clock.tick(env.now);
        if let Some(line) = line_of_event(&event) {
            env.note(format_args!("- {line}"));
        }
        env.shadow.event(now, &event, &self.dispatcher, &mut env.points);
        self.dispatcher.handle(now, event);
    }

    fn follow(&mut self, env: &mut Env) {
        self.act(env);
        self.arm(env);
    }

    fn arm(&mut self, env: &mut Env) {
        if let Some(next) = self.dispatcher.poll_timeout()
            && self.armed.is_none_or(|armed| next < armed)
        {
            self.armed = Some(next);
            let at = self.clock.moment(next);
            env.at(at, Happening::Gateway { life: self.life, alarm: GatewayAlarm::Timeout });
        }
    }

    /// Carries out what the dispatcher decided.
    fn act(&mut self, env: &mut Env) {
        let now = self.clock.tick(env.now);
        let mut actions = 0;
        while let Some(action) = self.dispatcher.poll_action() {
            actions += 1;
            if actions > ACTIONS_MAX {
                return env.shadow.fault(format!("{ACTIONS_MAX} actions and no end, the last of them {}", line_of(&action)));
            }
            env.trace.note(env.now, format_args!("{}", line_of(&action)));
            env.shadow.action(now, &action, &self.dispatcher, &mut env.points);
            match action {
                Action::Start { job, attempt, node, .. } => self.start_attempt(env, job, attempt, node),
                // Who asks why is told of it, and nobody asks here.
                Action::Waits { .. } => {}
                Action::Stop { job, attempt, node } => self.tell_node(env, node, GatewayToNode::Cancel { job, attempt }),
                Action::Abandon { job, attempt, .. } => self.loser_gone(env, job, attempt),
                Action::Refuse { job, refusal } => self.fail(env, job, JobResult::Refused(refusal)),
                Action::CancelledInQueue { job } => self.fail(env, job, JobResult::CancelledInQueue),
                Action::Lost { job, attempts, reason } => self.fail(env, job, JobResult::NodeLost { attempts, reason }),
            }
        }
        env.shadow.check(now, &self.dispatcher, &mut env.points);
    }

    fn start_attempt(&mut self, env: &mut Env, id: JobId, attempt: Attempt, key: PublicKey) {
        if let Err((affordable, is_all_it_allows)) = self.put_aside(env, id, attempt, key) {
            env.hit(Point::DeclinedForPrice);
            return self.tell_dispatcher(env, Event::Declined { node: key, job: id, attempt, affordable, is_all_it_allows });
        }
        let Some(job) = self.jobs.get_mut(&id) else { return env.shadow.fault(format!("job {id} was started and is not known")) };
        let Stage::Live(live) = &mut job.stage else { return env.shadow.fault(format!("job {id} was started and has ended")) };
        live.running = Some((key, attempt));
        job.past.last_attempt = job.past.last_attempt.max(attempt.0);
        let (client, spec) = (job.client, live.spec.clone());
        env.shadow.leased(id, key);
        self.tell_node(env, key, GatewayToNode::Lease { job: id, attempt, client, spec, input: None });
        self.tell(env, id, &JobEvent::Started { node: key, attempt });
    }

    /// Has the ledger hold the most that an attempt can cost on its node, beside what others that are out can; else says how much it may cost, and whether
    /// that is all that the job allows.
    fn put_aside(&mut self, env: &mut Env, id: JobId, attempt: Attempt, node: PublicKey) -> Result<(), (Microcredits, bool)> {
        let since = self.clock.tick(env.now);
        let (Some(job), Some(peer)) = (self.jobs.get_mut(&id), self.nodes.get(&node)) else { return Ok(()) };
        let Stage::Live(live) = &mut job.stage else { return Ok(()) };
        // Those whose node was lost promise nothing any more.
        live.out.retain(|out| self.dispatcher.lease(id, out.attempt) == Some(out.node));
        let (client, reserved, limits) = (job.client, live.reserved, live.spec.limits);
        let promised = peer.offer.price.cost_max(&limits, live.spec.bytes_in().0).unwrap_or(Microcredits(u64::MAX));
        let gpu_class = live.spec.gpu.and(peer.offer.gpu.as_ref()).map(|gpu| gpu.class.clone());
        let others = live.out.iter().fold(0u64, |sum, out| sum.saturating_add(out.promised.0));
        let needed = Microcredits(others.saturating_add(promised.0));
        let dearest = live.dearest.max(promised);
        let most = live.spec.max_price.unwrap_or(Microcredits(dearest.0.saturating_mul(ATTEMPTS_WORTH)));
        // What costs nothing is within any limit: a gateway before may have known of a dearer attempt.
        if promised.0 > 0 && needed.0.saturating_add(live.paid.0) > most.0 {
            if live.spec.max_price.is_none() {
                env.hit(Point::SpentEnough);
            }
            return Err((Microcredits(most.0.saturating_sub(live.paid.0).saturating_sub(others)), others == 0));
        }
        if let Some(more) = needed.0.checked_sub(reserved.0).filter(|more| *more > 0) {
            let available = self.available(&client).unwrap_or(0);
            if available < i128::from(more) {
                let payable = i128::from(reserved.0) + available - i128::from(others);
                return Err((Microcredits(payable.clamp(0, u64::MAX.into()) as u64), false));
            }
            self.add(&client, -i128::from(more));
        }
        let Some(Job { stage: Stage::Live(live), past, .. }) = self.jobs.get_mut(&id) else { return Ok(()) };
        live.reserved = reserved.max(needed);
        (live.dearest, past.dearest) = (dearest, dearest);
        live.out.push(Out { attempt, node, promised, gpu_class, since });
        if live.held.is_none_or(|held| held < needed) {
            if live.held.is_some() {
                env.points.hit(Point::HoldRaised);
            }
            live.held = Some(needed);
            let expires = UnixMillis(self.clock.undisturbed(env.now).0 + HOLD_MS);
            self.unrecorded.push_back(Operation::Hold(Hold { job: id, customer: client, amount: needed, expires }));
        }
        Ok(())
    }

    /// Adds to what a client can pay. Jobs of it that wait for that are tried when the dispatcher is followed next.
    fn refund(&mut self, env: &mut Env, client: PublicKey, amount: i128) {
        self.add(&client, amount);
        if amount > 0 {
            self.tell_dispatcher(env, Event::Funded { client });
        }
    }

    /// Ends a job that came to no outcome.
    fn fail(&mut self, env: &mut Env, id: JobId, result: JobResult) {
        self.tell(env, id, &JobEvent::Ended(result.clone()));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.followers.clear();
        let Stage::Live(live) = std::mem::replace(&mut job.stage, Stage::Failed(result.clone())) else {
            return env.shadow.fault(format!("job {id} ended a second time"));
        };
        let customer = job.client;
        self.refund(env, customer, live.reserved.0.into());
        if live.held.is_none() {
            self.release(&customer);
        } else {
            let reason = match result {
                JobResult::CancelledInQueue => VoidReason::Cancelled,
                JobResult::NodeLost { .. } => VoidReason::NodesLost,
                JobResult::Refused(_) | JobResult::Done { .. } => VoidReason::Refused,
            };
            self.record(env, Operation::Void { job: id, customer, reason, time: UnixMillis(env.gateway_wall_ms()) });
        }
        self.retire_failed(env, id);
    }

    /// Retires a job that came to no outcome, once the ledger has all that was paid for it.
    fn retire_failed(&mut self, env: &Env, id: JobId) {
        let is_failed = self.jobs.get(&id).is_some_and(|job| matches!(job.stage, Stage::Failed(_)));
        if is_failed && !self.uncommitted.contains_key(&id) {
            self.retire(env, id);
        }
    }

    /// Keeps an ended job at hand for a while.
    fn retire(&mut self, env: &Env, id: JobId) {
        self.ended.push_back(id);
        while self.ended.len() > env.plan.ended_jobs_max {
            let Some(oldest) = self.ended.pop_front() else { break };
            self.jobs.remove(&oldest);
        }
    }

    fn tell_node(&self, env: &mut Env, node: PublicKey, message: GatewayToNode) {
        if let Some(node) = self.nodes.get(&node) {
            env.send(node.link, Message::ToNode(message));
        }
    }

    /// Tells every follower.
    fn tell(&self, env: &mut Env, id: JobId, event: &JobEvent) {
        let Some(job) = self.jobs.get(&id) else { return };
        for follower in &job.followers {
            env.send(*follower, event_message(id, event.clone()));
        }
    }
}

/// What clients want.
impl Gateway {
    pub(crate) fn greeted(&mut self, env: &mut Env, link: LinkId, greeting: Greeting) {
        env.send(link, Message::Welcome);
        match greeting {
            Greeting::Node { key, offer, state, cached } => self.node_joined(env, link, key, *offer, state, cached),
            Greeting::Client { key } => _ = self.clients.insert(link, key),
        }
    }

    pub(crate) fn handle_client(&mut self, env: &mut Env, link: LinkId, message: ClientMessage) {
        let Some(client) = self.clients.get(&link).copied() else { return };
        match message {
            ClientMessage::Submit { key, spec, .. } => self.submit(env, link, client, key, spec),
            ClientMessage::Cancel { job } => match self.jobs.get(&job).filter(|known| known.client == client) {
                Some(_) => self.dispatch(env, Event::Cancelled { job }),
                None => env.hit(Point::CancelOfUnknown),
            },
            ClientMessage::Attach { .. } | ClientMessage::Ask { .. } => {}
        }
    }

    fn submit(&mut self, env: &mut Env, link: LinkId, owner: PublicKey, key: IdempotencyKey, spec: Box<JobSpec>) {
        let id = JobId::derive(&owner, &key);
        let spec_digest = spec.digest();
        let refuse = |env: &mut Env, refusal| env.send(link, event_message(id, JobEvent::Ended(JobResult::Refused(refusal))));
        let past = match self.known(env, id, spec_digest, &spec) {
            Ok(Known::No(past)) => past,
            Ok(Known::Here) => return self.attach(env, link, id),
            Ok(Known::Settled) => return self.replay(env, link, id),
            Err(refusal) => return refuse(env, refusal),
        };
        let max_price = spec.max_price.map(|max| Microcredits(max.0.saturating_sub(past.paid.0)));
        if max_price != spec.max_price {
            env.hit(Point::TriedWithLess);
        }
        let request = Request { max_price, last_attempt: past.last_attempt, ..Request::new(&owner, &spec, true) };
        let request = Box::new(request);
        let reserved = self.dispatcher.cost_floor(&request).unwrap_or(Microcredits(0));
        if let Err(refusal) = self.reserve(owner, reserved) {
            env.hit(Point::RefusedPoor);
            return refuse(env, refusal);
        }
        env.send(link, Message::ToClient(GatewayToClient::Accepted { job: id }));
        let Past { paid, dearest, .. } = past;
        let live = Live { spec, running: None, out: Vec::new(), reserved, held: None, paid, dearest };
        let job = Job { client: owner, spec_digest, stage: Stage::Live(live), past, followers: vec![link] };
        // One that failed before under the same key makes room only now: until here it told of its attempts.
        self.ended.retain(|ended| *ended != id);
        self.jobs.insert(id, job);
        self.dispatch(env, Event::Submitted { job: id, request });
        if let Some(Job { stage: Stage::Live(Live { running: None, .. }), .. }) = self.jobs.get(&id) {
            self.tell(env, id, &JobEvent::Queued);
        }
    }

    /// Whether the key names a job already, and the same one.
    fn known(&mut self, env: &mut Env, id: JobId, digest: Digest, spec: &JobSpec) -> Result<Known, Refusal> {
        if let Some(job) = self.jobs.get(&id) {
            if job.spec_digest != digest {
                env.hit(Point::KeyConflict);
                return Err(Refusal::KeyConflict);
            }
            if !matches!(job.stage, Stage::Failed(_)) {
                env.hit(Point::SubmittedTwice);
                return Ok(Known::Here);
            }
            env.hit(Point::TriedAgain);
            return Ok(Known::No(job.past));
        }
        match self.reader.job(id).map_err(unavailable)? {
            Some(stored) if stored.receipt.receipt.spec == digest => Ok(Known::Settled),
            Some(_) => {
                env.hit(Point::KeyConflict);
                Err(Refusal::KeyConflict)
            }
            None => {
                let past = self.past(id, spec).map_err(unavailable)?;
                if past.last_attempt > 0 {
                    env.hit(Point::TriedAfterPaid);
                }
                Ok(Known::No(past))
            }
        }
    }

    /// What the ledger knows of a job that has no settlement.
    fn past(&self, id: JobId, spec: &JobSpec) -> Result<Past, StoreError> {
        let mut past = Past::default();
        for (attempt, index) in self.reader.attempts(id)? {
            past.last_attempt = past.last_attempt.max(attempt.0);
            if let Some(Ok(Leaf::Attempt(settled))) = self.reader.leaf(index)?.map(|bytes| Leaf::from_bytes(&bytes)) {
                let receipt = &settled.receipt.receipt;
                past.paid.0 = past.paid.0.saturating_add(receipt.cost.0);
                let cost_max = receipt.price.cost_max(&spec.limits, spec.bytes_in().0).unwrap_or(Microcredits(u64::MAX));
                past.dearest = past.dearest.max(cost_max);
            }
        }
        Ok(past)
    }

    fn attach(&mut self, env: &mut Env, link: LinkId, id: JobId) {
        env.send(link, Message::ToClient(GatewayToClient::Accepted { job: id }));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !job.followers.contains(&link) {
            job.followers.push(link);
        }
        let mut tell = |event| env.send(link, event_message(id, event));
        match &job.stage {
            Stage::Live(Live { running: None, .. }) => tell(JobEvent::Queued),
            Stage::Live(Live { running: Some((node, attempt)), .. }) => {
                tell(JobEvent::Started { node: *node, attempt: *attempt })
            }
            Stage::Done { result, settlement, .. } => {
                tell(JobEvent::Ended(result.clone()));
                if let Some(settlement) = settlement {
                    tell(JobEvent::Settled(settlement.clone()));
                }
            }
            Stage::Failed(result) => tell(JobEvent::Ended(result.clone())),
        }
    }

    /// Tells a client of a job that only the ledger remembers.
    fn replay(&self, env: &mut Env, link: LinkId, id: JobId) {
        let Ok(Some(stored)) = self.reader.job(id) else { return };
        env.hit(if self.life > 0 { Point::ReplayedAfterCrash } else { Point::ReplayedFromLedger });
        let settlement = Settlement {
            gateway: gateway_key().public(),
            job: id,
            receipt: stored.receipt.digest(),
            index: stored.index,
            time: stored.settled,
        };
        let settlement = sign_settlements(gateway_key(), &[settlement]).remove(0);
        let result = JobResult::Done {
            receipt: Box::new(stored.receipt),
            reason: stored.reason,
            output: stored.output,
            queue_us: stored.queue_us,
            rtt_us: stored.rtt_us,
        };
        env.send(link, Message::ToClient(GatewayToClient::Accepted { job: id }));
        env.send(link, event_message(id, JobEvent::Ended(result)));
        env.send(link, event_message(id, JobEvent::Settled(settlement)));
    }
}

/// Purses: what customers can spend, as the ledger will have it when it has done all that was handed to it.
impl Gateway {
    /// Takes what a job can cost from its client's purse.
    fn reserve(&mut self, client: PublicKey, amount: Microcredits) -> Result<(), Refusal> {
        let available = self.available(&client).map_err(unavailable)?;
        if available < i128::from(amount.0) {
            let available = Microcredits(available.clamp(0, u64::MAX.into()) as u64);
            return Err(Refusal::InsufficientCredit { available, needed: amount });
        }
        self.purses.entry(client).or_insert(Purse { available, users: 0 }).users += 1;
        self.add(&client, -i128::from(amount.0));
        Ok(())
    }

    fn available(&self, client: &PublicKey) -> Result<i128, StoreError> {
        match self.purses.get(client) {
            Some(purse) => Ok(purse.available),
            None => Ok(self.reader.balance(Account::Customer(*client))?.available()),
        }
    }

    fn add(&mut self, client: &PublicKey, amount: i128) {
        if let Some(purse) = self.purses.get_mut(client) {
            purse.available += amount;
        }
    }

    fn release(&mut self, client: &PublicKey) {
        if let Some(purse) = self.purses.get_mut(client) {
            purse.users -= 1;
            if purse.users == 0 {
                self.purses.remove(client);
            }
        }
    }
}

/// What nodes say.
impl Gateway {
    fn node_joined(
        &mut self,
        env: &mut Env,
        link: LinkId,
        key: PublicKey,
        offer: NodeOffer,
        state: NodeState,
        cached: Vec<Digest>,
    ) {
        let node = NodeLink { link, offer: offer.clone(), rtt_us: 0 };
        if let Some(older) = self.nodes.insert(key, node) {
            env.hit(Point::NodeReplaced);
            env.break_link(older.link, Some(Side::Gateway));
            self.note_lost(env, key, "its connection to the gateway was lost");
        }
        self.dispatch(env, Event::NodeJoined { node: key, offer, state, cached });
        self.node_path(env, key);
    }

    fn node_path(&mut self, env: &mut Env, key: PublicKey) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let rtt_us = env.rtt_us(env.peer_of(node.link));
        let spread_us = rtt_us.abs_diff(node.rtt_us);
        node.rtt_us = rtt_us;
        self.dispatch(env, Event::NodePath { node: key, rtt_us, spread_us });
    }

    /// This end of a connection is over.
    pub(crate) fn link_ended(&mut self, env: &mut Env, link: LinkId) {
        if self.clients.remove(&link).is_some() {
            self.jobs.values_mut().for_each(|job| job.followers.retain(|follower| *follower != link));
            return;
        }
        let Some(key) = self.key_of(link) else { return };
        self.nodes.remove(&key);
        self.note_lost(env, key, "its connection to the gateway was lost");
        self.dispatch(env, Event::NodeLeft { node: key });
    }

    fn key_of(&self, link: LinkId) -> Option<PublicKey> {
        self.nodes.iter().find(|(_, node)| node.link == link).map(|(key, _)| *key)
    }

    /// Notes what a node was at when its connection ended.
    fn note_lost(&mut self, env: &Env, node: PublicKey, reason: &str) {
        let lost: Vec<_> = self.dispatcher.leases(&node).collect();
        for (job, attempt) in lost {
            self.note_unpaid(env, node, job, attempt, reason);
        }
    }

    fn note_unpaid(&mut self, env: &Env, node: PublicKey, job: JobId, attempt: Attempt, reason: &str) {
        if self.has_lease(node, job, attempt) {
            let attempt = UnpaidAttempt { job, attempt, time: UnixMillis(env.gateway_wall_ms()), reason: reason.to_owned() };
            self.unrecorded.push_back(Operation::Unpaid { node, attempt: Box::new(attempt) });
        }
    }

    /// Takes in what a node says; one that breaks the protocol is expelled.
    pub(crate) fn handle_node(&mut self, env: &mut Env, link: LinkId, message: NodeMessage) {
        let Some(key) = self.key_of(link) else {
            // Of a connection that was replaced or ended: what it says is not about the leases of the next.
            let is_replaced = self.nodes.values().any(|node| env.peer_of(node.link) == env.peer_of(link));
            if is_replaced {
                env.hit(Point::OldConnectionSpoke);
            }
            return;
        };
        let taken = match message {
            NodeMessage::Started { .. } | NodeMessage::Log { .. } | NodeMessage::Progress { .. } => Ok(()),
            NodeMessage::Offer(offer) => self.node_offers(env, key, *offer),
            NodeMessage::State(state) => {
                self.dispatch(env, Event::NodeIs { node: key, state });
                Ok(())
            }
            NodeMessage::Finished { receipt, reason, output } => self.finished(env, key, *receipt, reason, output),
            NodeMessage::Failed { job, attempt, failure } => self.failed(env, key, job, attempt, failure),
        };
        if let Err(fault) = taken {
            self.expel(env, key, link, fault);
        }
    }

    fn node_offers(&mut self, env: &mut Env, key: PublicKey, offer: NodeOffer) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&key) else { return Ok(()) };
        if (offer.price, offer.meter) != (node.offer.price, node.offer.meter) {
            return Err("it changed its price or its meter without joining anew".into());
        }
        node.offer = offer.clone();
        self.dispatch(env, Event::NodeOffers { node: key, offer });
        Ok(())
    }

    fn failed(
        &mut self,
        env: &mut Env,
        key: PublicKey,
        job: JobId,
        attempt: Attempt,
        failure: AttemptFailure,
    ) -> Result<(), String> {
        if !self.has_lease(key, job, attempt) {
            env.hit(Point::StaleReport);
            return Err(format!("it reported a failure and has no lease of attempt {attempt} of job {job}"));
        }
        let failure = match failure {
            AttemptFailure::BlobMissing(digest) => {
                AttemptFailure::Node(format!("it says that blob {digest} is missing, which it is not"))
            }
            failure => failure,
        };
        if failure.may_have_cost() {
            self.note_unpaid(env, key, job, attempt, &failure.to_string());
        }
        self.attempt_failed(env, key, job, attempt, failure);
        Ok(())
    }

    fn has_lease(&self, node: PublicKey, id: JobId, attempt: Attempt) -> bool {
        self.dispatcher.leases(&node).any(|lease| lease == (id, attempt))
    }

    /// Takes in that an attempt came to nothing, be it the only one, one of two, or one that has lost.
    fn attempt_failed(&mut self, env: &mut Env, node: PublicKey, id: JobId, attempt: Attempt, failure: AttemptFailure) {
        let has_lost = self.dispatcher.is_loser(&node, id, attempt);
        if let Some(live) = self.jobs.get_mut(&id).and_then(|job| job.stage.live_mut()) {
            live.out.retain(|out| (out.attempt, out.node) != (attempt, node));
        }
        self.dispatch(env, Event::AttemptFailed { node, job: id, attempt, failure });
        if has_lost {
            self.loser_gone(env, id, attempt);
            self.follow(env);
        }
    }

    fn expel(&mut self, env: &mut Env, key: PublicKey, link: LinkId, fault: String) {
        env.note(format_args!("gateway expels a node: {fault}"));
        env.hit(Point::NodeExpelled);
        self.nodes.remove(&key);
        self.note_lost(env, key, &fault);
        self.dispatch(env, Event::NodeExpelled { node: key, fault });
        env.break_link(link, Some(Side::Gateway));
    }

    fn finished(
        &mut self,
        env: &mut Env,
        node: PublicKey,
        receipt: SignedReceipt,
        reason: String,
        output: Option<Vec<u8>>,
    ) -> Result<(), String> {
        let (id, attempt) = (receipt.receipt.job, receipt.receipt.attempt);
        if !self.has_lease(node, id, attempt) {
            env.hit(Point::StaleReport);
            return Err(format!("its receipt was refused: it has no lease of attempt {attempt} of job {id}"));
        }
        let is_loser = self.dispatcher.is_loser(&node, id, attempt);
        if self.dispatcher.lease(id, attempt) != Some(node) && !is_loser {
            // It ends no job, but the node's slot is free again.
            self.note_unpaid(env, node, id, attempt, "the job was taken back before the receipt came");
            self.dispatch(env, Event::AttemptFinished { node, job: id, attempt, report: Report::default() });
            return Ok(());
        }
        let digest = receipt.digest();
        let checked = self.check(env, node, receipt, output.as_deref());
        env.shadow.receipt_checked(&digest, checked.as_ref().err(), env.gateway_wall_off_ms());
        match checked {
            Err(fault) => self.refuse_receipt(env, node, (id, attempt), &fault),
            Ok(receipt) if is_loser => self.pay_loser(env, node, receipt, reason),
            Ok(receipt) if receipt.receipt().outcome.is_interim() => self.pay_preempted(env, node, receipt, reason),
            Ok(receipt) => self.pay_outcome(env, node, receipt, reason, output),
        }
        Ok(())
    }

    fn refuse_receipt(&mut self, env: &mut Env, node: PublicKey, (id, attempt): (JobId, Attempt), fault: &str) {
        env.hit(if is_of_start(fault) { Point::StartRefused } else { Point::ReceiptRefused });
        let fault = format!("its receipt was refused: {fault}");
        self.note_unpaid(env, node, id, attempt, &fault);
        self.dispatch(env, Event::ReceiptRefused { node });
        self.attempt_failed(env, node, id, attempt, AttemptFailure::Node(fault));
    }

    /// Pays for an attempt that ends its job, once others that are out have been paid or given up.
    fn pay_outcome(&mut self, env: &mut Env, node: PublicKey, receipt: VerifiedReceipt, reason: String, output: Option<Vec<u8>>) {
        let (id, attempt) = (receipt.receipt().job, receipt.receipt().attempt);
        let queue_us = self.dispatcher.waited_us(id).unwrap_or(0);
        let finished = Event::AttemptFinished { node, job: id, attempt, report: report(&receipt) };
        let rtt_us = self.nodes.get(&node).map_or(0, |node| node.rtt_us);
        let signed = Box::new(receipt.signed().clone());
        let result = JobResult::Done { receipt: signed, reason: reason.clone(), output: output.clone(), queue_us, rtt_us };
        self.tell(env, id, &JobEvent::Ended(result.clone()));
        let settled = UnixMillis(env.gateway_wall_ms());
        let entry = Box::new(Entry { receipt, settled, reason, output, queue_us, rtt_us });
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let stage = std::mem::replace(&mut job.stage, Stage::Done { result, settlement: None, contest: None });
        let Stage::Live(mut live) = stage else { return env.shadow.fault(format!("job {id} ended a second time")) };
        let is_out = |out: &Out| self.dispatcher.lease(id, out.attempt) == Some(out.node);
        live.out.retain(|out| out.attempt != attempt && is_out(out));
        if live.out.is_empty() {
            self.settle(env, id, &live, entry);
        } else if let Some(Job { stage: Stage::Done { contest, .. }, .. }) = self.jobs.get_mut(&id) {
            *contest = Some(Box::new(Contest { live, winner: entry }));
        }
        self.dispatch(env, finished);
    }

    /// Hands the receipt that ends a job to the ledger, and gives the client back what the job did not cost.
    fn settle(&mut self, env: &mut Env, id: JobId, live: &Live, entry: Box<Entry>) {
        let cost = entry.receipt.receipt().cost.0;
        if cost == 0 {
            env.hit(Point::EmptyHold);
        }
        if let Some(client) = self.jobs.get(&id).map(|job| job.client) {
            self.refund(env, client, i128::from(live.reserved.0) - i128::from(cost));
        }
        self.record(env, Operation::Settle(entry));
    }

    /// Pays for an attempt that its node's owner cut short. The job goes elsewhere.
    fn pay_preempted(&mut self, env: &mut Env, node: PublicKey, receipt: VerifiedReceipt, reason: String) {
        let (id, attempt, spent) = (receipt.receipt().job, receipt.receipt().attempt, receipt.receipt().cost);
        let report = report(&receipt);
        env.hit(Point::PreemptedPaid);
        self.pay_interim(env, node, receipt, reason);
        self.dispatch(env, Event::AttemptPreempted { node, job: id, attempt, spent, report });
    }

    /// Pays for what an attempt did whose job another one has ended.
    fn pay_loser(&mut self, env: &mut Env, node: PublicKey, receipt: VerifiedReceipt, reason: String) {
        let (id, attempt) = (receipt.receipt().job, receipt.receipt().attempt);
        let report = report(&receipt);
        env.hit(Point::LoserPaid);
        self.pay_interim(env, node, receipt, reason);
        self.dispatch(env, Event::AttemptFinished { node, job: id, attempt, report });
        self.loser_gone(env, id, attempt);
        self.follow(env);
    }

    /// Has the ledger pay for an attempt that does not end its job, and tells the client.
    fn pay_interim(&mut self, env: &mut Env, node: PublicKey, receipt: VerifiedReceipt, reason: String) {
        let (id, attempt, cost) = (receipt.receipt().job, receipt.receipt().attempt, receipt.receipt().cost.0);
        let rtt_us = self.nodes.get(&node).map_or(0, |node| node.rtt_us);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(live) = job.stage.live_mut() else { return };
        live.out.retain(|out| (out.attempt, out.node) != (attempt, node));
        live.paid.0 = live.paid.0.saturating_add(cost);
        let paid = live.paid;
        live.reserved.0 = live.reserved.0.saturating_sub(cost);
        live.held = live.held.map(|held| Microcredits(held.0.saturating_sub(cost)));
        job.past.paid = paid;
        self.tell(env, id, &JobEvent::Interim(Box::new(receipt.signed().clone())));
        let settled = UnixMillis(env.gateway_wall_ms());
        let entry = Entry { receipt, settled, reason, output: None, queue_us: 0, rtt_us };
        self.record(env, Operation::Attempt(Box::new(entry)));
    }

    /// Takes in that nothing more comes of an attempt that lost. The receipt that won is settled when all have come or are given up.
    fn loser_gone(&mut self, env: &mut Env, id: JobId, attempt: Attempt) {
        let Some(Job { stage: Stage::Done { contest, .. }, .. }) = self.jobs.get_mut(&id) else { return };
        let Some(open) = contest.as_mut() else { return };
        open.live.out.retain(|out| out.attempt != attempt);
        if open.live.out.is_empty()
            && let Some(over) = contest.take()
        {
            let Contest { live, winner } = *over;
            self.settle(env, id, &live, winner);
        }
    }

    /// Checks a receipt against the job that was leased.
    fn check(
        &mut self,
        env: &Env,
        node: PublicKey,
        receipt: SignedReceipt,
        output: Option<&[u8]>,
    ) -> Result<VerifiedReceipt, String> {
        let verified = receipt.verify().map_err(|error| error.to_string())?;
        let told = verified.receipt();
        let (Some(job), Some(link)) = (self.jobs.get_mut(&told.job), self.nodes.get(&node)) else {
            return Err("its job is unknown".into());
        };
        let client = job.client;
        let Some(live) = job.stage.live_mut() else { return Err("its job has ended".into()) };
        let out = live.out.iter().find(|out| out.attempt == told.attempt && out.node == node).ok_or("its job is not leased")?;
        let leased_us = self.clock.tick(env.now).since(out.since);
        verified.check_spec(&live.spec).map_err(|error| error.to_string())?;
        let times_us = told.times.fetch_us + told.times.compile_us + told.times.run_us;
        let begun_ms = env.gateway_wall_ms().saturating_sub(leased_us / 1_000);
        let rows = [
            ("node", told.node == node),
            ("client", told.client == client),
            ("gateway", told.gateway == gateway_key().public()),
            ("price", told.price == link.offer.price),
            ("cost", told.cost <= out.promised),
            ("meter", told.meter == link.offer.meter),
            ("GPU's class", told.gpu.as_ref().is_none_or(|run| was_offered(&run.class, out, &link.offer))),
            ("time", times_us <= leased_us + 60 * SECOND),
            ("start", told.times.started.0.abs_diff(begun_ms) <= STARTED_MARGIN_MS),
            ("output", output.is_some_and(|bytes| BlobRef::of(bytes).digest == told.output)),
        ];
        match rows.into_iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(format!("its {field} is not what was leased")),
            None => Ok(verified),
        }
    }
}

/// What the ledger does.
impl Gateway {
    fn record(&mut self, env: &mut Env, operation: Operation) {
        if let Some(job) = kept_by(&operation) {
            *self.uncommitted.entry(job).or_default() += 1;
        }
        self.unrecorded.push_back(operation);
        self.hand_over(env);
    }

    /// Begins to write what was noted, where nothing is being written.
    fn hand_over(&mut self, env: &mut Env) {
        if self.batch.is_some() || self.unrecorded.is_empty() {
            return;
        }
        let count = self.unrecorded.len().min(BATCH_OPERATIONS_MAX);
        self.batch = Some(self.unrecorded.drain(..count).collect());
        let slow = !env.is_quiet && env.plan.has(Fault::SlowDisk);
        let us = if slow { env.chance.within_orders(1_000, 2 * SECOND) } else { env.chance.within(200, 2_000) };
        self.alarm(env, us, GatewayAlarm::Commit);
    }

    /// The disk has the batch.
    fn commit(&mut self, env: &mut Env) {
        let Some(batch) = self.batch.take() else { return };
        if batch.len() >= 10 {
            env.hit(Point::LargeBatch);
        }
        match self.ledger.apply(&batch) {
            Ok(results) => {
                env.shadow.committed(&self.reader, env.now);
                self.committed(env, batch, results);
                self.hand_over(env);
            }
            Err(error) => {
                env.hit(Point::LedgerFailed);
                self.failed = Some(error.to_string());
            }
        }
    }

    /// The process dies while the batch is written: the disk may have it or not.
    pub(crate) fn die_writing(&mut self) -> bool {
        match self.batch.take() {
            Some(batch) => {
                // What it says is heard by nobody.
                let _ = self.ledger.apply(&batch);
                true
            }
            None => false,
        }
    }

    /// Tells the clients of a batch that is on the disk now.
    fn committed(&mut self, env: &mut Env, batch: Vec<Operation>, results: Vec<Result<Applied, Refused>>) {
        let mut settlements = Vec::new();
        for (operation, result) in batch.iter().zip(results) {
            self.is_committed(env, operation);
            match operation {
                Operation::Settle(entry) => settlements.extend(self.recorded(env, entry, result)),
                Operation::Void { customer, .. } => {
                    self.release(customer);
                    self.expect(env, operation, result);
                }
                _ => self.expect(env, operation, result),
            }
        }
        for settlement in sign_settlements(gateway_key(), &settlements) {
            self.settled(env, settlement);
        }
    }

    /// Takes in that an operation is on the disk. A failed job whose last one it is may be forgotten.
    fn is_committed(&mut self, env: &Env, operation: &Operation) {
        let Some(id) = kept_by(operation) else { return };
        let Some(left) = self.uncommitted.get_mut(&id) else { return };
        *left -= 1;
        if *left == 0 {
            self.uncommitted.remove(&id);
            self.retire_failed(env, id);
        }
    }

    /// What the purses allowed, the ledger does: else one of the two is wrong.
    fn expect(&self, env: &mut Env, operation: &Operation, result: Result<Applied, Refused>) {
        match result {
            Ok(Applied::Expired(jobs)) if !jobs.is_empty() => env.shadow.fault(format!("holds expired: {jobs:?}")),
            Ok(_) => {}
            Err(refused) => env.shadow.fault(format!("the ledger refused {operation:?}: {refused}")),
        }
    }

    fn recorded(&mut self, env: &mut Env, entry: &Entry, result: Result<Applied, Refused>) -> Option<Settlement> {
        self.release(&entry.receipt.receipt().client);
        match result {
            Ok(Applied::Settled(Appended::New { index })) => Some(Settlement {
                gateway: gateway_key().public(),
                job: entry.job(),
                receipt: entry.receipt.signed().digest(),
                index,
                time: entry.settled,
            }),
            other => {
                env.shadow.fault(format!("the receipt of job {} became {other:?}", entry.job()));
                None
            }
        }
    }

    fn settled(&mut self, env: &mut Env, settlement: SignedSettlement) {
        let id = settlement.settlement.job;
        self.tell(env, id, &JobEvent::Settled(settlement.clone()));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.followers.clear();
        if let Stage::Done { settlement: slot, .. } = &mut job.stage {
            *slot = Some(settlement);
        }
        self.retire(env, id);
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        let is_ended = |job: &Job| match &job.stage {
            Stage::Live(_) => false,
            Stage::Done { settlement, .. } => settlement.is_some(),
            Stage::Failed(_) => true,
        };
        self.batch.is_none() && self.unrecorded.is_empty() && self.jobs.values().all(is_ended)
    }

    /// Customers whose purse is still in use.
    pub(crate) fn purses_in_use(&self) -> usize {
        self.purses.len()
    }

    /// The jobs of this life.
    pub(crate) fn job_ids(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    /// Whether any job has not ended.
    pub(crate) fn has_live_jobs(&self) -> bool {
        self.jobs.values().any(|job| matches!(job.stage, Stage::Live(_)))
    }

    /// Whether credits are held for any job.
    pub(crate) fn has_holds(&self) -> bool {
        let is_held = |live: &Live| live.held.is_some();
        self.jobs.values().any(|job| match &job.stage {
            Stage::Live(live) => is_held(live),
            Stage::Done { contest, .. } => contest.as_ref().is_some_and(|contest| is_held(&contest.live)),
            Stage::Failed(_) => false,
        })
    }

    /// The connections that it has.
    pub(crate) fn peer_links(&self) -> Vec<LinkId> {
        self.nodes.values().map(|node| node.link).chain(self.clients.keys().copied()).collect()
    }
}

/// Whether a submission is news.
enum Known {
    No(Past),
    Here,
    Settled,
}

/// The job that stays at hand until an operation is on the disk. One that came to an outcome does so until it is settled.
fn kept_by(operation: &Operation) -> Option<JobId> {
    match operation {
        Operation::Attempt(entry) => Some(entry.job()),
        Operation::Void { job, .. } => Some(*job),
        _ => None,
    }
}

fn unavailable(error: StoreError) -> Refusal {
    Refusal::LedgerUnavailable(error.to_string())
}

fn event_message(job: JobId, event: JobEvent) -> Message {
    Message::ToClient(GatewayToClient::Event { job, event: Box::new(event) })
}

/// Whether a receipt is refused for when its attempt began.
pub(crate) fn is_of_start(fault: &str) -> bool {
    fault.starts_with("its start ")
}

fn was_offered(class: &str, out: &Out, offer: &NodeOffer) -> bool {
    let classes = [out.gpu_class.as_deref(), offer.gpu.as_ref().map(|gpu| gpu.class.as_str())];
    classes.contains(&Some(class))
}

fn report(receipt: &VerifiedReceipt) -> Report {
    let told = receipt.receipt();
    Report { usage: told.usage, fetch_us: told.times.fetch_us, compile_us: told.times.compile_us }
}

/// An action in few words.
fn line_of(action: &Action) -> String {
    use crate::client::short;
    match action {
        Action::Start { job, attempt, node, decision } => {
            let hedge = if decision.is_hedge { " as a hedge" } else { "" };
            format!("start {job} {attempt} on {}{hedge}", short(node))
        }
        Action::Waits { job, wait } => format!("{job} waits: {wait:?}"),
        Action::Stop { job, attempt, node } => format!("stop {job} {attempt} on {}", short(node)),
        Action::Abandon { job, attempt, node } => format!("abandon {job} {attempt} on {}", short(node)),
        Action::Refuse { job, refusal } => format!("refuse {job}: {refusal}"),
        Action::CancelledInQueue { job } => format!("cancelled {job}"),
        Action::Lost { job, attempts, reason } => format!("lost {job} after {attempts}: {reason}"),
    }
}

/// An event in few words; nothing for those that come all the time.
fn line_of_event(event: &Event) -> Option<String> {
    use crate::client::short;
    Some(match event {
        Event::NodePath { .. } | Event::ClientWeight { .. } => return None,
        Event::NodeJoined { node, offer, state, .. } => format!("{} joins with {} slots, {state:?}", short(node), offer.slots),
        Event::NodeLeft { node } => format!("{} leaves", short(node)),
        Event::NodeExpelled { node, .. } => format!("{} is expelled", short(node)),
        Event::NodeOffers { node, offer } => {
            let gpu = if offer.gpu.is_some() { " and a GPU" } else { "" };
            format!("{} offers {} slots{gpu}", short(node), offer.slots)
        }
        Event::NodeIs { node, state } => format!("{} is {state:?}", short(node)),
        Event::Submitted { job, .. } => format!("{job} is submitted"),
        Event::Cancelled { job } => format!("{job} is withdrawn"),
        Event::AttemptFinished { node, job, attempt, .. } => format!("{job} {attempt} finished on {}", short(node)),
        Event::AttemptPreempted { node, job, attempt, .. } => format!("{job} {attempt} was preempted on {}", short(node)),
        Event::AttemptFailed { node, job, attempt, failure } => format!("{job} {attempt} failed on {}: {failure}", short(node)),
        Event::ReceiptRefused { node } => format!("a receipt of {} was refused", short(node)),
        Event::Declined { node, job, attempt, affordable, .. } => {
            format!("{job} {attempt} is not for {}: its client can pay {}", short(node), affordable.0)
        }
        Event::Funded { client } => format!("client {} has more to pay with", short(client)),
    })
}
