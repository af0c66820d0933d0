//! A node: slots, a true speed, a cache, an owner, and its faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use adit_protocol::{
    Attempt, AttemptFailure, BlobRef, ByteCount, Comparison, Digest, Fuel, GatewayToNode, GpuOffer, GpuRun, JobId, JobSpec,
    MeterId, Microcredits, NodeMessage, NodeOffer, NodeState, NodeTimes, Outcome, Price, Profile, PublicKey, Receipt, SecretKey,
    UnixMillis, Usage, sign_receipts,
};

use crate::env::{CLOCK_OFF_MAX_MS, Env, Greeting, Happening, LinkId, Message, NodeAlarm, Peer};
use crate::plan::{Fault, SECOND};
use crate::points::Point;
use crate::world::{gateway_key, module_invalid_text, wall_ms};

/// How long an attempt waits for a slot while none gets free, in microseconds; and how long at the most.
const PATIENCE_US: u64 = 50_000;
const PATIENCE_MAX_US: u64 = 1_000_000;

/// Modules that a node keeps.
const CACHED_MAX: usize = 3;

#[derive(Debug)]
pub(crate) struct Node {
    index: usize,
    key: SecretKey,
    pub(crate) public: PublicKey,
    offer: NodeOffer,
    /// The GPU that it has, lent or not.
    gpu: Option<GpuOffer>,
    state: NodeState,
    slots_owned: u32,
    speed: u64,
    bandwidth: u64,
    cached: VecDeque<Digest>,
    /// By how much its wall clock is wrong.
    skew_ms: i64,
    declines: Vec<PublicKey>,
    /// Whether it claims a speed that it does not have, calls what it ran compilation, and some sound modules invalid.
    lies: bool,
    /// Whether it gives back nearly all that it gets, though its owner wants nothing.
    shirks: bool,
    /// Whether it cuts short what is nearly done, to be paid for it and for the next.
    milks: bool,
    link: Option<LinkId>,
    /// Crashes that it survived: alarms of an earlier life do not ring.
    life: u64,
    works: BTreeMap<u64, Work>,
    works_begun: u64,
    /// When an attempt got a slot last, and which turn of its client's that was among all.
    slot_given: u64,
    turns: BTreeMap<PublicKey, u64>,
    turns_given: u64,
    /// Jobs of which it said what is not so.
    lied_of: BTreeSet<JobId>,
}

/// An attempt on the node.
#[derive(Debug)]
struct Work {
    job: JobId,
    attempt: Attempt,
    client: PublicKey,
    spec: Box<JobSpec>,
    arrived: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All slots are taken.
    Waits,
    Runs {
        since: u64,
        fetch_us: u64,
        compile_us: u64,
        ends: u64,
    },
    /// It was told to stop and is ending.
    Stops {
        since: u64,
        ends: u64,
    },
    /// It says nothing, perhaps for ever.
    Silent {
        until: Option<u64>,
    },
}

impl Node {
    pub(crate) fn new(env: &mut Env, index: usize, clients: &[PublicKey]) -> Self {
        let key = SecretKey::from_seed(env.chance.bytes());
        let speed = env.chance.within_orders(100_000_000, 4_000_000_000);
        let lies = env.plan.has(Fault::Liars) && env.chance.permille(400);
        // Few of its kind, or nearly all.
        let shirkers = [300, 950][(env.plan.seed % 2) as usize];
        let shirks = env.plan.has(Fault::GiveBacks) && env.chance.permille(shirkers);
        let milkers = [50, 800][(env.plan.seed / 2 % 2) as usize];
        let milks = env.plan.has(Fault::GiveBacks) && env.chance.permille(milkers);
        let claimed = if lies { speed.saturating_mul(env.chance.within(3, 50)) } else { speed };
        let slots = env.chance.within_orders(1, 8) as u32;
        let labels = env.chance.pick(&[&[("region", "eu")][..], &[("region", "us")], &[("region", "eu"), ("gpu", "none")], &[]]);
        let price = |chance: &mut crate::chance::Chance, most| if most == 0 { 0 } else { chance.within_orders(1, most) };
        let dear = env.chance.pick(&[0, 100, 10_000, 1_000_000]);
        let gpu = env.chance.permille(400).then(|| gpu_offer(env.chance.pick(&[256 << 20, 1 << 30])));
        let offer = NodeOffer {
            software: "sim".into(),
            slots,
            memory: ByteCount(env.chance.pick(&[64 << 20, 1 << 30])),
            gpu: gpu.clone(),
            profiles: env.chance.pick(&[&[Profile::Deterministic][..], &[Profile::Deterministic, Profile::Open]]).to_vec(),
            price: Price {
                per_compute_minute: price(&mut env.chance, dear),
                per_gib_in: price(&mut env.chance, dear),
                per_gpu_minute: price(&mut env.chance, dear),
                ..Price::default()
            },
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            meter: MeterId([3; 32]),
            fuel_per_second: env.chance.pick(&[0, claimed, claimed]),
            one_tenant: env.chance.permille(150),
        };
        let declines = if env.plan.has(Fault::Declines) {
            clients.iter().copied().filter(|_| env.chance.permille(250)).collect()
        } else {
            Vec::new()
        };
        let skew_ms = if env.plan.has(Fault::Clocks) {
            // Few by days, which the gateway does not take.
            let most_ms = if env.chance.permille(100) { CLOCK_OFF_MAX_MS } else { 36_000_000 };
            env.chance.off_by(most_ms)
        } else {
            0
        };
        let public = key.public();
        env.lay_path(Peer::Node(index));
        let node = Self {
            index,
            key,
            public,
            slots_owned: slots,
            offer,
            gpu,
            state: NodeState::Ready,
            speed,
            bandwidth: env.chance.within_orders(200_000, 50_000_000),
            cached: VecDeque::new(),
            skew_ms,
            declines,
            lies,
            shirks,
            milks,
            link: None,
            life: 0,
            works: BTreeMap::new(),
            works_begun: 0,
            slot_given: 0,
            turns: BTreeMap::new(),
            turns_given: 0,
            lied_of: BTreeSet::new(),
        };
        let first = env.chance.pick(&[0, 0, 500_000, 8 * SECOND]);
        node.alarm(env, first, NodeAlarm::Connect);
        if env.plan.has(Fault::Owners) {
            let first = env.chance.within(SECOND / 2, 10 * SECOND);
            node.alarm(env, first, NodeAlarm::Owner);
        }
        node
    }

    fn alarm(&self, env: &mut Env, us: u64, alarm: NodeAlarm) {
        env.after(us, Happening::Node { node: self.index, life: self.life, alarm });
    }

    pub(crate) fn handle_alarm(&mut self, env: &mut Env, life: u64, alarm: NodeAlarm) {
        if life != self.life {
            return;
        }
        match alarm {
            NodeAlarm::Connect if self.link.is_none() => {
                let cached = self.cached.iter().copied().collect();
                let greeting =
                    Greeting::Node { key: self.public, offer: Box::new(self.offer.clone()), state: self.state.clone(), cached };
                self.link = Some(env.connect(Peer::Node(self.index), greeting));
            }
            NodeAlarm::Connect => {}
            NodeAlarm::Due(place) => self.due(env, place),
            NodeAlarm::Waits(place) => self.waits(env, place),
            NodeAlarm::Owner => self.owner_acts(env),
        }
    }

    /// Dies with all that it has, and is back after a while.
    pub(crate) fn crash(&mut self, env: &mut Env) {
        env.note(format_args!("node {} crashes with {} attempts", self.index, self.works.len()));
        self.life += 1;
        self.works.clear();
        if let Some(link) = self.link.take() {
            env.break_link(link, Some(crate::env::Side::Peer));
        }
        if env.chance.permille(300) {
            self.cached.clear();
        }
        let back = env.chance.within_orders(10_000, 8 * SECOND);
        self.alarm(env, back, NodeAlarm::Connect);
        if env.plan.has(Fault::Owners) {
            self.alarm(env, back + 2 * SECOND, NodeAlarm::Owner);
        }
    }

    pub(crate) fn link_ended(&mut self, env: &mut Env, link: LinkId) {
        if self.link == Some(link) {
            self.link = None;
            // Its leases were the connection's.
            self.works.clear();
            let us = env.backoff_us();
            self.alarm(env, us, NodeAlarm::Connect);
        }
    }

    /// Connects anew without waiting for the end of the old connection.
    pub(crate) fn reconnect(&mut self, env: &mut Env) {
        if self.link.take().is_some() {
            self.works.clear();
            self.alarm(env, 0, NodeAlarm::Connect);
        }
    }

    /// Faults stop: what was silent speaks, and the owner lets it work.
    pub(crate) fn calm(&mut self, env: &mut Env) {
        if self.state != NodeState::Ready {
            self.set_state(env, NodeState::Ready);
        }
        self.declines.clear();
        if self.offer.slots == 0 || self.offer.gpu != self.gpu {
            self.offer.gpu = self.gpu.clone();
            self.set_slots(env, self.offer.slots.max(1));
        }
        let silent: Vec<u64> =
            self.works.iter().filter(|(_, work)| matches!(work.stage, Stage::Silent { .. })).map(|(place, _)| *place).collect();
        for place in silent {
            let us = env.chance.below(3 * SECOND);
            self.speak_at(env, place, env.now + us);
        }
        if self.link.is_none() {
            let us = env.chance.below(SECOND);
            self.alarm(env, us, NodeAlarm::Connect);
        }
    }

    fn say(&self, env: &mut Env, message: NodeMessage) {
        let Some(link) = self.link else { return };
        // An attempt ends once: a node that said so twice is expelled, which is what rogues are for.
        let is_end = matches!(message, NodeMessage::Finished { .. } | NodeMessage::Failed { .. });
        if env.strikes(Fault::Duplicates, 40) && !is_end {
            env.send(link, Message::OfNode(message.clone()));
        }
        env.send(link, Message::OfNode(message));
    }
}

/// What the gateway asks.
impl Node {
    pub(crate) fn handle(&mut self, env: &mut Env, link: LinkId, message: GatewayToNode) {
        if self.link != Some(link) {
            return;
        }
        match message {
            GatewayToNode::Lease { job, attempt, client, spec, .. } => self.lease(env, job, attempt, client, spec),
            GatewayToNode::Cancel { job, attempt } => self.cancel(env, job, attempt),
            GatewayToNode::Welcome { .. } | GatewayToNode::Rejected(_) => {}
        }
    }

    fn lease(&mut self, env: &mut Env, job: JobId, attempt: Attempt, client: PublicKey, spec: Box<JobSpec>) {
        let twice = self.works.values().any(|work| work.job == job);
        if twice && !self.lied_of.contains(&job) {
            env.shadow.fault(format!("node {} was given job {job} while it has it", self.index));
        }
        let fail = |node: &Self, env: &mut Env, failure| node.say(env, NodeMessage::Failed { job, attempt, failure });
        if self.state != NodeState::Ready {
            env.hit(Point::PreemptedBeforeStart);
            return fail(self, env, AttemptFailure::Preempted("it is in use".into()));
        }
        if spec.gpu.is_some() && self.offer.gpu.is_none() {
            env.hit(Point::GpuOffBeforeStart);
            return fail(self, env, AttemptFailure::GpuAway("its owner took it back".into()));
        }
        if self.declines.contains(&client) {
            return fail(self, env, AttemptFailure::Declined("not on the list".into()));
        }
        if env.bad_modules.contains(&spec.module.digest) {
            return fail(self, env, AttemptFailure::ModuleInvalid(module_invalid_text().into()));
        }
        if self.lies && env.strikes(Fault::Liars, 80) {
            return fail(self, env, AttemptFailure::ModuleInvalid("it says".into()));
        }
        if env.strikes(Fault::NodeFailures, 80) {
            return fail(self, env, AttemptFailure::Node("out of disk".into()));
        }
        if env.strikes(Fault::NodeFailures, 20) {
            return fail(self, env, AttemptFailure::BlobMissing(spec.input.digest));
        }
        if env.strikes(Fault::GiveBacks, 80) {
            return fail(self, env, AttemptFailure::Withdrawn);
        }
        if self.shirks && env.strikes(Fault::GiveBacks, 900) {
            env.hit(Point::GaveBackUnasked);
            let failure = if spec.gpu.is_some() { AttemptFailure::GpuAway } else { AttemptFailure::Preempted };
            let failure = if env.chance.permille(200) { AttemptFailure::Busy } else { failure("it says".into()) };
            return fail(self, env, failure);
        }
        self.works_begun += 1;
        let place = self.works_begun;
        self.works.insert(place, Work { job, attempt, client, spec, arrived: env.now, stage: Stage::Waits });
        self.start_waiting(env);
        if self.works.get(&place).is_some_and(|work| work.stage == Stage::Waits) {
            self.alarm(env, PATIENCE_US, NodeAlarm::Waits(place));
        }
    }

    /// Starts what waits, as far as there are slots: clients take turns.
    fn start_waiting(&mut self, env: &mut Env) {
        let is_busy = |work: &&Work| !matches!(work.stage, Stage::Waits);
        while self.works.values().filter(is_busy).count() < self.slots_owned as usize {
            let inside = |client| self.works.values().filter(is_busy).filter(|work| work.client == client).count();
            let turn = |client| self.turns.get(&client).copied().unwrap_or(0);
            let is_with_others = |work: &Work| self.works.values().filter(is_busy).any(|other| other.client != work.client);
            let may = |work: &Work| work.stage == Stage::Waits && !(self.offer.one_tenant && is_with_others(work));
            let waiting = self.works.iter().filter(|(_, work)| may(work));
            let next = waiting.min_by_key(|(place, work)| (inside(work.client), turn(work.client), **place));
            let Some((place, client)) = next.map(|(place, work)| (*place, work.client)) else { return };
            self.slot_given = env.now;
            self.turns_given += 1;
            self.turns.insert(client, self.turns_given);
            self.start(env, place);
        }
    }

    /// Hands back what waits, where no slot got free for long.
    fn waits(&mut self, env: &mut Env, place: u64) {
        let Some(work) = self.works.get(&place).filter(|work| work.stage == Stage::Waits) else { return };
        let patient_until = (work.arrived.max(self.slot_given) + PATIENCE_US).min(work.arrived + PATIENCE_MAX_US);
        if env.now < patient_until {
            return self.alarm(env, patient_until - env.now, NodeAlarm::Waits(place));
        }
        let (job, attempt) = (work.job, work.attempt);
        self.works.remove(&place);
        env.hit(Point::HandedBack);
        self.say(env, NodeMessage::Failed { job, attempt, failure: AttemptFailure::Busy });
    }

    fn start(&mut self, env: &mut Env, place: u64) {
        let is_straggling = env.strikes(Fault::Stragglers, 150);
        if env.strikes(Fault::Silence, 60) {
            let until = if env.chance.permille(500) { Some(env.now + env.chance.within(SECOND, 12 * SECOND)) } else { None };
            return match until {
                Some(at) => self.speak_at(env, place, at),
                None => self.works.get_mut(&place).expect("it waits").stage = Stage::Silent { until },
            };
        }
        let work = self.works.get_mut(&place).expect("it waits");
        let module = work.spec.module;
        let is_cached = self.cached.contains(&module.digest);
        let fetched = if is_cached { 0 } else { module.bytes };
        let fetch_us = fetched * SECOND / self.bandwidth;
        let compile_us = if is_cached { 0 } else { module.bytes / 3 };
        let fuel = true_fuel(&work.spec).min(work.spec.limits.fuel.0);
        let gpu_us = true_gpu_ns(&work.spec).min(work.spec.limits.gpu_ns) / 1_000;
        let run_us =
            (fuel.saturating_mul(SECOND) / self.speed + gpu_us) * if is_straggling { env.chance.within(5, 40) } else { 1 };
        let run_us = run_us.min(work.spec.limits.wall_ms * 1_000);
        let ends = env.now + fetch_us + compile_us + run_us;
        work.stage = Stage::Runs { since: env.now, fetch_us, compile_us, ends };
        let (job, attempt) = (work.job, work.attempt);
        self.cached.retain(|known| *known != module.digest);
        self.cached.push_front(module.digest);
        self.cached.truncate(CACHED_MAX);
        self.say(env, NodeMessage::Started { job, attempt });
        self.alarm(env, ends - env.now, NodeAlarm::Due(place));
    }

    fn speak_at(&mut self, env: &mut Env, place: u64, at: u64) {
        let Some(work) = self.works.get_mut(&place) else { return };
        work.stage = Stage::Silent { until: Some(at) };
        self.alarm(env, at - env.now, NodeAlarm::Due(place));
    }

    fn due(&mut self, env: &mut Env, place: u64) {
        let Some(work) = self.works.get(&place) else { return };
        let (ends, outcome) = match work.stage {
            Stage::Waits => return,
            Stage::Runs { ends, .. } => (ends, self.outcome(work)),
            Stage::Stops { ends, .. } => (ends, Outcome::Cancelled),
            Stage::Silent { until } => (until.unwrap_or(u64::MAX), Outcome::Finished { exit_code: 0 }),
        };
        if ends == env.now {
            let has_gpu = work.spec.gpu.is_some() && matches!(work.stage, Stage::Runs { .. });
            let is_milked = self.milks && matches!(outcome, Outcome::Finished { .. }) && env.strikes(Fault::GiveBacks, 900);
            let outcome = if is_milked { Outcome::Preempted } else { outcome };
            let outcome = if has_gpu && env.strikes(Fault::Gpus, 150) { Outcome::GpuLost } else { outcome };
            match outcome {
                Outcome::GpuLost => env.hit(Point::GpuLost),
                Outcome::OutOfGpuTime => env.hit(Point::GpuTimeOver),
                _ => {}
            }
            self.report(env, place, outcome);
            self.start_waiting(env);
        }
    }

    fn outcome(&self, work: &Work) -> Outcome {
        match work.stage {
            _ if true_fuel(&work.spec) > work.spec.limits.fuel.0 => Outcome::OutOfFuel,
            Stage::Runs { since, ends, fetch_us, compile_us }
                if ends - since - fetch_us - compile_us >= work.spec.limits.wall_ms * 1_000 =>
            {
                Outcome::TimedOut
            }
            Stage::Runs { .. } if true_gpu_ns(&work.spec) > work.spec.limits.gpu_ns => Outcome::OutOfGpuTime,
            _ => Outcome::Finished { exit_code: 0 },
        }
    }

    fn cancel(&mut self, env: &mut Env, job: JobId, attempt: Attempt) {
        let found = self.works.iter_mut().find(|(_, work)| (work.job, work.attempt) == (job, attempt));
        let Some((place, work)) = found else { return };
        let place = *place;
        match work.stage {
            Stage::Waits => {
                self.works.remove(&place);
                self.say(env, NodeMessage::Failed { job, attempt, failure: AttemptFailure::Withdrawn });
            }
            Stage::Runs { since, .. } => {
                let ends = env.now + env.chance.within(100, 20_000);
                work.stage = Stage::Stops { since, ends };
                self.alarm(env, ends - env.now, NodeAlarm::Due(place));
            }
            Stage::Stops { .. } | Stage::Silent { .. } => {}
        }
    }
}

/// Reports.
impl Node {
    /// Sends the receipt of an attempt, which is over with it.
    fn report(&mut self, env: &mut Env, place: u64, outcome: Outcome) {
        let Some(work) = self.works.remove(&place) else { return };
        let (job, attempt) = (work.job, work.attempt);
        env.note(format_args!("node {} ends {job} {attempt}: {}", self.index, outcome.name()));
        let mut receipt = self.receipt(env, &work, outcome);
        let mut signs = self.key.seed().to_owned();
        let is_bad = env.strikes(Fault::BadReceipts, 120);
        if is_bad {
            spoil(env, &mut receipt, &mut signs);
        }
        let signed = sign_receipts(&SecretKey::from_seed(signs), vec![receipt]).remove(0);
        if !is_bad {
            env.shadow.true_receipt(signed.digest(), self.skew_ms);
        }
        self.say(env, NodeMessage::Finished { receipt: Box::new(signed), reason: String::new(), output: Some(output_of(job)) });
    }

    fn receipt(&self, env: &Env, work: &Work, outcome: Outcome) -> Receipt {
        let spec = &work.spec;
        let (since, fetch_us, compile_us) = match work.stage {
            Stage::Runs { since, fetch_us, compile_us, .. } => (since, fetch_us, compile_us),
            Stage::Stops { since, .. } => (since, 0, 0),
            Stage::Waits | Stage::Silent { .. } => (work.arrived, 0, 0),
        };
        let run_us = (env.now - since).saturating_sub(fetch_us + compile_us);
        let told =
            if self.lies { [0, (fetch_us + compile_us + run_us) / 5 * 4, run_us / 5] } else { [fetch_us, compile_us, run_us] };
        let whole = true_fuel(spec).min(spec.limits.fuel.0);
        let part = (u128::from(run_us) * u128::from(self.speed) / u128::from(SECOND)) as u64;
        let fuel = match outcome {
            Outcome::Finished { .. } | Outcome::OutOfFuel => whole,
            _ => part.min(whole),
        };
        let output = output_of(work.job);
        let usage = Usage {
            fuel: Fuel(fuel),
            memory_peak: ByteCount(65_536),
            memory_fuel: 65_536 * u128::from(fuel),
            bytes_in: spec.bytes_in(),
            bytes_out: ByteCount(output.len() as u64),
            gpu_ns: true_gpu_ns(spec).min(spec.limits.gpu_ns),
            ..Usage::default()
        };
        let gpu = spec.gpu.map(|need| GpuRun {
            class: self.gpu.as_ref().map_or_else(String::new, |gpu| gpu.class.clone()),
            comparison: Comparison::Class.held(spec.seed.is_multiple_of(2)),
            dispatches: 1,
            bytes_moved: ByteCount(fuel),
            memory_peak: need.memory,
        });
        let started = wall_ms(since).saturating_add_signed(self.skew_ms);
        Receipt {
            job: work.job,
            attempt: work.attempt,
            client: work.client,
            node: self.public,
            gateway: gateway_key().public(),
            spec: spec.digest(),
            module: spec.module.digest,
            input: spec.input_digest(),
            output: Digest::of(&output),
            outcome,
            profile: spec.profile,
            meter: self.offer.meter,
            engine: "sim".into(),
            usage,
            gpu,
            times: NodeTimes { started: UnixMillis(started), fetch_us: told[0], compile_us: told[1], run_us: told[2] },
            price: self.offer.price,
            cost: self.offer.price.cost(&usage).unwrap_or(Microcredits(u64::MAX)),
            salt: Some(spec.salt),
        }
    }
}

/// Makes a receipt one that does not hold.
fn spoil(env: &mut Env, receipt: &mut Receipt, signs: &mut [u8; 32]) {
    match env.chance.below(7) {
        0 => receipt.cost.0 += 1,
        1 => receipt.usage.fuel.0 = u64::MAX / 2,
        2 => receipt.price.per_compute_minute += 1_000_000,
        3 => receipt.times.run_us += 3_600 * SECOND,
        4 => receipt.output = Digest([0; 32]),
        5 => receipt.gpu = receipt.gpu.take().xor(Some(another_gpu())),
        _ => signs[0] ^= 1,
    }
}

/// What owners do.
impl Node {
    fn owner_acts(&mut self, env: &mut Env) {
        if env.is_quiet {
            return;
        }
        let next = env.chance.within(SECOND / 2, 8 * SECOND);
        self.alarm(env, next, NodeAlarm::Owner);
        if self.state != NodeState::Ready {
            env.hit(Point::OwnerResumed);
            return self.set_state(env, NodeState::Ready);
        }
        match env.chance.below(4) {
            0 => {
                let slots = env.chance.within(0, 8) as u32;
                self.set_slots(env, slots);
            }
            1 | 2 if self.gpu.is_some() && env.plan.has(Fault::Gpus) => self.switch_gpu(env),
            1 => {
                if !self.works.is_empty() {
                    env.hit(Point::OwnerDrained);
                }
                self.set_state(env, NodeState::Draining);
            }
            _ => self.pause(env),
        }
    }

    fn set_state(&mut self, env: &mut Env, state: NodeState) {
        env.note(format_args!("owner of node {}: {state:?}", self.index));
        self.state = state.clone();
        self.say(env, NodeMessage::State(state));
    }

    /// The machine is wanted now: guests stop, and what they did is handed in.
    fn pause(&mut self, env: &mut Env) {
        let is_first = env.chance.permille(500);
        if is_first {
            self.set_state(env, NodeState::Paused("in use".into()));
        }
        let works: Vec<u64> = self.works.keys().copied().collect();
        for place in works {
            self.take_back(env, place);
        }
        if !is_first {
            self.set_state(env, NodeState::Paused("in use".into()));
        }
    }

    /// Ends an attempt for the owner's sake.
    fn take_back(&mut self, env: &mut Env, place: u64) {
        let work = &self.works[&place];
        match work.stage {
            Stage::Waits => {
                let failure = AttemptFailure::Preempted("in use".into());
                let message = NodeMessage::Failed { job: work.job, attempt: work.attempt, failure };
                env.hit(Point::PreemptedBeforeStart);
                self.works.remove(&place);
                self.say(env, message);
            }
            Stage::Silent { .. } => {}
            Stage::Runs { .. } | Stage::Stops { .. } => self.report(env, place, Outcome::Preempted),
        }
    }

    /// The GPU is wanted now, or lent again: guests that have it stop, and what they did is handed in, before or after that is said.
    fn switch_gpu(&mut self, env: &mut Env) {
        self.offer.gpu = if self.offer.gpu.is_some() { None } else { self.gpu.clone() };
        let is_first = env.chance.permille(500);
        let slots = self.offer.slots;
        if is_first {
            self.set_slots(env, slots);
        }
        if self.offer.gpu.is_none() {
            let places: Vec<u64> =
                self.works.iter().filter(|(_, work)| work.spec.gpu.is_some()).map(|(place, _)| *place).collect();
            for place in places {
                env.hit(Point::GpuSwitchedOff);
                self.take_back(env, place);
            }
        }
        if !is_first {
            self.set_slots(env, slots);
        }
    }

    /// More or fewer slots; price and meter stay.
    fn set_slots(&mut self, env: &mut Env, slots: u32) {
        self.offer.slots = slots;
        self.slots_owned = self.offer.slots.max(1);
        if self.works.len() > self.offer.slots as usize {
            env.hit(Point::OfferShrank);
        }
        env.note(format_args!("node {} offers {} slots", self.index, self.offer.slots));
        self.say(env, NodeMessage::Offer(Box::new(self.offer.clone())));
        self.start_waiting(env);
    }

    /// Does what an honest node does not.
    pub(crate) fn misbehave(&mut self, env: &mut Env, known: &[JobId]) {
        if self.link.is_none() || known.is_empty() {
            return;
        }
        let job = env.chance.pick(known);
        let attempt = Attempt(env.chance.within(1, 4) as u32);
        self.lied_of.insert(job);
        // Where it happens to be at that, it is not any more.
        self.works.retain(|_, work| (work.job, work.attempt) != (job, attempt));
        match env.chance.below(3) {
            0 => {
                let dearer = Price { per_gpu_minute: self.offer.price.per_gpu_minute + 7, ..self.offer.price };
                let offer = NodeOffer { price: dearer, ..self.offer.clone() };
                self.say(env, NodeMessage::Offer(Box::new(offer)));
            }
            1 => self.say(env, NodeMessage::Failed { job, attempt, failure: AttemptFailure::Node("no".into()) }),
            _ => {
                let spec = Box::new(JobSpec::new(BlobRef::of(b"none"), BlobRef::of(b"none")));
                let work = Work { job, attempt, client: self.public, spec, arrived: env.now, stage: Stage::Waits };
                let receipt = self.receipt(env, &work, Outcome::Finished { exit_code: 0 });
                let signed = sign_receipts(&self.key, vec![receipt]).remove(0);
                let message = NodeMessage::Finished { receipt: Box::new(signed), reason: String::new(), output: None };
                self.say(env, message);
            }
        }
    }
}

/// The fuel that a job takes is its seed: nodes find out by running it.
fn true_fuel(spec: &JobSpec) -> u64 {
    spec.seed
}

/// The GPU time that a job takes, which is of its seed too.
fn true_gpu_ns(spec: &JobSpec) -> u64 {
    if spec.gpu.is_some() { gpu_ns_of(spec.seed) } else { 0 }
}

/// A part of the time that its fuel takes.
pub(crate) fn gpu_ns_of(seed: u64) -> u64 {
    seed / 8
}

fn gpu_offer(memory: u64) -> GpuOffer {
    let (memory, buffer) = (ByteCount(memory), ByteCount(128 << 20));
    GpuOffer { class: "software/sim/pipe".into(), memory, buffer, invocations: 256, workgroup_memory: 16 * 1024 }
}

fn another_gpu() -> GpuRun {
    GpuRun {
        class: "software/sim/another".into(),
        comparison: Comparison::Exact,
        dispatches: 1,
        bytes_moved: ByteCount(0),
        memory_peak: ByteCount(0),
    }
}

fn output_of(job: JobId) -> Vec<u8> {
    job.0.to_vec()
}
