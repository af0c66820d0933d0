//! One job on its worker.
//!
//! A job that began in baseline code begins again when the optimised code is there, in another worker: so it is never over later than
//! if it had waited for that. What its client was told before is not told twice, because a deterministic job says the same again; one
//! of the open profile goes on as it is once it has said anything. Only the run that ends is billed. One that is stopped before it has
//! written again what was given out has no output: what was given out is more than what is billed.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adit_protocol::limits::NAMED_INPUTS_MAX;
use adit_protocol::{
    ByteCount, Digest, FrameError, Fuel, GpuRun, InputName, JobLimits, JobSpec, Outcome, Profile, PublicKey, Usage,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use crate::account::{Account, Lied};
use crate::compiler::Code;
use crate::engine::Tier;
use crate::given::Given;
use crate::gpu::lent::{Lent, News};
use crate::gpu::session::{SandboxEnds, Verdict};
use crate::inputs::{Input, Inputs};
use crate::ipc::{Ending, FromSandbox, IpcError, Made, NotMade, RunOrder, ToSandbox, Used};
use crate::live::Live;
use crate::pool::SandboxWorker;
use crate::profile::FuelProfile;
use crate::runtime::Shared;
use crate::worker::words;

/// A worker that should have stopped a job when told to, and said nothing for so long, is killed; one that should have at its deadline,
/// after twice as long. Guests are looked at every few milliseconds; the rest is for machines under load, and slow lines.
const GRACE: Duration = Duration::from_secs(2);

/// The same where the owner takes the machine back, who is promised it within 200 ms: what the job used after the worker's last note is
/// then the owner's loss.
const PREEMPTION_GRACE: Duration = Duration::from_millis(100);

/// Messages that a worker may still be read that is late. An honest one has no more than its queue and its socket hold.
const LATE_MESSAGES_MAX: u8 = 32;

/// A job to run. Its module must have been compiled.
#[derive(Debug)]
pub struct RunRequest {
    /// Whose job it is. A worker serves one tenant at a time.
    pub tenant: PublicKey,
    /// What to run.
    pub spec: Arc<JobSpec>,
    /// What the guest reads from its standard input.
    pub input: Input,
    /// Its named inputs, in the order of the specification.
    pub named: Vec<Input>,
}

/// What ends a run from outside of its guest. That is what the job's limits say, unless somebody runs it again who is to find out what it does
/// within another machine's clocks. A guest is told its job's limits, and never these: it may act upon what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Fuel; at most the job's limit.
    pub fuel: Fuel,
    /// Milliseconds.
    pub wall_ms: u64,
    /// Nanoseconds of GPU time.
    pub gpu_ns: u64,
}

/// Something that happens while a job runs.
#[derive(Debug)]
pub enum RunEvent {
    /// The guest wrote to its log; at most [`adit_protocol::limits::LOG_CHUNK_BYTES_MAX`] bytes. Not for a terminal as it is.
    Log(Vec<u8>),
    /// The guest says how far it is; some twenty times a second at most.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, 0 where the guest does not know.
        total: u64,
    },
    /// The next piece of an output that is over [`adit_protocol::limits::INLINE_BYTES_MAX`]; at most 64 KiB.
    Output(Vec<u8>),
    /// The job ended. The last event.
    Ended(Box<RunReport>),
}

/// How a job ended and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// How it ended.
    pub outcome: Outcome,
    /// What a human should know beyond the outcome's name; empty where there is nothing.
    pub reason: String,
    /// What it used.
    pub usage: Usage,
    /// What it did with a GPU; nothing where it was given none.
    pub gpu: Option<GpuRun>,
    /// Whether a shader of it makes anything of what atomics return, which may differ from run to run on the same adapter.
    pub uses_atomic_results: bool,
    /// Microseconds that it ran, instantiation included.
    pub run_us: u64,
    /// The digest of its output.
    pub output_digest: Digest,
    /// The whole output, where it is at most [`adit_protocol::limits::INLINE_BYTES_MAX`]. Pieces that came before it in a
    /// [`RunEvent::Output`] are void: that is so where the run began again and was stopped too soon, and where it was preempted, and it
    /// is then empty.
    pub output: Option<Vec<u8>>,
    /// Log bytes over the limit, which were dropped.
    pub log_dropped: ByteCount,
    /// Where the fuel went; there where [`RuntimeConfig::profile`](crate::RuntimeConfig::profile) is set, unless the worker had to be killed.
    pub profile: Option<Box<FuelProfile>>,
}

/// A job that this node could not run. Never the guest's fault, and never billed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The module's code is not in the cache, or not any more.
    #[error("module {0} is not compiled")]
    NotCompiled(Digest),
    /// The module's code could not be loaded.
    #[error("module {module} cannot be loaded: {reason}")]
    Unusable {
        /// The module.
        module: Digest,
        /// Why.
        reason: String,
    },
    /// The job may use more memory than this node gives to one.
    #[error("the job may use {} bytes of memory; this node gives {}", .asked.0, .offered.0)]
    MemoryOverOffer {
        /// The job's limit.
        asked: ByteCount,
        /// The node's.
        offered: ByteCount,
    },
    /// The standard input is not of the size that the specification says.
    #[error("the input has {actual} bytes; the specification says {specified}")]
    InputSize {
        /// Bytes that were given.
        actual: u64,
        /// Bytes that the specification names.
        specified: u64,
    },
    /// A named input is not of the size that the specification says.
    #[error("the input `{name}` has {actual} bytes; the specification says {specified}")]
    NamedInputSize {
        /// Its name.
        name: InputName,
        /// Bytes that were given.
        actual: u64,
        /// Bytes that the specification names.
        specified: u64,
    },
    /// There are not as many named inputs as the specification says, or more than a job may have.
    #[error("{given} named inputs were given, and the specification says {specified}; at most {NAMED_INPUTS_MAX} are allowed")]
    NamedInputs {
        /// How many were given.
        given: usize,
        /// How many the specification names.
        specified: usize,
    },
    /// The worker died with the job in it, or spoke nonsense and was killed. Whose fault that was nobody can tell, so there is no bill;
    /// what the job had used is not lost all the same.
    #[error("the sandbox worker died when its job had used {}: {reason}", .usage.fuel)]
    WorkerDied {
        /// What it died of.
        reason: String,
        /// What the job had used when the worker last noted it, at most 10 ms before.
        usage: Box<Usage>,
    },
    /// The job needs a GPU, and this node lends none now, or one that gives it less.
    #[error("no GPU for the job: {0}")]
    NoGpu(String),
    /// The GPU is there, and not for this job's client or module, whose work hung it before.
    #[error("{0}")]
    KeptFromGpu(String),
    /// The GPU was lost in the work of another job, or of one of several: there is no bill.
    #[error("the GPU was lost in another job's work when this one had used {}: {reason}", .usage.fuel)]
    GpuLost {
        /// What happened.
        reason: String,
        /// What the job had used when its worker last noted it.
        usage: Box<Usage>,
    },
    /// The GPU had less memory left than the job may use, as other jobs held the rest: there is no bill.
    #[error("the GPU was full when the job had used {}: {reason}", .usage.fuel)]
    GpuFull {
        /// What it lacked.
        reason: String,
        /// What the job had used when its worker last noted it.
        usage: Box<Usage>,
    },
    /// The GPU failed under the job, and nobody can tell whose work that was: there is no bill.
    #[error("the GPU failed the job when that had used {}: {reason}", .usage.fuel)]
    GpuFailed {
        /// What happened.
        reason: String,
        /// What the job had used when its worker last noted it.
        usage: Box<Usage>,
    },
    /// This machine refused a process, a file or a socket.
    #[error("the sandbox worker could not be reached: {0}")]
    Io(#[from] io::Error),
    /// The run is over; its last event was given before.
    #[error("the run is over")]
    Over,
}

impl Bounds {
    /// Those that a job asks for.
    pub fn of(limits: &JobLimits) -> Self {
        let JobLimits { fuel, wall_ms, gpu_ns, .. } = *limits;
        Self { fuel, wall_ms, gpu_ns }
    }

    /// `limits` with these in their place.
    pub(crate) fn within(self, limits: JobLimits) -> JobLimits {
        let Self { fuel, wall_ms, gpu_ns } = self;
        JobLimits { fuel, wall_ms, gpu_ns, ..limits }
    }
}

impl RunReport {
    /// The same run as one that its node's owner cut short: what it used is billed, but for its output, which nobody is handed.
    pub fn preempted(self) -> Self {
        let reason = "the node's owner took the machine back".to_owned();
        Self { outcome: Outcome::Preempted, reason, ..self.without_output() }
    }

    /// The same run, which is billed for all but its output.
    pub(crate) fn without_output(self) -> Self {
        let output = Vec::new();
        Self {
            usage: Usage { bytes_out: ByteCount(0), ..self.usage },
            output_digest: Digest::of(&output),
            output: Some(output),
            ..self
        }
    }
}

/// Stops a running job, from anywhere.
#[derive(Debug, Clone, Default)]
pub struct Canceller(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    /// A [`Stop`].
    stop: AtomicU8,
    notify: Notify,
}

/// What a job was told; a later one replaces an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Stop {
    Not,
    Cancelled,
    Preempted,
}

impl Canceller {
    /// Has the run end with [`Outcome::Cancelled`], unless it ends by itself first.
    pub fn cancel(&self) {
        self.raise(Stop::Cancelled);
    }

    /// Has the run end with [`Outcome::Preempted`] within a tenth of a second, unless it ends by itself first: the owner of this machine
    /// takes it back.
    pub fn preempt(&self) {
        self.raise(Stop::Preempted);
    }

    fn raise(&self, stop: Stop) {
        self.0.stop.fetch_max(stop as u8, Ordering::AcqRel);
        // A permit stays where nobody waits yet.
        self.0.notify.notify_one();
    }

    fn stop(&self) -> Stop {
        match self.0.stop.load(Ordering::Acquire) {
            0 => Stop::Not,
            1 => Stop::Cancelled,
            _ => Stop::Preempted,
        }
    }

    /// Waits for more than what was `told` so far.
    async fn raised_over(&self, told: Stop) -> Stop {
        loop {
            match self.stop() {
                stop if stop > told => return stop,
                _ => self.0.notify.notified().await,
            }
        }
    }
}

/// Tells from anywhere what a running job has used so far.
#[derive(Debug, Clone)]
pub struct Gauge {
    fuel_max: Fuel,
    /// The worker's notes, and the number of the job there.
    source: Arc<Mutex<(Arc<Live>, u64)>>,
}

impl Gauge {
    fn new(bounds: Bounds, worker: &SandboxWorker, run: u64) -> Self {
        Self { fuel_max: bounds.fuel, source: Arc::new(Mutex::new((Arc::clone(&worker.live), run))) }
    }

    fn follow(&self, worker: &SandboxWorker, run: u64) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::clone(&worker.live), run);
    }

    /// The fuel that the job had used some milliseconds ago; nothing before its worker's first note. Once the job has ended it
    /// may go, as soon as its worker notes something of another.
    pub fn fuel(&self) -> Option<Fuel> {
        let (live, run) = self.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(Fuel(live.used(run)?.fuel.min(self.fuel_max.0)))
    }
}

/// A running job. It goes on only while [`Self::next`] is called; dropped before its end, it is killed.
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
    spec: Arc<JobSpec>,
    bounds: Bounds,
    /// There until the end.
    active: Option<Active>,
    canceller: Canceller,
    gauge: Gauge,
    account: Account,
    given: Given,
    is_optimised: bool,
    /// What the run ends with once its worker is gone.
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Active {
    worker: SandboxWorker,
    run: u64,
    started: Instant,
    /// When the worker is killed.
    kill_at: Instant,
    /// What became of a worker that did not end in time.
    late: Late,
    /// What the worker was told.
    told: Stop,
    /// There while the job runs in baseline code and may begin again.
    again: Option<Again>,
    /// There where the job was given one.
    gpu: Option<Lent>,
    /// How the guest ended, while it waits for its GPU's bill.
    ended: Option<Box<Ending>>,
    _permit: OwnedSemaphorePermit,
}

/// A worker that did not end in time, as far as was read: who reads rarely finds its last words later than they were said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// It is in time.
    No,
    /// What it has said is read on, for as long again after each message, of which so many more may come.
    Heard(u8),
    /// It was killed; what it sent before is read to the end, or until a while later, where it takes long to die.
    Killed,
}

/// What a job needs to begin again in optimised code.
#[derive(Debug)]
struct Again {
    tenant: PublicKey,
    inputs: Inputs,
    /// Ends when the code is there, or will not be.
    optimised: watch::Receiver<()>,
    /// How the job ended where its time was over before: the slower code shall not be the reason.
    timed_out: Option<Box<Ending>>,
}

impl Run {
    /// Hands a job to a worker.
    pub(crate) async fn start(
        shared: Arc<Shared>,
        (tenant, spec, bounds, inputs): (PublicKey, Arc<JobSpec>, Bounds, Inputs),
        code: Code,
        gpu: Option<(Lent, SandboxEnds)>,
        mut worker: SandboxWorker,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, RunError> {
        let again = match &code.optimised {
            Some(optimised) => Some(Again { tenant, inputs: inputs.try_clone()?, optimised: optimised.clone(), timed_out: None }),
            None => None,
        };
        let started = Instant::now();
        let (gpu, ends) = gpu.unzip();
        let run = send_order(&mut worker, (&spec, bounds), inputs, &code, ends).await?;
        let kill_at = kill_at(bounds, started);
        let gauge = Gauge::new(bounds, &worker, run);
        let active =
            Active { worker, run, started, kill_at, late: Late::No, told: Stop::Not, again, gpu, ended: None, _permit: permit };
        Ok(Self {
            gauge,
            account: Account::new(Arc::clone(&spec), bounds).profiling(shared.is_profiling),
            shared,
            spec,
            bounds,
            active: Some(active),
            canceller: Canceller::default(),
            given: Given::default(),
            is_optimised: code.tier == Tier::Optimised,
            fault: None,
        })
    }

    /// What stops this job.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// What tells how far this job is.
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// Whether the job runs, or ran, in optimised code.
    pub fn is_optimised(&self) -> bool {
        self.is_optimised
    }

    /// The process that runs this job, until its end.
    pub fn worker_pid(&self) -> Option<u32> {
        self.active.as_ref()?.worker.process.pid()
    }

    /// Waits for the next event. Cancel-safe. A caller that does not call holds the guest's output back; deadlines are kept by the
    /// worker meanwhile.
    ///
    /// # Errors
    /// [`RunError`] where the node failed; the run is then over.
    pub async fn next(&mut self) -> Result<RunEvent, RunError> {
        if self.fault.is_some() {
            return Err(self.failed().await);
        }
        loop {
            let active = self.active.as_mut().ok_or(RunError::Over)?;
            let waits = active.again.as_ref().is_some_and(|again| again.timed_out.is_some());
            // A guest that has ended is over when its GPU is, which is not long after; only who was told to stop does not wait for it.
            let has_ended = active.ended.is_some();
            let is_killed = active.late == Late::Killed;
            let message = tokio::select! {
                biased;
                stop = self.canceller.raised_over(active.told) => {
                    active.stop(stop)?;
                    // One that has ended already is not asked again.
                    let Some(ending) = active.timed_out() else { continue };
                    return self.end(|run| run.conclude(ending.withdrawn())).await;
                }
                () = sleep_until(active.kill_at), if !waits && (!has_ended || is_killed || active.told != Stop::Not) => {
                    if has_ended || is_killed {
                        return self.end(Self::give_up).await;
                    }
                    active.be_late()?;
                    continue;
                }
                () = optimised(&mut active.again), if active.told == Stop::Not && (waits || !is_killed) => match self.begin_again().await {
                    Some(ending) => Ok(Some(FromSandbox::Ended(ending))),
                    None => continue,
                },
                news = news(&mut active.gpu) => match self.heed(news) {
                    Ok(Some(event)) => return Ok(event),
                    Ok(None) => continue,
                    Err(fault) => return Err(self.fail(fault).await),
                },
                message = active.worker.process.receiver.recv::<FromSandbox>(), if !waits && !has_ended => message,
            };
            if is_killed && !matches!(message, Ok(Some(_))) {
                return self.end(Self::give_up).await;
            }
            if let Some(active) = &mut self.active {
                active.hear();
            }
            match self.handle(message) {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(fault) => return Err(self.fail(fault).await),
            }
        }
    }

    /// Ends a run, one way or the other.
    async fn end(&mut self, end: impl FnOnce(&mut Self) -> Result<RunEvent, Fault>) -> Result<RunEvent, RunError> {
        match end(self) {
            Ok(event) => Ok(event),
            Err(fault) => Err(self.fail(fault).await),
        }
    }

    /// Takes in a message from the worker. What it says is not trusted: a guest may have taken it over.
    fn handle(&mut self, message: Result<Option<FromSandbox>, IpcError>) -> Result<Option<RunEvent>, Fault> {
        match message?.ok_or(Fault::Closed)? {
            FromSandbox::Log(bytes) => {
                self.account.add_log(&bytes)?;
                Ok(self.given.log(bytes).map(RunEvent::Log))
            }
            FromSandbox::Progress { done, total } => {
                let active = self.active.as_ref().expect("messages come from an active worker");
                self.account.add_progress(active.started.elapsed())?;
                Ok(self.given.progress(done).then_some(RunEvent::Progress { done, total }))
            }
            FromSandbox::Output(bytes) => {
                self.account.add_piece(&bytes)?;
                Ok(self.given.output(bytes).map(RunEvent::Output))
            }
            FromSandbox::Profile(bytes) => {
                self.account.add_profile(&bytes)?;
                Ok(None)
            }
            FromSandbox::Ended(ending) => {
                let may_repeat = self.may_repeat();
                let active = self.active.as_mut().expect("messages come from an active worker");
                if ending.outcome == Outcome::TimedOut
                    && may_repeat
                    // One that is to stop does not begin again.
                    && active.told == Stop::Not
                    && let Some(again) = &mut active.again
                {
                    again.timed_out = Some(ending);
                    return Ok(None);
                }
                match &active.gpu {
                    Some(gpu) if !gpu.close() => {
                        active.ended = Some(ending);
                        Ok(None)
                    }
                    _ => Ok(Some(self.conclude(*ending)?)),
                }
            }
            FromSandbox::Pipeline { wgsl, entry } => {
                let active = self.active.as_mut().expect("messages come from an active worker");
                active.gpu.as_mut().ok_or(Lied::NoGpu)?.make(wgsl, entry)?;
                Ok(None)
            }
            FromSandbox::Unusable(reason) => Err(Fault::Unusable(words(&reason))),
        }
    }

    /// Takes in what became of the run's GPU.
    fn heed(&mut self, news: News) -> Result<Option<RunEvent>, Fault> {
        let active = self.active.as_mut().expect("an active run has a GPU");
        match news {
            News::Made(answer) => {
                let made = answer.map_err(|error| Fault::Gpu(format!("no shader can be checked: {error}")))?;
                active.answer(made)?;
            }
            News::Judged(Verdict::OutOfTime | Verdict::Lost(_)) => active.end_early()?,
            News::Judged(Verdict::Withdrawn) => active.stop(Stop::Preempted)?,
            News::Judged(Verdict::Failed(_) | Verdict::Full(_) | Verdict::Bystander(_)) | News::Stranded => {
                return active.go_on_without_gpu();
            }
            News::Judged(Verdict::Lied(lie)) => return Err(Fault::LiedToGpu(words(&lie))),
            News::Closed => {
                if let Some(ending) = active.ended.take() {
                    return Ok(Some(self.conclude(*ending)?));
                }
            }
        }
        Ok(None)
    }

    /// Ends a run whose guest has ended, and whose GPU has nothing of it any more.
    fn conclude(&mut self, ending: Ending) -> Result<RunEvent, Fault> {
        let report = self.close(ending)?;
        let active = self.active.take().expect("it was there");
        if active.late != Late::Killed {
            self.shared.pool.give_back(active.worker);
        }
        Ok(ended(report, active.told))
    }

    /// Ends the count of a run, with what is known of its GPU.
    fn close(&mut self, ending: Ending) -> Result<RunReport, Fault> {
        let active = self.active.as_ref().expect("an active run ends");
        let ending = active.judged(ending, self.bounds)?;
        let report = self.account.close(ending, active.gpu.as_ref().map(Lent::bill))?;
        let report = RunReport { uses_atomic_results: active.gpu.as_ref().is_some_and(Lent::uses_atomic_results), ..report };
        if self.given.is_output_awaited() { Ok(report.short_of_output()?) } else { Ok(report) }
    }

    /// Begins the job again in its optimised code, where that is there and the job may; else the slower run goes on. One whose time was
    /// over does not: then this is how it ended.
    async fn begin_again(&mut self) -> Option<Box<Ending>> {
        let begun = self.worker_again().await;
        let active = self.active.as_mut().expect("an active run begins again");
        let again = active.again.take()?;
        match begun {
            Ok(Some((worker, run))) => {
                active.started = Instant::now();
                active.kill_at = kill_at(self.bounds, active.started);
                active.late = Late::No;
                active.run = run;
                self.gauge.follow(&worker, run);
                // The old worker is killed: its guest does not read the socket.
                active.worker = worker;
                self.account = Account::new(Arc::clone(&self.spec), self.bounds);
                self.given.begin_again();
                self.is_optimised = true;
                return None;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a job goes on in its baseline code"),
        }
        again.timed_out
    }

    /// Whether a run from the beginning says again all that was given out, and nothing else.
    fn may_repeat(&self) -> bool {
        self.spec.profile == Profile::Deterministic || self.given.is_nothing()
    }

    /// A worker that has begun the job in optimised code; nothing where it may not begin, or there is none.
    async fn worker_again(&self) -> Result<Option<(SandboxWorker, u64)>, RunError> {
        let again = self.active.as_ref().and_then(|active| active.again.as_ref());
        let code = self.shared.cache.get(self.spec.module.digest).map(Code::optimised);
        let (Some(again), true, Some(code)) = (again, self.may_repeat(), code) else { return Ok(None) };
        let mut worker = self.shared.pool.take(again.tenant)?;
        let run = send_order(&mut worker, (&self.spec, self.bounds), again.inputs.try_clone()?, &code, None).await?;
        Ok(Some((worker, run)))
    }

    /// Ends a run whose worker does not answer any more, with what it said last. Output that the worker still held is lost.
    fn give_up(&mut self) -> Result<RunEvent, Fault> {
        let active = self.active.as_mut().expect("an active run is given up");
        let ending = match active.ended.take() {
            Some(ended) => *ended,
            None => Ending {
                outcome: if active.told == Stop::Not { Outcome::TimedOut } else { Outcome::Cancelled },
                reason: "the sandbox worker did not answer and was killed".to_owned(),
                used: active.used(),
                run_us: u64::try_from(active.started.elapsed().as_micros()).unwrap_or(u64::MAX),
                output: self.account.is_output_empty().then(Vec::new),
                log_dropped: 0,
            },
        };
        let report = self.close(ending)?;
        // The worker is killed.
        let active = self.active.take().expect("it was there");
        Ok(ended(report, active.told))
    }

    async fn fail(&mut self, fault: Fault) -> RunError {
        self.fault = Some(fault);
        self.failed().await
    }

    /// Waits for the death of a worker that is at fault. Whoever stops waiting here is told when they ask again.
    async fn failed(&mut self) -> RunError {
        let active = self.active.as_mut().expect("an active run fails");
        let status = active.worker.process.kill().await;
        let (active, fault) = self.active.take().zip(self.fault.take()).expect("they were there");
        let module = self.spec.module.digest;
        // The worker's last note is read only now, so that it is the very last.
        let SandboxWorker { live, .. } = active.worker;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let usage = Box::new(self.account.usage(live.used(active.run).unwrap_or_default()));
        let reason = match fault {
            Fault::Unusable(reason) => return RunError::Unusable { module, reason },
            Fault::Closed => status,
            Fault::Lied(lied) => format!("killed, because it sent {lied}"),
            Fault::LiedToGpu(lie) => format!("killed, because it sent the GPU {lie}"),
            Fault::Gpu(reason) => return RunError::GpuFailed { reason, usage },
            Fault::GpuFull(reason) => return RunError::GpuFull { reason, usage },
            Fault::Bystander(reason) => return RunError::GpuLost { reason, usage },
            Fault::Ipc(error) => format!("{error} ({status})"),
        };
        RunError::WorkerDied { reason, usage }
    }
}

impl Active {
    /// What the job has used, as far as its worker noted.
    fn used(&self) -> Used {
        self.worker.live.used(self.run).unwrap_or_default()
    }

    /// Its time is over, and no end of it was read. Who was told to stop has no more; else what it said is read first.
    fn be_late(&mut self) -> io::Result<()> {
        if self.late == Late::No && self.told == Stop::Not {
            self.late = Late::Heard(LATE_MESSAGES_MAX);
            self.kill_at = Instant::now() + GRACE;
            return Ok(());
        }
        self.late = Late::Killed;
        self.kill_at = Instant::now() + if self.told == Stop::Preempted { PREEMPTION_GRACE / 2 } else { GRACE };
        self.worker.process.end()
    }

    /// Notes that something was read of a worker that is late: who reads over a slow line needs time for each message. One that was told to
    /// stop since has no more.
    fn hear(&mut self) {
        if let (Late::Heard(left @ 1..), Stop::Not) = (self.late, self.told) {
            self.late = Late::Heard(left - 1);
            self.kill_at = Instant::now() + GRACE;
        }
    }

    fn stop(&mut self, stop: Stop) -> io::Result<()> {
        self.told = stop;
        let grace = if stop == Stop::Preempted { PREEMPTION_GRACE } else { GRACE };
        self.kill_at = self.kill_at.min(Instant::now() + grace);
        self.worker.live.cancel(self.run)
    }

    /// How the job ended in baseline code, where it waits for a run in optimised code for the time that it did not have.
    fn timed_out(&mut self) -> Option<Ending> {
        self.again.as_mut()?.timed_out.take().map(|ending| *ending)
    }

    /// Has the guest end whose GPU has ended it.
    fn end_early(&mut self) -> io::Result<()> {
        self.kill_at = self.kill_at.min(Instant::now() + GRACE);
        self.worker.live.cancel(self.run)
    }

    /// A guest that has had all that it wants of the GPU is to be let to its end. One that waits for it, or asks for more, learns from its
    /// session that there is no more, and ends; but for one that waits for a pipeline, which is to fail now.
    fn go_on_without_gpu(&self) -> Result<Option<RunEvent>, Fault> {
        let gpu = self.gpu.as_ref().expect("a run whose GPU failed had one");
        match gpu.verdict() {
            Some(verdict) if gpu.is_making() => verdict.fault().map_or(Ok(None), Err),
            _ => {
                gpu.close();
                Ok(None)
            }
        }
    }

    /// Tells the guest of a pipeline that it waits for.
    fn answer(&mut self, made: Result<Made, NotMade>) -> Result<(), Fault> {
        let sender = &self.worker.process.sender;
        // Who waits reads; so what is still there was sent to who does not.
        if sender.pending_bytes() > 0 {
            return Err(Lied::Pipelines.into());
        }
        sender.push(&ToSandbox::Pipeline { run: self.run, made })?;
        // A worker that is gone is found out when it is read from.
        let _ = sender.try_drain();
        Ok(())
    }

    /// How the job ended, where the guest or its worker said `ending`: the GPU may have had a part in it, which only the supervisor knows.
    fn judged(&self, ending: Ending, bounds: Bounds) -> Result<Ending, Fault> {
        let is_of_gpu = matches!(ending.outcome, Outcome::GpuLost | Outcome::OutOfGpuTime);
        let verdict = self.gpu.as_ref().and_then(Lent::verdict);
        Ok(match verdict {
            // Whoever told it to stop had a reason of his own.
            _ if is_of_gpu && self.told != Stop::Not => ending.withdrawn(),
            Some(Verdict::OutOfTime) if self.told == Stop::Not => {
                let reason = format!("the limit of {} ns of GPU time was used up", bounds.gpu_ns);
                Ending { outcome: Outcome::OutOfGpuTime, reason, ..ending }
            }
            // Who has come to a good end has nothing on the GPU.
            Some(Verdict::Lost(_)) if matches!(ending.outcome, Outcome::Finished { .. }) => ending,
            Some(Verdict::Lost(reason)) if self.told == Stop::Not => {
                Ending { outcome: Outcome::GpuLost, reason: format!("its work lost the GPU: {reason}"), ..ending }
            }
            // Why else it says so.
            Some(verdict) if is_of_gpu => return Err(verdict.fault().unwrap_or(Lied::GpuOutcome.into())),
            None if is_of_gpu => return Err(Lied::GpuOutcome.into()),
            _ => ending,
        })
    }
}

impl Ending {
    /// The same end as one of a job that was withdrawn; what it used stays.
    fn withdrawn(self) -> Self {
        Self { outcome: Outcome::Cancelled, reason: "withdrawn while it ran".to_owned(), ..self }
    }
}

/// What there is to know of a run's GPU; never anything where it has none.
async fn news(gpu: &mut Option<Lent>) -> News {
    match gpu {
        Some(gpu) => gpu.news().await,
        None => std::future::pending().await,
    }
}

/// The end of a run that was told `told`. The worker knows only that it was to stop.
fn ended(report: RunReport, told: Stop) -> RunEvent {
    let is_preempted = told == Stop::Preempted && report.outcome == Outcome::Cancelled;
    RunEvent::Ended(Box::new(if is_preempted { report.preempted() } else { report }))
}

/// What ends a run before its end.
#[derive(Debug)]
enum Fault {
    Closed,
    Unusable(String),
    Lied(Lied),
    LiedToGpu(String),
    Gpu(String),
    GpuFull(String),
    Bystander(String),
    Ipc(IpcError),
}

impl Verdict {
    /// What a run ends with that goes on no more, where that is not its own doing.
    fn fault(self) -> Option<Fault> {
        match self {
            Self::Failed(reason) => Some(Fault::Gpu(reason)),
            Self::Full(reason) => Some(Fault::GpuFull(reason)),
            Self::Bystander(reason) => Some(Fault::Bystander(reason)),
            Self::OutOfTime | Self::Lost(_) | Self::Lied(_) | Self::Withdrawn => None,
        }
    }
}

impl From<Lied> for Fault {
    fn from(lied: Lied) -> Self {
        Self::Lied(lied)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Ipc(error.into())
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self::Ipc(error.into())
    }
}

impl From<IpcError> for Fault {
    fn from(error: IpcError) -> Self {
        Self::Ipc(error)
    }
}

/// When a worker is killed that began a job at `started`.
fn kill_at(bounds: Bounds, started: Instant) -> Instant {
    started + Duration::from_millis(bounds.wall_ms) + GRACE
}

/// Ends when the optimised code of a job that may begin again is there, or will not be.
async fn optimised(again: &mut Option<Again>) {
    match again {
        // Nothing is ever sent; the sender goes.
        Some(again) => while again.optimised.changed().await.is_ok() {},
        None => std::future::pending().await,
    }
}

async fn send_order(
    worker: &mut SandboxWorker,
    (spec, bounds): (&JobSpec, Bounds),
    inputs: Inputs,
    code: &Code,
    gpu: Option<SandboxEnds>,
) -> Result<u64, RunError> {
    let (input, files) = inputs.into_order(spec);
    let place = worker.modules.place((spec.module.digest, code.tier));
    let run = worker.next_run()?;
    let order = RunOrder {
        run,
        slot: place.slot,
        load: !place.loaded,
        tier: code.tier,
        spec: spec.clone(),
        bounds,
        input,
        has_gpu: gpu.is_some(),
    };
    let [socket, shared] = [gpu.as_ref().map(|ends| ends.socket.as_fd()), gpu.as_ref().map(|ends| ends.shared.as_fd())];
    let code = (!place.loaded).then(|| code.file.as_fd());
    let fds: Vec<_> = code.into_iter().chain(files.iter().map(AsFd::as_fd)).chain(socket).chain(shared).collect();
    match worker.process.sender.send_with_fds(&ToSandbox::Run(Box::new(order)), &fds).await {
        Ok(()) => Ok(run),
        Err(IpcError::Io(error)) => Err(error.into()),
        Err(error) => Err(io::Error::other(error).into()),
    }
}
