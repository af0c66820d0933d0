use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dispatch::{Lease, Tick};
use adit_ledger::Entry;
use adit_protocol::{
    Attempt, BlobRef, Decision, Digest, JobEvent, JobResult, JobSpec, JobState, JobStatus, Microcredits, PublicKey, Refusal,
    Step, UnixMillis, Wait,
};
use adit_protocol::{JobId, SignedReceipt, SignedSettlement};
use adit_transport::BlobPin;

use crate::log::Log;
use crate::peer::Client;

/// A job that this process has seen: live, or ended not long ago.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) client: PublicKey,
    pub(crate) module: Digest,
    pub(crate) spec_digest: Digest,
    pub(crate) submitted: UnixMillis,
    pub(crate) stage: Stage,
    /// What its attempts were before this submission, and what they cost.
    pub(crate) past: Past,
    /// Its steps on the way to a node, and when: some for each attempt that there may be, and each node that may decline it.
    pub(crate) steps: Vec<(UnixMillis, Noted)>,
    pub(crate) log: Log,
    /// Who wants to know.
    pub(crate) followers: Vec<Client>,
}

/// A step as it is kept: decisions are the dispatcher's too.
#[derive(Debug)]
pub(crate) enum Noted {
    Started(Arc<Decision>),
    Waits(Box<Wait>),
    Refused(Refusal),
    Lost { attempts: u32, reason: String },
}

/// Where a job stands, with what only that stage has.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The dispatcher has it: it waits, or a node runs it.
    Live(Live),
    /// It came to an outcome.
    Done {
        result: JobResult,
        /// Keeps a large output from being dropped before the receipt is settled.
        output: Option<BlobPin>,
        settlement: Option<SignedSettlement>,
        /// Other attempts that are still out, and what is settled when they are not.
        contest: Option<Box<Contest>>,
    },
    /// It ended without one.
    Failed(JobResult),
}

/// What there was of a job before it was submitted as it is now: it came to no outcome, or a gateway before knew it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    /// The number of its last attempt; 0 where it had none.
    pub(crate) last_attempt: u32,
    /// What was paid for attempts that did not end it.
    pub(crate) paid: Microcredits,
    /// The most that one of its attempts could cost; of those before this gateway's start, of the paid ones.
    pub(crate) dearest: Microcredits,
}

/// A job that one of two attempts has ended, and of which the other has not come yet.
#[derive(Debug)]
pub(crate) struct Contest {
    pub(crate) live: Live,
    /// What ended it.
    pub(crate) winner: Box<Entry>,
}

/// An attempt that a node has.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    pub(crate) attempt: Attempt,
    pub(crate) node: PublicKey,
    /// The most that it can cost there.
    pub(crate) promised: Microcredits,
    /// The class of the GPU that it was given.
    pub(crate) gpu_class: Option<String>,
    pub(crate) since: Tick,
}

/// What a job needs until it ends.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) spec: Box<JobSpec>,
    /// The input, where it came inline.
    pub(crate) input: Option<Vec<u8>>,
    /// Keeps module and inputs in the store.
    pub(crate) _pins: Vec<BlobPin>,
    /// The last attempt that was started.
    pub(crate) running: Option<(PublicKey, Attempt)>,
    /// Whether it waits again since.
    pub(crate) waits_again: bool,
    pub(crate) progress: Option<(u64, u64)>,
    /// When followers were told of progress last.
    pub(crate) progress_told: Option<Instant>,
    /// The attempts that are out: two at most.
    pub(crate) out: Vec<Out>,
    /// Large outputs that have arrived ahead of their receipts.
    pub(crate) outputs: Vec<(Attempt, BlobRef, BlobPin)>,
    /// What is taken from the client's purse for it and not paid.
    pub(crate) reserved: Microcredits,
    /// What the ledger holds for it, once it has done what it was told; nothing before a node had it.
    pub(crate) held: Option<Microcredits>,
    /// What was paid for attempts that did not end it.
    pub(crate) paid: Microcredits,
    /// The most that one of its attempts could cost.
    pub(crate) dearest: Microcredits,
}

impl Noted {
    /// What a job came to that came to no outcome; nothing where its client withdrew it.
    pub(crate) fn end(result: &JobResult) -> Option<Self> {
        match result {
            JobResult::Refused(refusal) => Some(Self::Refused(refusal.clone())),
            JobResult::NodeLost { attempts, reason } => Some(Self::Lost { attempts: *attempts, reason: reason.clone() }),
            JobResult::CancelledInQueue | JobResult::Done { .. } => None,
        }
    }

    pub(crate) fn step(&self) -> Step {
        match self {
            Self::Started(decision) => Step::Started(Decision::clone(decision)),
            Self::Waits(wait) => Step::Waits(Wait::clone(wait)),
            Self::Refused(refusal) => Step::Refused(refusal.clone()),
            Self::Lost { attempts, reason } => Step::Lost { attempts: *attempts, reason: reason.clone() },
        }
    }

    /// The attempt that was started.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Started(decision) => Some(decision.attempt),
            Self::Waits(_) | Self::Refused(_) | Self::Lost { .. } => None,
        }
    }
}

impl Stage {
    /// What is needed while an attempt is out, also one whose job another has ended.
    pub(crate) fn live_mut(&mut self) -> Option<&mut Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Done { contest, .. } => contest.as_mut().map(|contest| &mut contest.live),
            Self::Failed(_) => None,
        }
    }
}

impl Live {
    pub(crate) fn new(
        spec: Box<JobSpec>,
        input: Option<Vec<u8>>,
        pins: Vec<BlobPin>,
        reserved: Microcredits,
        past: Past,
    ) -> Self {
        Self {
            spec,
            input,
            _pins: pins,
            running: None,
            waits_again: false,
            progress: None,
            progress_told: None,
            out: Vec::new(),
            outputs: Vec::new(),
            reserved,
            held: None,
            paid: past.paid,
            dearest: past.dearest,
        }
    }

    /// The most that the attempts can cost that are out.
    pub(crate) fn promised(&self) -> Microcredits {
        Microcredits(self.out.iter().fold(0, |sum, out| sum.saturating_add(out.promised.0)))
    }

    /// The large output of an attempt.
    pub(crate) fn take_output(&mut self, attempt: Attempt) -> Option<(BlobRef, BlobPin)> {
        let at = self.outputs.iter().position(|(of, ..)| *of == attempt)?;
        let (_, blob, pin) = self.outputs.swap_remove(at);
        Some((blob, pin))
    }

    /// Bytes that its client chose, and that stay in memory until it ends.
    pub(crate) fn bytes(&self) -> usize {
        let JobSpec { args, env, placement, inputs, .. } = &*self.spec;
        let pairs = env.iter().chain(&placement.labels).map(|(k, v)| k.len() + v.len() + PER_TEXT_BYTES);
        let args = args.iter().map(|arg| arg.len() + PER_TEXT_BYTES);
        let inputs = inputs.iter().map(|input| input.name.as_str().len() + size_of_val(input) + PER_TEXT_BYTES);
        PER_JOB_BYTES
            + inputs.sum::<usize>()
            + pairs.sum::<usize>()
            + args.sum::<usize>()
            + self.input.as_ref().map_or(0, Vec::len)
    }

    /// Notes progress, and says whether it is time to tell of it.
    pub(crate) fn set_progress(&mut self, done: u64, total: u64) -> bool {
        self.progress = Some((done, total));
        let due = self.progress_told.is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL);
        if due {
            self.progress_told = Some(Instant::now());
        }
        due
    }
}

/// What a job costs beside its texts and its inline input: its entries in the tables here and in the dispatcher.
const PER_JOB_BYTES: usize = 1_024;

/// What a text costs beside its bytes.
const PER_TEXT_BYTES: usize = 32;

/// Progress is for people: nobody reads faster. An honest node sends no more; a hostile one shall not fill a client's connection.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(40);

impl Job {
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live(_))
    }

    /// Whether it ended before any node had it.
    pub(crate) fn never_started(&self) -> bool {
        matches!(self.stage, Stage::Failed(JobResult::Refused(_) | JobResult::CancelledInQueue))
            && !self.steps.iter().any(|(_, noted)| noted.attempt().is_some())
    }

    /// Tells every follower: at once how it ended, and what else there is in company.
    pub(crate) fn tell(&self, event: &JobEvent) {
        let is_news = !matches!(event, JobEvent::Ended(_) | JobEvent::Settled(_));
        for follower in &self.followers {
            let message = event_message(self.id, event.clone());
            if is_news { follower.send_soon(&message) } else { follower.send(&message) }
        }
    }

    /// Adds a follower and tells it all that it needs to know of the past. `leases` are the attempts that are out.
    pub(crate) fn follow(&mut self, client: &Client, leases: &[Lease]) {
        if !self.followers.iter().any(|f| f.link == client.link) {
            self.followers.push(client.clone());
        }
        let tell = |event| client.send(&event_message(self.id, event));
        match &self.stage {
            Stage::Live(Live { running: None, .. }) => tell(JobEvent::Queued),
            Stage::Live(Live { running: Some(running), waits_again, .. }) => {
                let (node, attempt) = shown(*running, leases);
                tell(JobEvent::Started { node, attempt });
                if *waits_again {
                    tell(JobEvent::Queued);
                }
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

    /// Where it stands. `leases` are the attempts that are out.
    pub(crate) fn status(&self, leases: &[Lease]) -> JobStatus {
        let state = match &self.stage {
            Stage::Live(Live { running: None, .. } | Live { waits_again: true, .. }) => JobState::Queued,
            Stage::Live(Live { running: Some(running), progress, .. }) => {
                let (node, attempt) = shown(*running, leases);
                JobState::Running { node, attempt, progress: *progress }
            }
            Stage::Done { result: JobResult::Done { receipt, .. }, settlement, .. } => done_state(receipt, settlement.is_some()),
            Stage::Done { result, .. } | Stage::Failed(result) => JobState::Failed(describe(result)),
        };
        JobStatus { job: self.id, module: self.module, submitted: self.submitted, state }
    }
}

/// The attempt that a job is shown with: the last one that was started, or the one beside it where that came to nothing.
fn shown(last: (PublicKey, Attempt), leases: &[Lease]) -> (PublicKey, Attempt) {
    let is_out = leases.iter().any(|lease| lease.attempt == last.1);
    leases.last().filter(|_| !is_out).map_or(last, |other| (other.node, other.attempt))
}

/// The state of a job by its receipt.
pub(crate) fn done_state(receipt: &SignedReceipt, settled: bool) -> JobState {
    let receipt = &receipt.receipt;
    JobState::Done { outcome: receipt.outcome, cost: receipt.cost, node: receipt.node, settled }
}

/// A result without a receipt, in words.
fn describe(result: &JobResult) -> String {
    match result {
        JobResult::Done { .. } => "done".into(),
        JobResult::Refused(refusal) => refusal.to_string(),
        JobResult::CancelledInQueue => "cancelled before it came to an outcome".into(),
        JobResult::NodeLost { attempts, reason } => format!("came to no outcome (attempts: {attempts}), last: {reason}"),
    }
}

pub(crate) fn event_message(job: JobId, event: JobEvent) -> adit_protocol::GatewayToClient {
    adit_protocol::GatewayToClient::Event { job, event: Box::new(event) }
}
