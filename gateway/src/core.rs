//! The gateway's state and every change of it, free of I/O but for the outboxes, the ledger's queue and the blob store's index.

mod attempts;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use adit_dispatch::{Action, Config, Dispatcher, Event, Request, Tick};
use adit_ledger::{
    Account, Appended, Applied, Balance, Batch, Entry, Operation, Reader, ReceiptPage, Refused, StoreError, StoredJob,
    SubmitError, Writer,
};
use adit_protocol::limits::{ANSWER_ROWS_MAX, FRAME_BYTES_MAX, INLINE_BYTES_MAX, REASON_BYTES_MAX};
use adit_protocol::{
    AccountStatus, Answer, Attempt, AttemptFailure, BlobRef, ClientMessage, Decision, Digest, GatewayToClient, GatewayToNode,
    Grant, IdempotencyKey, JobEvent, JobId, JobResult, JobSpec, JobStatus, KnownRoots, LogStatus, Microcredits, NodeMessage,
    NodeOffer, NodeRecord, NodeState, NodeStatus, Order, Passed, Payout, Placement, Price, PublicKey, Query, Refusal, SecretKey,
    Settlement, SignedSettlement, Step, TransferId, UnixMillis, VoidReason, encode_frame, sign_settlements,
};
use adit_tlog::Published;
use adit_transport::BlobStore;
use serde::Serialize;
use tokio::sync::Notify;

use self::attempts::TooDear;
use crate::GatewayConfig;
use crate::account;
use crate::clock::{Clock, wall_time};
use crate::job::{Job, Live, Noted, Past, Stage, done_state, event_message};
use crate::jobs::Jobs;
use crate::link::{check_offer, check_state};
use crate::log::Log;
use crate::peer::{Client, LinkId, Node};
use crate::purse::{Purses, shown};
use crate::room::{Asked, LiveBytes};

/// Ended jobs whose log and state stay at hand for those who attach late. What was settled is in the ledger besides.
const ENDED_JOBS_MAX: usize = 4_096;

/// The same of jobs that ended before any node had them. These cost nobody anything, so they do not push out others' that ran.
const UNSTARTED_JOBS_MAX: usize = 4_096;

/// Log bytes of ended jobs that stay at hand: 64 jobs of the default log limit.
const ENDED_LOG_BYTES_MAX: usize = 64 << 20;

/// Jobs that a node did not get of which its owner is told.
const PASSED_MAX: usize = 32;

/// Submissions that did not become jobs and of which is known why, the latest ones: some 200 bytes each.
const TURNED_AWAY_MAX: usize = 4_096;

/// When to submit again what the store has no room for, in milliseconds: jobs end all the time.
pub(crate) const FULL_RETRY_MS: u64 = 1_000;

/// When to submit again what lacks blobs and a node that fits, in milliseconds: a node that left a moment ago is back by then, or is not expected.
const NODES_RETURN_MS: u64 = 500;

/// How long a gateway that had nodes waits for them after its start before it says of a job that none fits it: a node looks for one that was
/// long away every 15 s, and its dial takes up to 3.
const OPENING_GRACE_US: u64 = 20_000_000;

/// Rows of an answer, or jobs looked at for it, that weigh as much as a question.
const ROWS_A_QUESTION: usize = 16;

/// Log bytes of all jobs, live and ended. What is over is dropped: nodes that flood logs shall not take the gateway's memory.
const LOG_BYTES_MAX: usize = 512 << 20;

/// The ledger as the core has it.
#[derive(Debug)]
pub(crate) enum LedgerAccess {
    /// To record.
    Write(Writer),
    /// To read alone, and why: no job is taken.
    Read(Reader, Halt),
}

/// Why a ledger records nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Halt {
    pub(crate) why: String,
    /// Whether nothing is signed any more, of what was recorded either: a witness contradicts the ledger, and what is signed may be another
    /// word on what the newest copy of it has signed for; or it is damaged.
    pub(crate) signs_nothing: bool,
}

impl From<String> for Halt {
    fn from(why: String) -> Self {
        Self { why, signs_nothing: false }
    }
}

/// The log as the core has it.
#[derive(Debug)]
pub(crate) struct LogAccess {
    pub(crate) published: Published,
    /// Where it is served.
    pub(crate) url: Option<String>,
}

/// Everything that the gateway knows.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) key: SecretKey,
    pub(crate) clock: Clock,
    pub(crate) store: BlobStore,
    /// Wakes the timer task when a deadline moved forward.
    pub(crate) timer: Arc<Notify>,
    dispatcher: Dispatcher,
    /// The dispatcher's.
    limits: Config,
    /// When the timer task will wake by itself.
    armed: Option<Tick>,
    /// Nothing where the gateway only reads.
    ledger: Option<Writer>,
    reader: Reader,
    /// What was last said of the log, and where it is served.
    published: Published,
    log_url: Option<String>,
    /// What the ledger's thread does not have yet.
    unrecorded: VecDeque<Operation>,
    /// Payments and ends of each job that are noted and not yet on the disk. While there are some, the job stays at hand: the ledger does
    /// not know of its last attempts yet, whose numbers must not be given out again.
    uncommitted: HashMap<JobId, usize>,
    /// Wakes the task that hands them over.
    pub(crate) recorder: Arc<Notify>,
    /// Wakes whoever ends the gateway.
    pub(crate) stopping: Arc<Notify>,
    purses: Purses,
    /// The folder for copies of the ledger.
    backups: PathBuf,
    /// What a key is granted that never had credits.
    welcome: Microcredits,
    /// Orders on their way into the ledger, and who waits for each; those of one id in order.
    ordered: HashMap<TransferId, VecDeque<Option<(Client, u64)>>>,
    /// The ledger's queue had no room for an operation. No job is accepted until it has.
    ledger_full: bool,
    /// Why the ledger records nothing any more.
    ledger_stopped: Option<Halt>,
    jobs: Jobs,
    /// [`Live::bytes`] of all live jobs.
    live_bytes: LiveBytes,
    /// What clients are to send for jobs that they submitted.
    asked: Asked,
    /// Ended jobs, oldest first.
    ended: VecDeque<JobId>,
    /// Jobs that ended before any node had them, oldest first.
    unstarted: VecDeque<JobId>,
    ended_log_bytes: usize,
    /// Submissions that did not become jobs, oldest first.
    turned_away: VecDeque<TurnedAway>,
    /// Log bytes of all jobs.
    log_bytes: usize,
    nodes: BTreeMap<PublicKey, Node>,
    /// Receipts of each node that were refused.
    refused: HashMap<PublicKey, u64>,
    clients: usize,
    next_link: u64,
}

impl Core {
    pub(crate) fn new(config: &GatewayConfig, key: &SecretKey, store: BlobStore, books: LedgerAccess, log: LogAccess) -> Self {
        let (reader, ledger, ledger_stopped) = match books {
            LedgerAccess::Write(writer) => (writer.reader().clone(), Some(writer), None),
            LedgerAccess::Read(reader, why) => (reader, None, Some(why)),
        };
        let mut limits = Config { seed: seed_of(key), queue_max: config.queue_max, ..Config::default() };
        if had_nodes(&reader) {
            limits.opening_grace_us = OPENING_GRACE_US;
        }
        let key = SecretKey::from_seed(*key.seed());
        Self {
            key,
            clock: Clock::start(),
            store,
            timer: Arc::new(Notify::new()),
            dispatcher: dispatcher(&limits, &config.client_weights),
            limits,
            armed: None,
            ledger,
            reader,
            published: log.published,
            log_url: log.url,
            unrecorded: VecDeque::new(),
            uncommitted: HashMap::new(),
            recorder: Arc::new(Notify::new()),
            stopping: Arc::new(Notify::new()),
            purses: Purses::default(),
            backups: config.data_dir.join("backups"),
            welcome: config.welcome,
            ordered: HashMap::new(),
            ledger_full: false,
            ledger_stopped,
            jobs: Jobs::default(),
            live_bytes: LiveBytes::default(),
            asked: Asked::default(),
            ended: VecDeque::new(),
            unstarted: VecDeque::new(),
            ended_log_bytes: 0,
            turned_away: VecDeque::new(),
            log_bytes: 0,
            nodes: BTreeMap::new(),
            refused: HashMap::new(),
            clients: 0,
            next_link: 0,
        }
    }

    pub(crate) fn next_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    pub(crate) fn nodes_connected(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn clients_connected(&self) -> usize {
        self.clients
    }

    /// Takes in that time went by. Returns when to call again.
    pub(crate) fn handle_timeout(&mut self) -> Option<Tick> {
        self.dispatcher.handle_timeout(self.clock.now());
        self.act();
        self.armed = self.dispatcher.poll_timeout();
        self.armed
    }

    fn dispatch(&mut self, event: Event) {
        self.dispatcher.handle(self.clock.now(), event);
        self.follow();
    }

    /// Carries out what the dispatcher decided, and has the timer wake for what comes next.
    fn follow(&mut self) {
        self.act();
        // A deadline that moved back costs the timer one idle wake-up; only one that moved forward must wake it now.
        if let Some(next) = self.dispatcher.poll_timeout()
            && self.armed.is_none_or(|armed| next < armed)
        {
            self.armed = Some(next);
            self.timer.notify_one();
        }
    }

    /// Carries out what the dispatcher decided.
    fn act(&mut self) {
        while let Some(action) = self.dispatcher.poll_action() {
            match action {
                Action::Start { job, attempt, node, decision } => self.start(job, attempt, node, &decision),
                Action::Waits { job, wait } => {
                    if let Some(job) = self.jobs.get_mut(&job) {
                        job.steps.push((wall_time(), Noted::Waits(wait)));
                        // Once it has had a node it waits again, and who follows it is to know that it does not run.
                        if let Some(live) = job.stage.live_mut()
                            && live.running.is_some()
                        {
                            (live.waits_again, live.progress) = (true, None);
                            job.tell(&JobEvent::Queued);
                        }
                    }
                }
                Action::Stop { job, attempt, node } => {
                    if let Some(node) = self.nodes.get(&node) {
                        node.send(&GatewayToNode::Cancel { job, attempt });
                    }
                }
                Action::Abandon { job, attempt, .. } => self.loser_gone(job, attempt),
                Action::Refuse { job, refusal } => self.fail(job, JobResult::Refused(refusal)),
                Action::CancelledInQueue { job } => self.fail(job, JobResult::CancelledInQueue),
                Action::Lost { job, attempts, reason } => self.fail(job, JobResult::NodeLost { attempts, reason }),
            }
        }
    }

    fn start(&mut self, id: JobId, attempt: Attempt, key: PublicKey, decision: &Arc<Decision>) {
        if let Err(TooDear { affordable, is_all_it_allows }) = self.put_aside(id, attempt, key) {
            let declined = Event::Declined { node: key, job: id, attempt, affordable, is_all_it_allows };
            return self.dispatcher.handle(self.clock.now(), declined);
        }
        let (Some(job), Some(node)) = (self.jobs.get_mut(&id), self.nodes.get(&key)) else {
            tracing::error!(job = %id, node = %key, "the dispatcher started a job or on a node that is not there");
            return;
        };
        let Stage::Live(live) = &mut job.stage else { return };
        job.steps.push((wall_time(), Noted::Started(Arc::clone(decision))));
        if attempt.0 > 1 {
            let line = format!("[adit] attempt {attempt} on node {key}");
            self.log_bytes += job.log.append_line(&line, live.spec.limits.log.0);
        }
        (live.running, live.waits_again) = (Some((key, attempt)), false);
        live.progress = None;
        let lease =
            GatewayToNode::Lease { job: id, attempt, client: job.client, spec: live.spec.clone(), input: live.input.clone() };
        node.send(&lease);
        job.tell(&JobEvent::Started { node: key, attempt });
    }

    /// Ends a job that came to no outcome.
    fn fail(&mut self, id: JobId, result: JobResult) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.steps.extend(Noted::end(&result).map(|end| (wall_time(), end)));
        job.tell(&JobEvent::Ended(result.clone()));
        job.followers.clear();
        job.log.end();
        self.give_back(id, &result);
        self.end(id, Stage::Failed(result));
        self.retire_failed(id);
    }

    /// Retires a job that came to no outcome, once the ledger has all that was paid for it.
    fn retire_failed(&mut self, id: JobId) {
        let is_failed = self.jobs.get(&id).is_some_and(|job| matches!(job.stage, Stage::Failed(_)));
        if is_failed && !self.uncommitted.contains_key(&id) {
            self.retire(id);
        }
    }

    /// Gives back what was taken from the client's purse for a job that costs nothing.
    fn give_back(&mut self, id: JobId, result: &JobResult) {
        let Some(Job { client, stage: Stage::Live(live), .. }) = self.jobs.get(&id) else { return };
        let (client, reserved, held) = (*client, live.reserved, live.held);
        self.refund(client, reserved.0.into());
        if held.is_none() {
            return self.purses.release(&client);
        }
        let reason = match result {
            JobResult::CancelledInQueue => VoidReason::Cancelled,
            JobResult::NodeLost { .. } => VoidReason::NodesLost,
            JobResult::Refused(_) | JobResult::Done { .. } => VoidReason::Refused,
        };
        self.record(Operation::Void { job: id, customer: client, reason, time: wall_time() });
    }

    /// Puts an ended stage in the place of the live one, and returns that.
    fn end(&mut self, id: JobId, stage: Stage) -> Option<Live> {
        let job = self.jobs.get_mut(&id)?;
        match std::mem::replace(&mut job.stage, stage) {
            Stage::Live(live) => {
                self.live_bytes.give_back(&job.client, live.bytes());
                Some(live)
            }
            Stage::Done { .. } | Stage::Failed(_) => None,
        }
    }

    /// Keeps an ended job at hand for a while.
    fn retire(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        job.log.end();
        if job.never_started() {
            self.unstarted.push_back(id);
            if self.unstarted.len() > UNSTARTED_JOBS_MAX
                && let Some(oldest) = self.unstarted.pop_front()
            {
                // No node has written to its log.
                self.jobs.remove(&oldest);
            }
            return;
        }
        self.ended_log_bytes += job.log.len();
        self.ended.push_back(id);
        while self.ended.len() > ENDED_JOBS_MAX || self.ended_log_bytes > ENDED_LOG_BYTES_MAX {
            let Some(oldest) = self.ended.pop_front() else { break };
            if let Some(job) = self.jobs.remove(&oldest) {
                self.ended_log_bytes -= job.log.len();
                self.log_bytes -= job.log.len();
            }
        }
    }
}

/// Bytes that modules and inputs of jobs that have not ended may take of the store: three quarters. An output for which there is no room is work
/// that nobody pays.
pub(crate) fn inputs_max(store: &BlobStore) -> u64 {
    store.bytes_max() / 4 * 3
}

/// The blobs of a job that a gateway must have in its store, each once.
fn stored_blobs(spec: &JobSpec, inline: bool) -> BTreeSet<BlobRef> {
    let named = spec.inputs.iter().map(|input| input.blob);
    std::iter::once(spec.module).chain((!inline).then_some(spec.input)).chain(named).collect()
}

/// What is left, in milliseconds, of the deadline of a job that was submitted first so long ago; nothing where it has none.
fn deadline_left(spec: &JobSpec, since_ms: u64) -> Result<Option<u64>, Refusal> {
    match spec.placement.deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(since_ms)) {
        Some(0) => Err(Refusal::DeadlineMissed { left_ms: 0, needed_ms: 0 }),
        left => Ok(left),
    }
}

/// What clients want.
impl Core {
    pub(crate) fn client_joined(&mut self) {
        self.clients += 1;
    }

    pub(crate) fn client_left(&mut self, client: &PublicKey, link: LinkId) {
        self.clients -= 1;
        self.jobs.for_each_of(client, |job| job.followers.retain(|f| f.link != link));
        self.asked.forget_all(link);
    }

    pub(crate) fn handle_client(&mut self, client: &Client, message: ClientMessage) {
        match message {
            ClientMessage::Submit { key, spec, input, since_ms } => self.submit(client, key, spec, input, since_ms),
            ClientMessage::Attach { job } => self.attach(client, job),
            ClientMessage::Cancel { job } => {
                self.asked.forget(client.link, job);
                if self.jobs.get(&job).is_some_and(|j| j.client == client.connection.peer()) {
                    self.dispatch(Event::Cancelled { job });
                }
            }
            ClientMessage::Ask { request, query: Query::Order(order) } => self.order(client, request, order),
            ClientMessage::Ask { request, query: Query::Backup } => self.backup(client, request),
            ClientMessage::Ask { request, query } => {
                let answer = self.answer(client.connection.peer(), query);
                client.send(&GatewayToClient::Answer { request, answer });
            }
        }
    }

    fn submit(&mut self, client: &Client, key: IdempotencyKey, spec: Box<JobSpec>, input: Option<Vec<u8>>, since_ms: u64) {
        let owner = client.connection.peer();
        let id = JobId::derive(&owner, &key);
        self.asked.forget(client.link, id);
        let digest = spec.digest();
        let past = match self.known(id, digest, &spec) {
            Ok(Known::No(past)) => past,
            Ok(Known::Here) => return self.attach(client, id),
            Ok(Known::Settled(stored)) => return self.replay(client, *stored),
            Err(refusal) => return self.turn_away(client, id, refusal),
        };
        let deadline_ms = match self.admit(&spec, input.as_deref()).and_then(|()| deadline_left(&spec, since_ms)) {
            Ok(left) => left,
            Err(refusal) => return self.turn_away(client, id, refusal),
        };
        let (mut pins, pinned_before) = (Vec::new(), self.store.bytes_pinned());
        let mut missing = Vec::new();
        let inline = input.is_some();
        for blob in stored_blobs(&spec, inline) {
            match self.store.pin(&blob.digest).filter(|pin| pin.blob() == blob) {
                Some(pin) => pins.push(pin),
                None => missing.push(blob),
            }
        }
        let max_price = spec.max_price.map(|max| Microcredits(max.0.saturating_sub(past.paid.0)));
        let request = Request::new(&owner, &spec, inline);
        let placement = Placement { deadline_ms, ..request.placement };
        let request = Box::new(Request { max_price, last_attempt: past.last_attempt, placement, ..request });
        let module = spec.module.digest;
        let floor = self.dispatcher.cost_floor(&request);
        if !missing.is_empty() {
            let asked =
                self.worth_asking(owner, id, &request, floor).and_then(|()| self.asked.ask(client.link, id, missing.clone()));
            return match asked {
                Ok(()) => client
                    .send(&GatewayToClient::NeedBlobs { job: id, missing: missing.iter().map(|blob| blob.digest).collect() }),
                Err(refusal) => self.turn_away(client, id, refusal),
            };
        }
        let pinned = self.store.bytes_pinned();
        if pinned > pinned_before && pinned > inputs_max(&self.store) {
            let what = format!(
                "jobs that have not ended need {pinned_before} bytes of the gateway's store, and this one would add to them"
            );
            return self.turn_away(client, id, Refusal::ShareFull { what, retry_after_ms: FULL_RETRY_MS });
        }
        let reserved = floor.unwrap_or(Microcredits(0));
        let live = Live::new(spec, input, pins, reserved, past);
        if let Err(refusal) = self.live_bytes.admit(&owner, live.bytes(), self.dispatcher.queued()) {
            return self.turn_away(client, id, refusal);
        }
        if let Err(refusal) = self.reserve(owner, reserved) {
            return self.turn_away(client, id, refusal);
        }
        self.live_bytes.take(owner, live.bytes());
        client.send_soon(&GatewayToClient::Accepted { job: id });
        let job = Job {
            id,
            client: owner,
            module,
            spec_digest: digest,
            submitted: wall_time(),
            stage: Stage::Live(live),
            past,
            steps: Vec::new(),
            log: Log::default(),
            followers: vec![client.clone()],
        };
        // One that failed before under the same key makes room only now: until here it told of its attempts.
        self.forget(id);
        self.jobs.insert(job);
        self.dispatch(Event::Submitted { job: id, request });
        // Started at once, the client has heard of it; else it waits.
        if let Some(job) = self.jobs.get(&id)
            && let Stage::Live(Live { running: None, .. }) = &job.stage
        {
            job.tell(&JobEvent::Queued);
        }
    }

    /// Checks that a client may send what its job lacks: a node fits it and has room, or it may wait for one, and its client can pay the least that it can cost there. Where one may come
    /// back in a moment, and for a job that costs nothing where others pay, its client must have something: who has not takes no room.
    fn worth_asking(
        &mut self,
        client: PublicKey,
        id: JobId,
        request: &Request,
        floor: Option<Microcredits>,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = self.dispatcher.refusal(id, request) {
            return Err(refusal);
        }
        let Some(floor) = floor else {
            let what = "no node that fits is connected, and one may come back in a moment".to_owned();
            let may_come = Refusal::ShareFull { what, retry_after_ms: NODES_RETURN_MS };
            return self.afford(client, Microcredits(1)).map_err(|_| may_come);
        };
        // A node names a price of GPU time also where it has none.
        let of_job = |price: Price| if request.gpu.is_some() { price } else { Price { per_gpu_minute: 0, ..price } };
        let is_free = self.dispatcher.prices(request).into_iter().any(|price| of_job(price) == Price::default());
        self.afford(client, if is_free { floor } else { floor.max(Microcredits(1)) })
    }

    /// Whether a connection was asked for a blob.
    pub(crate) fn is_asked_for(&self, link: LinkId, blob: &BlobRef) -> bool {
        self.asked.has(link, blob)
    }

    /// Takes in that a blob which a connection was asked for is in the store.
    pub(crate) fn blob_arrived(&mut self, link: LinkId, blob: &BlobRef) {
        self.asked.arrived(link, blob);
    }

    /// Refuses what does not become a job, and keeps that for a while for who asks why.
    fn turn_away(&mut self, client: &Client, id: JobId, refusal: Refusal) {
        if self.turned_away.len() >= TURNED_AWAY_MAX {
            self.turned_away.pop_front();
        }
        let (client_key, refused) = (client.connection.peer(), refusal.clone());
        self.turned_away.push_back(TurnedAway { id, client: client_key, time: wall_time(), refusal: refused });
        client.send(&event_message(id, JobEvent::Ended(JobResult::Refused(refusal))));
    }

    /// Takes what a job can cost from its client's purse.
    fn reserve(&mut self, client: PublicKey, amount: Microcredits) -> Result<(), Refusal> {
        self.afford(client, amount)?;
        let available = self.purses.available(&client, &self.reader).map_err(unavailable)?;
        self.purses.take(client, available);
        self.purses.add(&client, -i128::from(amount.0));
        Ok(())
    }

    /// Checks that a client has so much; a new key may be welcomed with it.
    fn afford(&mut self, client: PublicKey, amount: Microcredits) -> Result<(), Refusal> {
        let available = self.purses.available(&client, &self.reader).map_err(unavailable)?;
        if available >= i128::from(amount.0) {
            return Ok(());
        }
        if amount <= self.welcome && self.is_new(&client).map_err(unavailable)? {
            self.welcome(client, available);
            return Ok(());
        }
        Err(Refusal::InsufficientCredit { available: shown(available), needed: amount })
    }

    /// Whether a key never had credits, as far as the ledger knows and what is on its way there. What it ran may have cost nothing. One that
    /// was granted credits and spent them to the last millionth is taken for new too: once, as a welcome is one order.
    fn is_new(&self, client: &PublicKey) -> Result<bool, StoreError> {
        let welcome = welcome_id(client);
        if self.ordered.contains_key(&welcome) || self.reader.order(welcome)?.is_some() {
            return Ok(false);
        }
        Ok(self.reader.balance(Account::Customer(*client))? == Balance::default())
    }

    /// Grants a new key what this gateway gives to such.
    fn welcome(&mut self, customer: PublicKey, available: i128) {
        let grant = Grant { id: welcome_id(&customer), customer, amount: self.welcome, time: wall_time() };
        self.purses.take(customer, available);
        self.purses.add(&customer, grant.amount.0.into());
        self.ordered.entry(grant.id).or_default().push_back(None);
        self.record(Operation::Grant(grant));
    }

    /// Has the ledger carry out an order of the operator's; the answer comes when it is durable.
    fn order(&mut self, client: &Client, request: u64, order: Order) {
        if client.connection.peer() != self.key.public() {
            let answer =
                Answer::OrderRefused("orders are the gateway's operator's: connect with the gateway's own key".to_owned());
            return client.send(&GatewayToClient::Answer { request, answer });
        }
        if let Some(Halt { why, .. }) = &self.ledger_stopped {
            let answer = Answer::OrderRefused(format!("the ledger records nothing: {why}"));
            return client.send(&GatewayToClient::Answer { request, answer });
        }
        let time = wall_time();
        let (id, operation) = match order {
            Order::Grant { id, customer, amount } => {
                // So that the purse cannot be made anew between the commit and the news of it, and have the amount twice.
                match self.purses.available(&customer, &self.reader) {
                    Ok(available) => self.purses.take(customer, available),
                    Err(error) => {
                        let answer = Answer::Unavailable(error.to_string());
                        return client.send(&GatewayToClient::Answer { request, answer });
                    }
                }
                (id, Operation::Grant(Grant { id, customer, amount, time }))
            }
            Order::Payout { id, owner, amount } => (id, Operation::Payout(Payout { id, owner, amount, time })),
        };
        self.ordered.entry(id).or_default().push_back(Some((client.clone(), request)));
        self.record(operation);
    }

    /// Copies the ledger beside itself, on a thread of its own; the answer comes when the copy is whole.
    fn backup(&self, client: &Client, request: u64) {
        let (client, reader, folder) = (client.clone(), self.reader.clone(), self.backups.clone());
        if client.connection.peer() != self.key.public() {
            let answer =
                Answer::OrderRefused("a backup is the gateway's operator's: connect with the gateway's own key".to_owned());
            return client.send(&GatewayToClient::Answer { request, answer });
        }
        tokio::task::spawn_local(async move {
            let copy = move || {
                let name = format!("ledger-{}.redb", wall_time().0);
                let path = std::path::absolute(folder.join(name))?;
                std::fs::create_dir_all(&folder)?;
                reader.backup(&path).map(|head| (path, head.size)).map_err(std::io::Error::other)
            };
            let answer = match tokio::task::spawn_blocking(copy).await {
                Ok(Ok((path, leaves))) => Answer::BackedUp { path: path.display().to_string(), leaves },
                Ok(Err(error)) => Answer::OrderRefused(format!("the backup failed: {error}")),
                Err(error) => Answer::OrderRefused(format!("the backup failed: {error}")),
            };
            client.send(&GatewayToClient::Answer { request, answer });
        });
    }

    /// What a key has. Granted again and again it may be more than an answer has room for: that is said, and no other sum.
    fn account(&self, key: PublicKey) -> Result<Answer, StoreError> {
        let customer = self.reader.balance(Account::Customer(key))?;
        let available = self.purses.available(&key, &self.reader)?;
        let earned = self.reader.balance(Account::Owner(key))?.posted;
        let held = customer.posted - available;
        if [available, held, earned].into_iter().any(|amount| amount > u64::MAX.into()) {
            return Ok(Answer::Unavailable(format!(
                "the account has more than the {} microcredits that an answer tells: available {available}, held {held}, earned {earned}",
                u64::MAX
            )));
        }
        Ok(Answer::Account(AccountStatus { available: shown(available), held: shown(held), earned: shown(earned) }))
    }

    /// Whether the key names a job already, and the same one.
    fn known(&mut self, id: JobId, digest: Digest, spec: &JobSpec) -> Result<Known, Refusal> {
        if let Some(job) = self.jobs.get(&id) {
            if job.spec_digest != digest {
                return Err(Refusal::KeyConflict);
            }
            if !matches!(job.stage, Stage::Failed(_)) {
                return Ok(Known::Here);
            }
            // It came to no outcome, so the same key may try again.
            let attempts = job.steps.iter().filter_map(|(_, noted)| Some(noted.attempt()?.0));
            let last_attempt = attempts.chain([job.past.last_attempt]).max().unwrap_or(0);
            return Ok(Known::No(Past { last_attempt, ..job.past }));
        }
        match self.reader.job(id) {
            Ok(Some(stored)) if stored.receipt.receipt.spec == digest => Ok(Known::Settled(Box::new(stored))),
            Ok(Some(_)) => Err(Refusal::KeyConflict),
            Ok(None) => account::past(&self.reader, id, spec).map(Known::No).map_err(unavailable),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        self.log_bytes -= job.log.len();
        if job.never_started() {
            return self.unstarted.retain(|ended| *ended != id);
        }
        // One that waits for the ledger is not retired yet.
        if let Some(at) = self.ended.iter().position(|ended| *ended == id) {
            self.ended.remove(at);
            self.ended_log_bytes -= job.log.len();
        }
    }

    fn admit(&self, spec: &JobSpec, input: Option<&[u8]>) -> Result<(), Refusal> {
        spec.check().map_err(|error| Refusal::SpecTooLarge(error.to_string()))?;
        if let Some(Halt { why, .. }) = &self.ledger_stopped {
            return Err(Refusal::LedgerUnavailable(why.clone()));
        }
        if self.ledger_full {
            return Err(Refusal::QueueFull { queued: self.dispatcher.queued() as u32, retry_after_ms: 100 });
        }
        match input {
            Some(bytes) if bytes.len() > INLINE_BYTES_MAX => Err(Refusal::SpecTooLarge(format!(
                "the inline input is {} bytes, over the limit of {INLINE_BYTES_MAX}",
                bytes.len()
            ))),
            Some(bytes) if BlobRef::of(bytes) != spec.input => Err(Refusal::InputMissing(spec.input.digest)),
            _ => self.admit_size(spec, input.is_some()),
        }
    }

    /// Refuses a job whose blobs the store can never hold together: its client would send them for ever.
    fn admit_size(&self, spec: &JobSpec, inline: bool) -> Result<(), Refusal> {
        let bytes = stored_blobs(spec, inline).iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.bytes));
        let bytes_max = inputs_max(&self.store);
        if bytes <= bytes_max {
            return Ok(());
        }
        let reason = format!(
            "the job's module and inputs have {bytes} bytes together, and this gateway holds at most {bytes_max} of such"
        );
        Err(Refusal::SpecTooLarge(reason))
    }

    fn attach(&mut self, client: &Client, id: JobId) {
        let owner = client.connection.peer();
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.client == owner) {
            client.send(&GatewayToClient::Accepted { job: id });
            return job.follow(client, self.dispatcher.leases_of(id));
        }
        let refusal = match self.reader.job(id) {
            Ok(Some(stored)) if stored.receipt.receipt.client == owner => return self.replay(client, stored),
            Ok(_) => Refusal::UnknownJob,
            Err(error) => Refusal::LedgerUnavailable(error.to_string()),
        };
        client.send(&event_message(id, JobEvent::Ended(JobResult::Refused(refusal))));
    }

    /// Tells a client of a job that only the ledger remembers.
    fn replay(&self, client: &Client, stored: StoredJob) {
        let id = stored.receipt.receipt.job;
        let damaged = || self.reader.found_damage().is_some();
        if let Some(Halt { why, .. }) = self.ledger_stopped.as_ref().filter(|halt| halt.signs_nothing || damaged()) {
            let refusal = Refusal::LedgerUnavailable(why.clone());
            return client.send(&event_message(id, JobEvent::Ended(JobResult::Refused(refusal))));
        }
        let settlement = sign_settlements(&self.key, &[self.settlement(&stored)]).remove(0);
        client.send(&GatewayToClient::Accepted { job: id });
        let StoredJob { receipt, reason, output, queue_us, rtt_us, .. } = stored;
        let result = JobResult::Done { receipt: Box::new(receipt), reason, output, queue_us, rtt_us };
        client.send(&event_message(id, JobEvent::Ended(result)));
        client.send(&event_message(id, JobEvent::Settled(settlement)));
    }

    fn settlement(&self, stored: &StoredJob) -> Settlement {
        Settlement {
            gateway: self.key.public(),
            job: stored.receipt.receipt.job,
            receipt: stored.receipt.digest(),
            index: stored.index,
            time: stored.settled,
        }
    }

    /// A job's log, for its own client.
    pub(crate) fn log_of(&self, client: &PublicKey, id: JobId) -> Option<Log> {
        self.jobs.get(&id).filter(|job| job.client == *client).map(|job| job.log.clone())
    }

    /// How many questions a message weighs: what there is to look at for its answer. Nothing where it asks none.
    pub(crate) fn weight(&self, message: &ClientMessage) -> Option<u32> {
        let rows = match message {
            ClientMessage::Submit { .. } | ClientMessage::Cancel { .. } => return None,
            ClientMessage::Attach { .. } => 0,
            ClientMessage::Ask { query, .. } => match query {
                Query::Nodes => self.nodes.len().min(ANSWER_ROWS_MAX),
                Query::Jobs { limit }
                | Query::Receipts { limit, .. }
                | Query::Statement { limit, .. }
                | Query::Unpaid { limit, .. } => (*limit as usize).min(ANSWER_ROWS_MAX),
                // Holds are in the order of their jobs, so those of one client are found among all.
                Query::Holds | Query::HoldsAfter { .. } => self.jobs.len(),
                _ => 0,
            },
        };
        Some(1 + (rows / ROWS_A_QUESTION) as u32)
    }

    fn answer(&self, client: PublicKey, query: Query) -> Answer {
        match query {
            Query::Job(id) => match self.status(client, id) {
                Ok(status) => Answer::Job(status.map(Box::new)),
                Err(error) => Answer::Unavailable(error),
            },
            Query::Jobs { limit } => {
                let newest = self.jobs.of(&client).take((limit as usize).min(ANSWER_ROWS_MAX));
                Answer::Jobs(fitting(newest.map(|job| job.status(self.dispatcher.leases_of(job.id))).collect()))
            }
            Query::Nodes => Answer::Nodes(fitting(self.node_rows())),
            Query::Account => available(self.account(client)),
            Query::Order(_) => Answer::Unavailable("an order is answered when it is carried out".to_owned()),
            Query::Receipts { from, limit } => {
                let page = self.reader.receipts_of(&client, from, (limit as usize).min(ANSWER_ROWS_MAX));
                available(page.map(|ReceiptPage { rows, next }| {
                    let (rows, next) = fitting_page(rows, next);
                    Answer::Receipts { rows, next }
                }))
            }
            Query::Statement { from, limit } => available(account::statement(&self.reader, client, from, limit)),
            Query::Holds => available(account::holds(&self.reader, client, None)),
            Query::HoldsAfter { expires, job } => available(account::holds(&self.reader, client, Some((expires, job)))),
            Query::Unpaid { from, limit } => available(account::unpaid(&self.reader, client, from, limit)),
            Query::Proof(job) => available(account::proof(&self.reader, &self.published, client, job)),
            Query::AttemptProof { job, attempt } => {
                available(account::attempt_proof(&self.reader, &self.published, client, job, attempt))
            }
            Query::Log => {
                let checkpoint = self.published.get().map(|published| String::from_utf8_lossy(&published.note).into_owned());
                Answer::Log(LogStatus { url: self.log_url.clone(), checkpoint })
            }
            Query::Why(job) => Answer::Why(self.steps(client, job)),
            Query::WhyNot(node) => Answer::WhyNot(self.node_record(client, node).map(Box::new)),
            Query::Backup => Answer::Unavailable("a backup is answered when it is made".to_owned()),
        }
    }

    fn status(&self, client: PublicKey, id: JobId) -> Result<Option<JobStatus>, String> {
        if let Some(job) = self.jobs.get(&id) {
            let is_own = job.client == client;
            return Ok(is_own.then(|| job.status(self.dispatcher.leases_of(id))));
        }
        let stored = self.reader.job(id).map_err(|error| error.to_string())?;
        Ok(stored.filter(|stored| stored.receipt.receipt.client == client).map(|stored| JobStatus {
            job: id,
            module: stored.receipt.receipt.module,
            submitted: UnixMillis(0),
            state: done_state(&stored.receipt, true),
        }))
    }

    fn node_rows(&self) -> Vec<NodeStatus> {
        let row = |view: adit_dispatch::NodeView<'_>| NodeStatus {
            node: view.node,
            offer: view.offer.clone(),
            state: view.state.clone(),
            slots_used: view.slots_used,
            rtt_spread_us: view.spread_us,
            fuel_per_second: view.fuel_per_second.unwrap_or(0),
            reputation: view.reputation,
            rtt_us: self.rtt_us(&view.node),
            jobs_done: view.jobs_done,
            receipts_refused: self.refused.get(&view.node).copied().unwrap_or(0),
        };
        self.dispatcher.nodes().take(ANSWER_ROWS_MAX).map(row).collect()
    }

    /// A job's steps on its way to a node, for its client and the operator.
    fn steps(&self, client: PublicKey, id: JobId) -> Vec<(UnixMillis, Step)> {
        let may_ask = |owner: PublicKey| owner == client || client == self.key.public();
        let steps: Vec<_> = match self.jobs.get(&id) {
            Some(job) if may_ask(job.client) => job.steps.iter().map(|(time, noted)| (*time, noted.step())).collect(),
            Some(_) => Vec::new(),
            None => {
                let away = self.turned_away.iter().rev().find(|away| away.id == id && may_ask(away.client));
                away.map(|away| (away.time, Step::Refused(away.refusal.clone()))).into_iter().collect()
            }
        };
        fitting(steps)
    }

    /// What a node was considered for, for its owner and the operator.
    fn node_record(&self, client: PublicKey, node: PublicKey) -> Option<NodeRecord> {
        let view = self.dispatcher.node(&node).filter(|_| client == node || client == self.key.public())?;
        let (now, wall) = (self.clock.now(), wall_time());
        let ago = |at: Tick| UnixMillis(wall.0.saturating_sub(now.since(at) / 1_000));
        let passed = self.dispatcher.passed(&node).take(PASSED_MAX);
        let passed = passed.map(|(at, job, candidate, chosen)| Passed { job, time: ago(at), candidate, chosen });
        Some(NodeRecord {
            state: view.state.clone(),
            reputation: view.reputation,
            verdicts: view.verdicts,
            passed: passed.collect(),
        })
    }

    fn rtt_us(&self, node: &PublicKey) -> u64 {
        self.nodes.get(node).map_or(0, |node| node.connection.rtt().as_micros() as u64)
    }
}

/// A submission that did not become a job.
#[derive(Debug)]
struct TurnedAway {
    id: JobId,
    client: PublicKey,
    time: UnixMillis,
    refusal: Refusal,
}

/// What a node's owner is told of attempts that ended with its connection.
const CONNECTION_LOST: &str = "its connection to the gateway was lost";

/// Whether a submission is news.
enum Known {
    /// With what there was of it before.
    No(Past),
    /// In memory.
    Here,
    /// In the ledger only.
    Settled(Box<StoredJob>),
}

/// What nodes say.
impl Core {
    pub(crate) fn node_joined(&mut self, node: Node, state: NodeState, cached: Vec<Digest>) {
        let (key, offer) = (node.connection.peer(), node.offer.clone());
        if let Some(older) = self.nodes.insert(key, node) {
            older.connection.close_replaced();
            self.note_lost(key, CONNECTION_LOST);
        }
        self.dispatch(Event::NodeJoined { node: key, offer, state, cached });
        self.node_path(key);
    }

    pub(crate) fn node_left(&mut self, key: PublicKey, link: LinkId) {
        // A connection that was replaced has left already.
        if self.is_current(key, link) {
            self.nodes.remove(&key);
            self.note_lost(key, CONNECTION_LOST);
            self.dispatch(Event::NodeLeft { node: key });
        }
    }

    /// Notes what a node was at when its connection ended.
    fn note_lost(&mut self, node: PublicKey, reason: &str) {
        let lost: Vec<_> = self.dispatcher.leases(&node).collect();
        for (job, attempt) in lost {
            self.note_unpaid(node, job, attempt, reason);
        }
    }

    /// Takes in the path to a node as it is now.
    pub(crate) fn node_path(&mut self, key: PublicKey) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let smoothed_us = node.connection.rtt().as_micros() as u64;
        let (rtt_us, spread_us) = node.path.add(smoothed_us, node.connection.acks_received());
        self.dispatch(Event::NodePath { node: key, rtt_us, spread_us });
    }

    /// Takes in what a node says on a connection.
    ///
    /// # Errors
    /// What the node did that an honest one does not; its connection is to be ended by [`Core::expel`].
    pub(crate) fn handle_node(
        &mut self,
        key: PublicKey,
        link: LinkId,
        known: &mut KnownRoots,
        message: NodeMessage,
    ) -> Result<(), String> {
        if !self.is_current(key, link) {
            // Of a connection that was replaced: its leases are lost, and what it says is not about those of the next.
            return Ok(());
        }
        match message {
            NodeMessage::Started { .. } => {}
            NodeMessage::Log { job, attempt, bytes } => {
                if self.holds(key, job, attempt)
                    && let Some(job) = self.jobs.get(&job)
                    && let Stage::Live(live) = &job.stage
                    && self.log_bytes + bytes.len() <= LOG_BYTES_MAX
                {
                    self.log_bytes += job.log.append(&bytes, live.spec.limits.log.0);
                }
            }
            NodeMessage::Progress { job, attempt, done, total } => {
                if self.holds(key, job, attempt)
                    && let Some(job) = self.jobs.get_mut(&job)
                    && let Stage::Live(live) = &mut job.stage
                    && live.set_progress(done, total)
                {
                    job.tell(&JobEvent::Progress { done, total });
                }
            }
            NodeMessage::Offer(offer) => return self.node_offers(key, *offer),
            NodeMessage::State(state) => {
                check_state(&state)?;
                self.dispatch(Event::NodeIs { node: key, state });
            }
            NodeMessage::Finished { receipt, reason, output } => return self.finished(key, known, *receipt, reason, output),
            NodeMessage::Failed { job, attempt, failure } => return self.failed(key, job, attempt, failure),
        }
        Ok(())
    }

    /// Takes in what a node offers from now on. Price and meter stay what they were: a lease names neither, and one that crosses the news
    /// would be settled at another price than was held for it.
    fn node_offers(&mut self, key: PublicKey, offer: NodeOffer) -> Result<(), String> {
        check_offer(&offer)?;
        let Some(node) = self.nodes.get_mut(&key) else { return Ok(()) };
        if (offer.price, offer.meter) != (node.offer.price, node.offer.meter) {
            return Err("it changed its price or its meter without joining anew".into());
        }
        node.offer = offer.clone();
        self.dispatch(Event::NodeOffers { node: key, offer });
        Ok(())
    }

    /// Whether this connection is the one that its node has now.
    fn is_current(&self, key: PublicKey, link: LinkId) -> bool {
        self.nodes.get(&key).is_some_and(|node| node.link == link)
    }

    /// Takes its leases from a node that broke the protocol, whose connection is being ended.
    pub(crate) fn expel(&mut self, key: PublicKey, link: LinkId, fault: &str) {
        if self.is_current(key, link) {
            tracing::warn!(node = %key, fault, "a node is disconnected for what it did");
            self.nodes.remove(&key);
            self.note_lost(key, fault);
            self.dispatch(Event::NodeExpelled { node: key, fault: fault.to_owned() });
        }
    }

    /// What a node says of a failure, as far as it is believed: its words are cut, and a blob that is here is not missing.
    fn check_failure(&self, job: JobId, mut failure: AttemptFailure) -> AttemptFailure {
        match &mut failure {
            AttemptFailure::ModuleInvalid(reason)
            | AttemptFailure::Node(reason)
            | AttemptFailure::Declined(reason)
            | AttemptFailure::Preempted(reason)
            | AttemptFailure::GpuAway(reason) => truncate(reason, REASON_BYTES_MAX),
            AttemptFailure::BlobMissing(digest) => {
                let named = self.jobs.get(&job).is_some_and(|job| match &job.stage {
                    Stage::Live(live) => live.spec.blobs().any(|blob| blob.digest == *digest),
                    _ => false,
                });
                if !named || self.store.contains(digest) {
                    failure = AttemptFailure::Node(format!("it says that blob {digest} is missing, which it is not"));
                }
            }
            AttemptFailure::Withdrawn | AttemptFailure::Busy => {}
        }
        failure
    }

    /// Whether an attempt's report counts: as the job's outcome, or as that of an attempt that another one has overtaken.
    fn awaits(&self, node: PublicKey, job: JobId, attempt: Attempt) -> bool {
        self.holds(node, job, attempt) || self.dispatcher.is_loser(&node, job, attempt)
    }

    pub(crate) fn holds(&self, node: PublicKey, job: JobId, attempt: Attempt) -> bool {
        self.dispatcher.lease(job, attempt) == Some(node)
    }

    /// Takes in a large output that has arrived, ahead of the receipt that names it.
    pub(crate) fn output_arrived(&mut self, node: PublicKey, job: JobId, attempt: Attempt, blob: BlobRef) -> bool {
        let pin = self.store.pin(&blob.digest);
        if !self.awaits(node, job, attempt) {
            return false;
        }
        let live = self.jobs.get_mut(&job).and_then(|job| job.stage.live_mut());
        match (live, pin) {
            (Some(live), Some(pin)) => {
                // One that is sent again takes the place of the one before.
                live.take_output(attempt);
                live.outputs.push((attempt, blob, pin));
                true
            }
            _ => false,
        }
    }

    /// The most that an attempt may write.
    pub(crate) fn output_bytes_max(&self, node: PublicKey, job: JobId, attempt: Attempt) -> Option<u64> {
        match &self.jobs.get(&job).filter(|_| self.awaits(node, job, attempt))?.stage {
            Stage::Live(live) => Some(live.spec.limits.output.0),
            Stage::Done { contest, .. } => contest.as_ref().map(|contest| contest.live.spec.limits.output.0),
            Stage::Failed(_) => None,
        }
    }
}

/// What the ledger does.
impl Core {
    /// Notes an operation for the ledger.
    pub(crate) fn record(&mut self, operation: Operation) {
        if let Some(job) = kept_by(&operation) {
            *self.uncommitted.entry(job).or_default() += 1;
        }
        self.unrecorded.push_back(operation);
        self.recorder.notify_one();
    }

    /// Hands what was noted to the ledger's thread, as far as its queue has room; the rest waits for the next commit.
    pub(crate) fn hand_over(&mut self) {
        let Some(ledger) = &self.ledger else { return self.unrecorded.clear() };
        while let Some(operation) = self.unrecorded.pop_front() {
            match ledger.submit(operation) {
                Ok(()) => {}
                Err(SubmitError::Full(operation)) => {
                    self.unrecorded.push_front(*operation);
                    self.ledger_full = true;
                    return;
                }
                Err(error) => return self.stop_ledger(error.to_string()),
            }
        }
        self.ledger_full = false;
    }

    /// A gateway that cannot record begins again, and only reads: its clients and nodes are not kept waiting for settlements that never
    /// come.
    pub(crate) fn stop_ledger(&mut self, halt: impl Into<Halt>) {
        if self.ledger_stopped.is_some() {
            return;
        }
        let mut halt = halt.into();
        if let Some(damage) = self.reader.found_damage().filter(|_| !halt.signs_nothing) {
            halt = Halt { why: damage.to_string(), signs_nothing: true };
        }
        tracing::error!(reason = halt.why, "the ledger records nothing any more");
        self.ledger_stopped = Some(halt);
        self.stopping.notify_one();
    }

    /// Why the ledger records nothing any more, if so.
    pub(crate) fn ledger_stopped(&self) -> Option<Halt> {
        self.ledger_stopped.clone()
    }

    /// Whether every operation is in the ledger's hands.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.unrecorded.is_empty() || self.ledger_stopped.is_some()
    }

    /// Tells the clients of a batch that is on the disk now.
    pub(crate) fn committed(&mut self, batch: Batch) {
        self.hand_over();
        let results = match batch.result {
            Ok(results) => results,
            Err(error) => return self.stop_ledger(error.to_string()),
        };
        let mut settlements = Vec::with_capacity(results.len());
        for (operation, result) in batch.operations.iter().zip(results) {
            self.is_committed(operation);
            match operation {
                Operation::Attempt(_) => self.expect(result),
                Operation::Settle(entry) => settlements.extend(self.recorded(entry, result)),
                Operation::Void { customer, .. } => {
                    self.purses.release(customer);
                    self.expect(result);
                }
                Operation::Grant(grant) => self.granted(grant, result),
                Operation::Payout(payout) => self.answer_order(payout.id, result),
                Operation::Hold(_) | Operation::State(_) | Operation::Unpaid { .. } => self.expect(result),
                Operation::Expire { .. } => self.expired(result),
            }
        }
        for settlement in sign_settlements(&self.key, &settlements) {
            self.settled(settlement);
        }
        // Jobs may have waited for what was granted.
        self.follow();
    }

    /// Takes in that an operation is on the disk. A failed job whose last one it is need not be kept at hand any more.
    fn is_committed(&mut self, operation: &Operation) {
        let Some(id) = kept_by(operation) else { return };
        let Some(left) = self.uncommitted.get_mut(&id) else { return };
        *left -= 1;
        if *left == 0 {
            self.uncommitted.remove(&id);
            self.retire_failed(id);
        }
    }

    /// Takes in what became of a receipt. Returns what to tell its client.
    fn recorded(&mut self, entry: &Entry, result: Result<Applied, Refused>) -> Option<Settlement> {
        self.purses.release(&entry.receipt.receipt().client);
        match result {
            Ok(Applied::Settled(Appended::New { index })) => Some(Settlement {
                gateway: self.key.public(),
                job: entry.job(),
                receipt: entry.receipt.signed().digest(),
                index,
                time: entry.settled,
            }),
            Ok(Applied::Settled(Appended::Existing(stored))) => Some(self.settlement(&stored)),
            Ok(other) => {
                tracing::error!(job = %entry.job(), ?other, "a receipt became something else");
                None
            }
            Err(error) => {
                self.stop_ledger(format!("the gateway and its ledger disagree about job {}: {error}", entry.job()));
                None
            }
        }
    }

    /// Takes in what became of a grant.
    fn granted(&mut self, grant: &Grant, result: Result<Applied, Refused>) {
        // What is given as a welcome was in the purse from when it was handed over.
        let is_welcome = grant.id == welcome_id(&grant.customer);
        match &result {
            Ok(Applied::Recorded { .. }) if !is_welcome => self.refund(grant.customer, grant.amount.0.into()),
            Ok(Applied::Recorded { .. }) => {}
            _ if is_welcome => self.purses.add(&grant.customer, -i128::from(grant.amount.0)),
            _ => {}
        }
        self.purses.release(&grant.customer);
        self.answer_order(grant.id, result);
    }

    fn answer_order(&mut self, id: TransferId, result: Result<Applied, Refused>) {
        let answer = match result {
            Ok(Applied::Recorded { index } | Applied::Before { index: Some(index) }) => Answer::Ordered(index),
            Ok(other) => Answer::OrderRefused(format!("it became {other:?}")),
            Err(error) => Answer::OrderRefused(error.to_string()),
        };
        let Some(waiting) = self.ordered.get_mut(&id) else { return };
        let first = waiting.pop_front().flatten();
        if waiting.is_empty() {
            self.ordered.remove(&id);
        }
        if let Some((client, request)) = first {
            client.send(&GatewayToClient::Answer { request, answer });
        }
    }

    /// Has the ledger give back holds that nobody ended in their time.
    pub(crate) fn expire(&mut self) {
        self.record(Operation::Expire { now: self.clock.undisturbed() });
    }

    /// A job's hold outlasts the job, whatever becomes of that, and both are of this process and its one clock.
    fn expired(&mut self, result: Result<Applied, Refused>) {
        if let Ok(Applied::Expired(jobs)) = &result {
            match jobs.iter().find(|(job, _)| self.jobs.get(job).is_some_and(Job::is_live)) {
                Some((job, _)) => self.stop_ledger(format!("the hold of job {job} expired while it ran")),
                None if !jobs.is_empty() => tracing::warn!(holds = jobs.len(), "holds that nobody ended were given back"),
                None => {}
            }
        }
        self.expect(result);
    }

    /// What the purses allowed, the ledger does: else one of the two is wrong, and nobody shall guess which.
    fn expect(&mut self, result: Result<Applied, Refused>) {
        if let Err(error) = result {
            self.stop_ledger(format!("the gateway and its ledger disagree: {error}"));
        }
    }

    fn settled(&mut self, settlement: SignedSettlement) {
        let id = settlement.settlement.job;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.tell(&JobEvent::Settled(settlement.clone()));
        job.followers.clear();
        if let Stage::Done { settlement: slot, output, .. } = &mut job.stage {
            *slot = Some(settlement);
            *output = None;
        }
        self.retire(id);
    }
}

/// The job that stays at hand until an operation is on the disk. One that came to an outcome does so until it is settled.
fn kept_by(operation: &Operation) -> Option<JobId> {
    match operation {
        Operation::Attempt(entry) => Some(entry.job()),
        Operation::Void { job, .. } => Some(*job),
        _ => None,
    }
}

/// Whether nodes were paid here before, which come back by themselves. Where that cannot be read, nothing else can.
fn had_nodes(reader: &Reader) -> bool {
    let is_node = |(account, _): &(Account, _)| matches!(account, Account::Owner(_));
    reader.balances().is_ok_and(|balances| balances.iter().any(is_node))
}

fn unavailable(error: StoreError) -> Refusal {
    Refusal::LedgerUnavailable(error.to_string())
}

/// The order by which a key is granted what it is welcomed with: one and the same for each key.
fn welcome_id(client: &PublicKey) -> TransferId {
    let digest = Digest::of(&[b"adit welcome v1".as_slice(), &client.0].concat());
    TransferId(*digest.0.first_chunk().expect("a digest is longer than an id"))
}

fn dispatcher(limits: &Config, weights: &[(PublicKey, u32)]) -> Dispatcher {
    let mut dispatcher = Dispatcher::new(limits.clone());
    dispatcher.open(Tick::default());
    for (client, weight) in weights {
        dispatcher.handle(Tick::default(), Event::ClientWeight { client: *client, weight: *weight });
    }
    dispatcher
}

/// Decides where lots fall from this start on: nobody outside can know it.
fn seed_of(key: &SecretKey) -> u64 {
    let now = wall_time().0.to_le_bytes();
    let digest = Digest::of(&[b"adit dispatch v1".as_slice(), key.seed(), &now].concat());
    u64::from_le_bytes(*digest.0.first_chunk().expect("a digest is longer than eight bytes"))
}

/// As many of the first rows as fit a frame beside the answer's own bytes.
fn fitting<T: Serialize>(mut rows: Vec<T>) -> Vec<T> {
    let mut bytes = ANSWER_HEAD_BYTES;
    let fits = rows.iter().take_while(|row| {
        bytes += row_bytes(row);
        bytes <= FRAME_BYTES_MAX
    });
    let count = fits.count();
    rows.truncate(count);
    rows
}

/// As many of the first numbered rows as fit a frame, and the number to ask from next: what does not fit is for the next page.
pub(crate) fn fitting_page<T: Serialize>(rows: Vec<(u64, T)>, next: Option<u64>) -> (Vec<(u64, T)>, Option<u64>) {
    let numbers: Vec<u64> = rows.iter().map(|(number, _)| *number).collect();
    let rows = fitting(rows);
    let next = numbers.get(rows.len()).copied().or(next);
    (rows, next)
}

fn available(answer: Result<Answer, StoreError>) -> Answer {
    answer.unwrap_or_else(|error| Answer::Unavailable(error.to_string()))
}

/// What stands before the rows of an answer: frame, request, variants, count.
const ANSWER_HEAD_BYTES: usize = 64;

/// How many bytes a row has in a message.
fn row_bytes<T: Serialize>(row: &T) -> usize {
    let mut frame = Vec::new();
    // A row that fits no frame fits no answer either.
    encode_frame(row, &mut frame).map_or(FRAME_BYTES_MAX, |()| frame.len())
}

fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use adit_ledger::{Hold, Ledger};
    use adit_protocol::{JobState, Terms};
    use redb::backends::InMemoryBackend;

    use super::*;

    pub(super) const JOB: JobId = JobId([7; 16]);
    const CUSTOMER: PublicKey = PublicKey([2; 32]);

    /// A job that is at a node.
    pub(super) fn running() -> Job {
        let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        let live = Live {
            spec: Box::new(spec.clone()),
            input: None,
            _pins: Vec::new(),
            running: None,
            waits_again: false,
            progress: None,
            progress_told: None,
            out: Vec::new(),
            outputs: Vec::new(),
            reserved: Microcredits(60),
            held: Some(Microcredits(60)),
            paid: Microcredits(0),
            dearest: Microcredits(60),
        };
        Job {
            id: JOB,
            client: CUSTOMER,
            module: spec.module.digest,
            spec_digest: spec.digest(),
            submitted: UnixMillis(0),
            stage: Stage::Live(live),
            past: Past::default(),
            steps: Vec::new(),
            log: Log::default(),
            followers: Vec::new(),
        }
    }

    /// A gateway whose ledger has 100 credits of the customer's, its folder, and what the ledger has done.
    pub(super) fn opened() -> (Core, tempfile::TempDir, Receiver<Batch>) {
        let (folder, key) = (tempfile::tempdir().unwrap(), SecretKey::from_seed([100; 32]));
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), key.public()).unwrap();
        let grant = Grant { id: TransferId([1; 16]), customer: CUSTOMER, amount: Microcredits(100), time: UnixMillis(0) };
        let terms = Terms { gateway: key.public(), fee_ppm: 0, time: UnixMillis(0) };
        assert!(ledger.apply(&[Operation::State(terms), Operation::Grant(grant)]).unwrap().iter().all(Result::is_ok));
        let (told, batches) = std::sync::mpsc::channel();
        let writer = Writer::spawn(ledger, move |batch| told.send(batch).unwrap()).unwrap();
        let config = GatewayConfig::new("127.0.0.1:0".parse().unwrap(), folder.path());
        let store = BlobStore::open(&folder.path().join("blobs"), 1 << 20).unwrap();
        let log = LogAccess { published: Published::default(), url: None };
        (Core::new(&config, &key, store, LedgerAccess::Write(writer), log), folder, batches)
    }

    /// The most that an answer has room for was shown, and nothing said that it is not the sum.
    #[tokio::test]
    async fn account_that_has_more_than_an_answer_tells_is_said_to() {
        let (mut core, _folder, batches) = opened();
        assert!(matches!(core.answer(CUSTOMER, Query::Account), Answer::Account(status) if status.available.0 == 100));
        let grant = Grant { id: TransferId([2; 16]), customer: CUSTOMER, amount: Microcredits(u64::MAX), time: UnixMillis(0) };
        core.record(Operation::Grant(grant));
        commit_until(&mut core, &batches, |operation| matches!(operation, Operation::Grant(_)));
        let said = core.answer(CUSTOMER, Query::Account);
        let sum = (u128::from(u64::MAX) + 100).to_string();
        assert!(matches!(&said, Answer::Unavailable(why) if why.contains(&sum)), "{said:?}");
    }

    /// Has the ledger do all that was noted, up to the operation that `is_last`.
    fn commit_until(core: &mut Core, batches: &Receiver<Batch>, is_last: impl Fn(&Operation) -> bool) {
        core.hand_over();
        loop {
            let batch = batches.recv().unwrap();
            let is_over = batch.operations.iter().any(&is_last);
            core.committed(batch);
            if is_over {
                return;
            }
        }
    }

    fn lost() -> JobResult {
        JobResult::NodeLost { attempts: 2, reason: "gone".into() }
    }

    /// Ends a job of which nothing is held.
    fn end_one(core: &mut Core, id: JobId, result: JobResult) {
        let mut job = Job { id, ..running() };
        job.stage.live_mut().unwrap().held = None;
        core.live_bytes.take(CUSTOMER, job.stage.live_mut().unwrap().bytes());
        core.jobs.insert(job);
        core.fail(id, result);
    }

    /// Ends as many other jobs as make room for themselves by what ended so before.
    fn end_many(core: &mut Core, result: &JobResult) -> Vec<JobId> {
        let ids: Vec<_> = (0..=ENDED_JOBS_MAX as u128).map(|n| JobId((n << 64).to_le_bytes())).collect();
        for id in &ids {
            end_one(core, *id, result.clone());
        }
        ids
    }

    /// Once a stranger's jobs that no node could have made a gateway forget everybody's that had ended, in a fifth of a second.
    #[tokio::test]
    async fn jobs_that_no_node_had_push_out_none_that_ran() {
        for result in [JobResult::Refused(Refusal::NoNodeFits { nodes: Vec::new() }), JobResult::CancelledInQueue] {
            let (mut core, _folder, _batches) = opened();
            end_one(&mut core, JOB, lost());
            let ids = end_many(&mut core, &result);
            assert_eq!((core.ended.len(), core.unstarted.len()), (1, UNSTARTED_JOBS_MAX));
            assert!(core.jobs.get(&JOB).is_some());
            assert_eq!(core.jobs.len(), 1 + UNSTARTED_JOBS_MAX);
            // The oldest of them is forgotten, and of the newest is told as of any other.
            let (oldest, newest) = (ids[0], ids[ids.len() - 1]);
            assert_eq!(core.status(CUSTOMER, oldest), Ok(None));
            let status = core.status(CUSTOMER, newest).unwrap().unwrap();
            assert!(matches!(status.state, JobState::Failed(_)), "{status:?}");
            let is_refused = matches!(result, JobResult::Refused(_));
            assert_eq!(core.steps(CUSTOMER, newest).len(), usize::from(is_refused));
            // One that comes again has left its place.
            core.forget(newest);
            assert_eq!((core.jobs.len(), core.unstarted.len()), (UNSTARTED_JOBS_MAX, UNSTARTED_JOBS_MAX - 1));
        }
    }

    #[test]
    fn deadline_counts_from_the_first_submission() {
        let left = |deadline_ms, since_ms| {
            let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
            spec.placement.deadline_ms = deadline_ms;
            deadline_left(&spec, since_ms)
        };
        for (deadline_ms, since_ms, want) in
            [(None, 0, None), (None, u64::MAX, None), (Some(500), 0, Some(500)), (Some(500), 499, Some(1))]
        {
            assert_eq!(left(deadline_ms, since_ms), Ok(want), "{deadline_ms:?} after {since_ms} ms");
        }
        for (deadline_ms, since_ms) in [(0, 0), (500, 500), (500, 501), (500, u64::MAX), (u64::MAX, u64::MAX)] {
            let missed = left(Some(deadline_ms), since_ms);
            assert_eq!(missed, Err(Refusal::DeadlineMissed { left_ms: 0, needed_ms: 0 }), "{deadline_ms} after {since_ms} ms");
        }
    }

    /// Once a failed job could be forgotten before the ledger had what was paid for it. Submitted again, it was given the numbers of its
    /// paid attempts a second time; the ledger refused to pay for them twice, and the gateway took no jobs any more.
    #[tokio::test]
    async fn failed_job_is_kept_until_the_ledger_has_what_was_paid_for_it() {
        let (mut core, _folder, batches) = opened();
        let mut job = running();
        let (past, digest) = (Past { last_attempt: 2, paid: Microcredits(5), dearest: Microcredits(60) }, job.spec_digest);
        job.past = past;
        let spec = job.stage.live_mut().unwrap().spec.clone();
        core.live_bytes.take(CUSTOMER, job.stage.live_mut().unwrap().bytes());
        core.jobs.insert(job);
        core.record(Operation::Hold(Hold { job: JOB, customer: CUSTOMER, amount: Microcredits(60), expires: UnixMillis(9) }));
        core.fail(JOB, lost());
        end_many(&mut core, &lost());
        assert!(matches!(core.known(JOB, digest, &spec), Ok(Known::No(known)) if known == past));
        commit_until(&mut core, &batches, |operation| matches!(operation, Operation::Void { .. }));
        assert!(core.ledger_stopped().is_none() && core.uncommitted.is_empty());
        // From here on it is as any that ended.
        assert_eq!(core.ended.back(), Some(&JOB));
        end_many(&mut core, &lost());
        assert!(core.jobs.get(&JOB).is_none());
        assert_eq!((core.jobs.len(), core.ended.len()), (ENDED_JOBS_MAX, ENDED_JOBS_MAX));
    }

    /// A hold ends a day after all the times that its job may take: where the job still runs then, something is wrong.
    #[tokio::test]
    async fn hold_that_nobody_ended_goes_back_and_one_of_a_running_job_stops_the_ledger() {
        for is_running in [false, true] {
            let (mut core, _folder, batches) = opened();
            if is_running {
                core.jobs.insert(running());
            }
            let (amount, expires) = (Microcredits(60), UnixMillis(1));
            core.record(Operation::Hold(Hold { job: JOB, customer: CUSTOMER, amount, expires }));
            core.expire();
            commit_until(&mut core, &batches, |operation| matches!(operation, Operation::Expire { .. }));
            assert!(core.reader.holds().unwrap().is_empty());
            let balance = core.reader.balance(Account::Customer(CUSTOMER)).unwrap();
            assert_eq!((balance.available(), balance.held), (100, 0));
            let why = core.ledger_stopped();
            assert_eq!(why.is_some_and(|halt| halt.why.contains("expired while it ran")), is_running);
        }
    }

    #[test]
    fn rows_are_cut_where_the_frame_ends() {
        let row = |n: usize| JobStatus {
            job: JobId([n as u8; 16]),
            module: Digest([0; 32]),
            submitted: UnixMillis(0),
            state: JobState::Failed("x".repeat(10_000)),
        };
        let rows: Vec<JobStatus> = (0..100).map(row).collect();
        let fitted = fitting(rows.clone());
        assert_eq!(fitted, rows[..fitted.len()]);
        let answer = |rows| GatewayToClient::Answer { request: u64::MAX, answer: Answer::Jobs(rows) };
        encode_frame(&answer(fitted.clone()), &mut Vec::new()).unwrap();
        let one_more = rows[..=fitted.len()].to_vec();
        assert!(encode_frame(&answer(one_more), &mut Vec::new()).is_err());
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let mut text = "ää".to_owned();
        truncate(&mut text, 3);
        assert_eq!(text, "ä");
    }
}
