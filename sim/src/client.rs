//! A client: jobs under idempotency keys, submitted until they have an answer.

use adit_protocol::{
    BlobRef, ByteCount, ClientMessage, Fuel, GatewayToClient, GpuNeed, IdempotencyKey, JobEvent, JobId, JobLimits, JobResult,
    JobSpec, Microcredits, Placement, Preference, Profile, PublicKey, Refusal, Salt, SecretKey, SignedReceipt, SignedSettlement,
};

use crate::env::{ClientAlarm, Env, Greeting, Happening, LinkId, Message, Peer};
use crate::node::gpu_ns_of;
use crate::plan::{Fault, Plan, SECOND};

/// The fuel of a short task, at most: some milliseconds.
const SHORT_FUEL: u64 = 5_000_000;

/// A client tries a job that was refused for want of room so often.
const TRIES_MAX: u32 = 20;

#[derive(Debug)]
pub(crate) struct Client {
    index: usize,
    pub(crate) public: PublicKey,
    /// What its jobs count against others'.
    pub(crate) weight: u32,
    link: Option<LinkId>,
    is_welcome: bool,
    pub(crate) jobs: Vec<ClientJob>,
}

#[derive(Debug)]
pub(crate) struct ClientJob {
    key: IdempotencyKey,
    pub(crate) id: JobId,
    spec: Box<JobSpec>,
    is_due: bool,
    tries: u32,
    is_cancelled: bool,
    /// An answer is awaited on this connection.
    is_waiting: bool,
    /// Submissions on this connection, and what answered them.
    asked: u32,
    answered: u32,
    pub(crate) stage: JobStage,
}

#[derive(Debug, Clone)]
pub(crate) enum JobStage {
    /// No answer yet.
    Open,
    /// It ran; that the receipt is stored was not told yet.
    Ran { receipt: Box<SignedReceipt>, link: Option<LinkId> },
    /// It has its answer.
    Settled,
    /// It has its answer: it did not run, or not to an end.
    Failed,
}

impl ClientJob {
    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self.stage, JobStage::Settled | JobStage::Failed)
    }
}

impl Client {
    pub(crate) fn new(env: &mut Env, index: usize, modules: &[BlobRef], jobs: u32) -> Self {
        let public = SecretKey::from_seed(env.chance.bytes()).public();
        env.lay_path(Peer::Client(index));
        let weight = env.chance.pick(&[1, 1, 1, 4]);
        let mut client = Self { index, public, weight, link: None, is_welcome: false, jobs: Vec::new() };
        for at in 0..jobs as usize {
            let job = client.draw_job(env, modules);
            client.jobs.push(job);
            // Half of the jobs come at few moments: peaks.
            let when = match env.chance.below(4) {
                0 => env.plan.active_us / 8,
                1 => env.plan.active_us / 3,
                _ if has_short_tasks(&env.plan) => env.plan.active_us / 2,
                _ => env.chance.below(env.plan.active_us * 9 / 10),
            };
            // Others come while one's short tasks wait.
            let after_us = if has_short_tasks(&env.plan) && index > 0 { 3_000 * at as u64 } else { 0 };
            let when = when + after_us;
            client.alarm(env, when, ClientAlarm::Submit(at));
            if env.chance.permille(100) {
                let patience = env.chance.within_orders(1_000, 4 * SECOND);
                client.alarm(env, when + patience, ClientAlarm::Cancel(at));
            }
        }
        client.alarm(env, 0, ClientAlarm::Connect);
        client
    }

    fn draw_job(&self, env: &mut Env, modules: &[BlobRef]) -> ClientJob {
        let key = IdempotencyKey(env.chance.bytes());
        let heavy = if env.plan.has(Fault::Overload) { 3_000_000_000 } else { 400_000_000 };
        let fuel = env.chance.within_orders(100_000, heavy);
        // Now and then a long one is among them.
        let is_short = has_short_tasks(&env.plan) && self.index == 0 && !fuel.is_multiple_of(16);
        let fuel = if is_short { fuel % SHORT_FUEL + 1 } else { fuel };
        let chance = &mut env.chance;
        let limit = if chance.permille(30) { fuel / 2 } else { fuel.saturating_mul(chance.within(1, 4)) };
        let limits = JobLimits {
            fuel: Fuel(limit.max(1)),
            memory: ByteCount(chance.pick(&[1 << 20, 32 << 20, 256 << 20])),
            output: ByteCount(1 << 16),
            wall_ms: chance.within(500, 5_000),
            queue_ms: chance.pick(&[500, 3_000, 12_000, 12_000]),
            ..JobLimits::default()
        };
        let memory = ByteCount(chance.pick(&[1 << 20, 256 << 20, 256 << 20, 1 << 30]));
        let gpu = chance.permille(250).then(|| GpuNeed { memory, buffer: ByteCount(1 << 20), ..GpuNeed::default() });
        let gpu_ns = if env.plan.has(Fault::Gpus) && chance.permille(150) { gpu_ns_of(fuel) / 2 } else { gpu_ns_of(fuel) * 2 };
        let limits = JobLimits { gpu_ns: gpu.map_or(0, |_| gpu_ns), ..limits };
        let labels: &[(&str, &str)] = chance.pick(&[&[][..], &[], &[], &[("region", "eu")], &[("gpu", "none")]]);
        let placement = Placement {
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            prefer: chance.pick(&[Preference::Fast, Preference::Balanced, Preference::Cheap]),
            deadline_ms: chance.permille(200).then(|| chance.within(100, 10_000)),
            priority: chance.pick(&[0, 0, 0, 5]),
            hedge: chance.permille(300),
        };
        let input = BlobRef { digest: adit_protocol::Digest::of(&key.0), bytes: chance.within_orders(1, 65_536) };
        let mut spec = JobSpec {
            limits,
            placement,
            seed: fuel,
            profile: if chance.permille(100) { Profile::Open } else { Profile::Deterministic },
            gpu,
            max_price: chance.permille(150).then(|| Microcredits(chance.within_orders(1, 10_000))),
            salt: Salt(chance.bytes()),
            ..JobSpec::new(chance.pick(modules), input)
        };
        if is_short {
            spec.module = modules[0];
        }
        // Some jobs share their weights, which weigh in the price.
        if fuel.is_multiple_of(4) {
            let weights = BlobRef { digest: adit_protocol::Digest::of(b"weights"), bytes: 1 << 20 };
            spec.add_input("weights".parse().expect("a name"), weights);
        }
        let id = JobId::derive(&self.public, &key);
        env.shadow.may_cost(id, spec.max_price);
        ClientJob {
            key,
            id,
            spec: Box::new(spec),
            is_due: false,
            tries: 0,
            is_cancelled: false,
            is_waiting: false,
            asked: 0,
            answered: 0,
            stage: JobStage::Open,
        }
    }

    fn alarm(&self, env: &mut Env, us: u64, alarm: ClientAlarm) {
        env.after(us, Happening::Client { client: self.index, alarm });
    }

    pub(crate) fn handle_alarm(&mut self, env: &mut Env, alarm: ClientAlarm) {
        match alarm {
            ClientAlarm::Connect if self.link.is_none() => {
                self.link = Some(env.connect(Peer::Client(self.index), Greeting::Client { key: self.public }));
            }
            ClientAlarm::Connect => {}
            ClientAlarm::Submit(at) => {
                self.jobs[at].is_due = true;
                self.submit(env, at);
            }
            ClientAlarm::Cancel(at) => self.cancel(env, at),
        }
    }

    pub(crate) fn link_ended(&mut self, env: &mut Env, link: LinkId) {
        if self.link == Some(link) {
            (self.link, self.is_welcome) = (None, false);
            for job in &mut self.jobs {
                (job.is_waiting, job.asked, job.answered) = (false, 0, 0);
            }
            let us = env.backoff_us();
            self.alarm(env, us, ClientAlarm::Connect);
        }
    }

    /// Submits what is due and has no answer; on a connection, once.
    fn submit(&mut self, env: &mut Env, at: usize) {
        let Some(link) = self.link.filter(|_| self.is_welcome) else { return };
        let job = &mut self.jobs[at];
        if !job.is_due || job.is_resolved() || job.is_waiting {
            return;
        }
        let message = ClientMessage::Submit { key: job.key, spec: job.spec.clone(), input: Some(Vec::new()), since_ms: 0 };
        job.is_waiting = true;
        job.asked += 1;
        job.tries += 1;
        env.note(format_args!("client {} submits {}", self.index, job.id));
        if env.strikes(Fault::Duplicates, 100) {
            job.asked += 1;
            env.send(link, Message::OfClient(message.clone()));
        }
        env.send(link, Message::OfClient(message));
    }

    fn cancel(&mut self, env: &mut Env, at: usize) {
        let Some(link) = self.link.filter(|_| self.is_welcome) else { return };
        let job = &mut self.jobs[at];
        if job.is_due {
            job.is_cancelled = true;
            env.note(format_args!("client {} cancels {}", self.index, job.id));
            env.send(link, Message::OfClient(ClientMessage::Cancel { job: job.id }));
            if env.strikes(Fault::Duplicates, 300) {
                env.send(link, Message::OfClient(ClientMessage::Cancel { job: job.id }));
            }
        }
    }

    pub(crate) fn welcomed(&mut self, env: &mut Env, link: LinkId) {
        if self.link != Some(link) {
            return;
        }
        self.is_welcome = true;
        for at in 0..self.jobs.len() {
            self.submit(env, at);
        }
    }

    pub(crate) fn handle(&mut self, env: &mut Env, link: LinkId, message: GatewayToClient) {
        if self.link != Some(link) {
            return;
        }
        let GatewayToClient::Event { job: id, event } = message else { return };
        let Some(at) = self.jobs.iter().position(|job| job.id == id) else {
            return env.shadow.fault(format!("client {} was told of job {id}, which is none of its own", self.index));
        };
        match *event {
            JobEvent::Ended(result) => self.ended(env, at, result),
            JobEvent::Settled(settlement) => self.settled(env, at, &settlement),
            JobEvent::Queued | JobEvent::Started { .. } | JobEvent::Progress { .. } | JobEvent::Interim(_) => {}
        }
    }

    fn ended(&mut self, env: &mut Env, at: usize, result: JobResult) {
        let job = &mut self.jobs[at];
        env.note(format_args!("client {} hears of {}: {}", self.index, job.id, brief(&result)));
        job.is_waiting = false;
        job.answered += 1;
        if job.answered > job.asked {
            return env.shadow.fault(format!("job {} was answered {} times for {} submissions", job.id, job.answered, job.asked));
        }
        match result {
            JobResult::Done { receipt, .. } => self.ran(env, at, receipt),
            JobResult::Refused(Refusal::KeyConflict) => {}
            JobResult::Refused(Refusal::QueueFull { retry_after_ms, .. }) if job.tries < TRIES_MAX => {
                let jitter = env.chance.within(500, 1_500);
                self.alarm(env, (retry_after_ms * jitter).min(3 * SECOND), ClientAlarm::Submit(at));
            }
            JobResult::Refused(Refusal::LedgerUnavailable(_)) => self.alarm(env, SECOND / 2, ClientAlarm::Submit(at)),
            JobResult::CancelledInQueue if !job.is_cancelled => {
                env.shadow.fault(format!("job {} was cancelled, and not by its client", job.id));
            }
            result if job.is_resolved() => drop(result),
            result => self.failed(env, at, result),
        }
    }

    /// It did not run. A stubborn client asks again.
    fn failed(&mut self, env: &mut Env, at: usize, result: JobResult) {
        let job = &mut self.jobs[at];
        // Across connections it may: a gateway that crashed before the receipt was stored never promised it.
        if matches!(job.stage, JobStage::Ran { link, .. } if link == self.link) {
            return env.shadow.fault(format!("job {} ran, and then it did not: {}", job.id, brief(&result)));
        }
        if job.tries < 3 && env.strikes(Fault::Duplicates, 300) {
            let us = env.chance.within_orders(1_000, SECOND);
            return self.alarm(env, us, ClientAlarm::Submit(at));
        }
        job.stage = JobStage::Failed;
    }

    fn ran(&mut self, env: &mut Env, at: usize, receipt: Box<SignedReceipt>) {
        let job = &mut self.jobs[at];
        if receipt.clone().verify().is_ok_and(|receipt| receipt.check_spec(&job.spec).is_ok()) {
            job.stage = JobStage::Ran { receipt, link: self.link };
        } else {
            env.shadow.fault(format!("job {} was answered with a receipt that does not hold", job.id));
        }
    }

    fn settled(&mut self, env: &mut Env, at: usize, settlement: &SignedSettlement) {
        let job = &mut self.jobs[at];
        let JobStage::Ran { receipt, .. } = &job.stage else {
            if !matches!(job.stage, JobStage::Settled) {
                env.shadow.fault(format!("job {} was settled and had not run", job.id));
            }
            return;
        };
        if settlement.verify(receipt).is_err() {
            return env.shadow.fault(format!("job {} was settled with another receipt", job.id));
        }
        env.shadow.promised(job.id, settlement.settlement.index, settlement.settlement.receipt);
        job.stage = JobStage::Settled;
        if env.strikes(Fault::Duplicates, 100) {
            self.ask_for_another(env, at);
        }
    }

    /// The same key for another job.
    fn ask_for_another(&mut self, env: &mut Env, at: usize) {
        let (Some(link), job) = (self.link, &mut self.jobs[at]) else { return };
        job.asked += 1;
        let spec = JobSpec { seed: job.spec.seed + 1, ..*job.spec.clone() };
        let message = ClientMessage::Submit { key: job.key, spec: Box::new(spec), input: Some(Vec::new()), since_ms: 0 };
        env.send(link, Message::OfClient(message));
    }

    /// Faults stop: what waits for another try is tried now and then still.
    pub(crate) fn calm(&mut self, env: &mut Env) {
        if self.link.is_none() {
            let us = env.chance.below(SECOND);
            self.alarm(env, us, ClientAlarm::Connect);
        }
    }
}

/// A result in few words.
pub(crate) fn brief(result: &JobResult) -> String {
    match result {
        JobResult::Done { receipt, .. } => format!("{} at {}", receipt.receipt.outcome.name(), short(&receipt.receipt.node)),
        JobResult::Refused(refusal) => format!("refused, {refusal}"),
        JobResult::CancelledInQueue => "cancelled".into(),
        JobResult::NodeLost { attempts, reason } => format!("lost after {attempts}, {reason}"),
    }
}

/// The first letters of a key.
pub(crate) fn short(key: &PublicKey) -> String {
    key.to_string()[..8].to_owned()
}

/// Whether in this run the first client has short tasks, for which nodes have leases ahead.
pub(crate) fn has_short_tasks(plan: &Plan) -> bool {
    plan.seed % 3 == 1
}
