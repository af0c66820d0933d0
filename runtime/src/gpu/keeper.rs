//! The supervisor's side of GPUs: it keeps the one GPU worker of a node running, opens a session for each run that has a GPU, and says
//! how each of them ended.
//!
//! A GPU that hangs cannot be asked to stop, so what ends it is the end of its process, and with that of every session. Who was to
//! blame is told by the GPU worker where it still can, and else by its notes, which outlive it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adit_protocol::{ByteCount, GpuNeed, PublicKey};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::hangs::{Hangs, Whose};
use super::live::{GpuLive, NOTES, now_ns};
use super::session::{Fate, GpuSession, SandboxEnds, Verdict};
use super::wire::{Faults, FromGpu, GpuReport, GpuSetup, GpuUsed, SHARED_BYTES, Session, Shader, ToGpu};
use crate::ipc::IpcError;
use crate::process::{Role, WorkerProcess, WorkerSetup};
use crate::walls::{NETWORK, Need};
use crate::worker::words;

/// How long a GPU worker may take to open its adapter. Drivers of real ones take some hundred milliseconds.
const READY_TIME_MAX: Duration = Duration::from_secs(20);
/// What a GPU worker has over the time slice to tell of a hung dispatch itself, before its notes speak against it. With a slice and a
/// new start of the process it is well within the five seconds that a node promises.
const GRACE: Duration = Duration::from_millis(500);
/// How long a driver may take to make a pipeline of a shader of 64 KiB.
pub(crate) const PIPELINE_TIME_MAX: Duration = Duration::from_secs(4);
/// How often the notes are looked at while there are sessions.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Losses in a row after which a GPU is not offered for a while: it, its driver or everybody's shaders are broken.
pub(super) const LOSSES_MAX: u32 = 4;
/// How long a GPU worker may take to take a message; its socket has room for many.
const SEND_TIME_MAX: Duration = Duration::from_secs(1);
/// What a GPU worker has to close a session, over [`CLOSE_SLICES`].
const CLOSE_TIME_MAX: Duration = Duration::from_secs(8);
/// Time slices that the close of a session may wait for: its last work and what ran before; somebody's who has the turn and waits until two
/// more are over; and those two, before it can tell what its own took. Others that wait for a turn come later, however many there are.
const CLOSE_SLICES: u32 = 6;
const _: () = assert!(PIPELINE_TIME_MAX.as_secs() < CLOSE_TIME_MAX.as_secs(), "it may wait for a pipeline too");
/// For how long a GPU is withdrawn that was lost too often.
const WITHDRAWN_FOR: Duration = Duration::from_secs(60);

/// How long a process may take to die that is killed. One that is stuck in its driver may take longer, and is not waited for.
const KILL_TIME_MAX: Duration = Duration::from_secs(1);

/// Why nothing is lent.
const TAKEN_BACK: &str = "its owner took it back";

/// An owner's GPU, as it is lent to guests. Nothing is lent where a runtime has none of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuConfig {
    /// A part of the adapter's name; nothing is the best one.
    pub adapter: Option<String>,
    /// Whether an adapter that is only software will do. It is for tests.
    pub software: bool,
    /// Bytes that the buffers of one job may have.
    pub memory: ByteCount,
    /// How long a dispatch may take. One that takes longer counts as hung.
    pub slice: Duration,
    /// For how long a GPU that was lost several times in a row is withdrawn.
    #[doc(hidden)]
    pub withdrawn_for: Duration,
    /// For tests: the submission, counted from 1 in each of its processes, with which the GPU is lost.
    #[doc(hidden)]
    pub lost_in_submission: u32,
    /// For tests: the pipeline with which it is.
    #[doc(hidden)]
    pub lost_in_pipeline: u32,
    /// For tests: the pipeline with which its driver does not come back.
    #[doc(hidden)]
    pub stuck_in_pipeline: u32,
    /// For tests: the pipeline that its driver refuses, in words that name the adapter.
    #[doc(hidden)]
    pub refused_pipeline: u32,
    /// For tests: bytes that the adapter has for all jobs, where that is not 0.
    #[doc(hidden)]
    pub memory_of_all: u64,
}

impl Default for GpuConfig {
    /// The best adapter that is none of software, 1 GiB for a job, 2 s for a dispatch.
    fn default() -> Self {
        Self {
            adapter: None,
            software: false,
            memory: ByteCount(1 << 30),
            slice: Duration::from_secs(2),
            withdrawn_for: WITHDRAWN_FOR,
            lost_in_submission: 0,
            lost_in_pipeline: 0,
            stuck_in_pipeline: 0,
            refused_pipeline: 0,
            memory_of_all: 0,
        }
    }
}

impl GpuConfig {
    fn setup(&self) -> GpuSetup {
        let slice_ms = u64::try_from(self.slice.as_millis()).unwrap_or(u64::MAX);
        let faults = Faults {
            no_timestamps: false,
            lost_in_submission: self.lost_in_submission,
            lost_in_pipeline: self.lost_in_pipeline,
            stuck_in_pipeline: self.stuck_in_pipeline,
            refused_pipeline: self.refused_pipeline,
            memory_max: self.memory_of_all,
        };
        GpuSetup { adapter: self.adapter.clone(), software: self.software, memory: self.memory.0, slice_ms, faults }
    }
}

/// What a node has of a GPU now.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Its process starts; who needs it may wait.
    Starting,
    /// It is there.
    Open(Arc<GpuReport>),
    /// It is not, and why.
    Shut(String),
}

/// A handle to who keeps the GPU. It ends with the last one.
#[derive(Debug)]
pub(crate) struct Keeper {
    requests: Requests,
    is_on: watch::Sender<bool>,
    state: watch::Sender<State>,
    pid: Arc<AtomicU32>,
    hangs: Arc<Hangs>,
}

/// Unbounded, because its bound is the number of sessions, which is that of slots: each asks for one thing at a time.
pub(crate) type Requests = mpsc::UnboundedSender<Request>;

/// What a session asks.
#[derive(Debug)]
pub(crate) enum Request {
    /// To begin.
    Open { whose: Whose, need: GpuNeed, time_max_ns: u64, answer: oneshot::Sender<Result<(GpuSession, SandboxEnds), String>> },
    /// For a pipeline of a shader that was checked. The answer is its serial number.
    Pipeline { session: Session, shader: Box<Shader>, answer: oneshot::Sender<u64> },
    /// To end.
    Close { session: Session },
}

/// A session, as its keeper sees it.
#[derive(Debug)]
struct Entry {
    fate: watch::Sender<Fate>,
    whose: Whose,
    /// The GPU worker's end of the session, to end it where that does not.
    socket: OwnedFd,
    /// The most that it is billed.
    time_max_ns: u64,
    /// Since when it is to close.
    closing: Option<Instant>,
    serials: u64,
}

/// A pipeline that is to be made.
#[derive(Debug)]
struct Making {
    session: Session,
    /// Whose it is, also when the session is over and the driver still at it.
    whose: Whose,
    serial: u64,
    shader: Box<Shader>,
    answer: oneshot::Sender<u64>,
}

/// Why a GPU worker's time is over.
#[derive(Debug)]
enum Over {
    /// Nobody needs it any more.
    Dropped,
    /// The owner took it back.
    SwitchedOff,
    /// It cannot be had: it was not lost, it was never there.
    Unusable(String),
    /// It is lost.
    Lost { guilty: Guilty, reason: String },
    /// Its process ended without a word. Its notes, and what it died of, tell whose work it was.
    Died,
}

/// In whose work a GPU was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guilty {
    /// This session's.
    One(Session),
    /// That of one of several, and nobody knows which.
    Several,
    /// It may have been no session's.
    Unknown,
}

impl Guilty {
    fn of(session: Option<Session>) -> Self {
        session.map_or(Self::Unknown, Self::One)
    }

    /// Where each of these may be it.
    fn among(mut suspects: Vec<Session>) -> Self {
        suspects.sort_unstable();
        suspects.dedup();
        match suspects[..] {
            [] => Self::Unknown,
            [one] => Self::One(one),
            [..] => Self::Several,
        }
    }
}

impl Keeper {
    /// Starts a GPU worker. Must be called within a tokio runtime.
    pub(crate) fn start(setup: WorkerSetup, config: GpuConfig) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let state = watch::Sender::new(State::Starting);
        let is_on = watch::Sender::new(true);
        let (pid, hangs) = (Arc::default(), Arc::default());
        let worker = Worker {
            setup,
            config,
            asked,
            again: requests.downgrade(),
            is_on: is_on.subscribe(),
            told: state.clone(),
            pid: Arc::clone(&pid),
            hangs: Arc::clone(&hangs),
            sessions: 0,
            losses: 0,
            blamed: Vec::new(),
        };
        tokio::spawn(worker.keep());
        Self { requests, is_on, state, pid, hangs }
    }

    /// Why somebody's work is kept away from the GPU, where it is.
    pub(crate) fn refusal(&self, whose: &Whose) -> Option<String> {
        self.hangs.refusal(Instant::now(), whose)
    }

    /// What may be offered now.
    pub(crate) fn report(&self) -> Option<Arc<GpuReport>> {
        match &*self.state.borrow() {
            State::Open(report) => Some(Arc::clone(report)),
            State::Starting | State::Shut(_) => None,
        }
    }

    /// Why it is not there, where it does not start either.
    pub(crate) fn withdrawn(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Shut(reason) => Some(reason.clone()),
            State::Starting | State::Open(_) => None,
        }
    }

    /// Waits until the GPU is there, or it is known why not.
    pub(crate) async fn settled(&self) -> Result<Arc<GpuReport>, String> {
        let settled = self.state.subscribe().wait_for(|state| !matches!(state, State::Starting)).await.map(|state| state.clone());
        match settled {
            Ok(State::Open(report)) => Ok(report),
            Ok(State::Shut(reason)) => Err(reason),
            Ok(State::Starting) | Err(_) => Err("its keeper is gone".to_owned()),
        }
    }

    /// Takes the GPU back from guests, or lends it again.
    pub(crate) fn switch(&self, is_on: bool) {
        if self.is_on.send_replace(is_on) != is_on {
            // Said at once, for whoever asks before the process knows.
            self.state.send_replace(if is_on { State::Starting } else { State::Shut(TAKEN_BACK.to_owned()) });
        }
    }

    /// The GPU worker's process.
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Begins a session, and hands out the sandbox's ends of it.
    pub(crate) async fn open(&self, whose: Whose, need: GpuNeed, time_max_ns: u64) -> Result<(GpuSession, SandboxEnds), String> {
        let (answer, answered) = oneshot::channel();
        // Where the keeper is gone, the answer's sender is too.
        let _ = self.requests.send(Request::Open { whose, need, time_max_ns, answer });
        answered.await.unwrap_or_else(|_| Err("its process ended".to_owned()))
    }
}

/// Who keeps the GPU worker running.
#[derive(Debug)]
struct Worker {
    setup: WorkerSetup,
    config: GpuConfig,
    asked: mpsc::UnboundedReceiver<Request>,
    /// For the sessions.
    again: mpsc::WeakUnboundedSender<Request>,
    is_on: watch::Receiver<bool>,
    told: watch::Sender<State>,
    pid: Arc<AtomicU32>,
    hangs: Arc<Hangs>,
    /// How many there were.
    sessions: Session,
    /// In a row.
    losses: u32,
    /// Whose work some of these were. One client's are one loss: it is kept away, and says little of the GPU.
    blamed: Vec<PublicKey>,
}

impl Worker {
    async fn keep(mut self) {
        loop {
            if !*self.is_on.borrow_and_update() {
                if self.refuse(TAKEN_BACK, None).await.is_none() {
                    return;
                }
                continue;
            }
            self.told.send_replace(State::Starting);
            let why = match self.start().await {
                Ok(serving) => self.serve(serving).await,
                Err(over) => over,
            };
            self.pid.store(0, Ordering::Relaxed);
            match why {
                Over::Dropped => return,
                Over::SwitchedOff => self.losses = 0,
                // It was made a loss when the process was waited for.
                Over::Died => self.losses += 1,
                // The next try would end as this one.
                Over::Unusable(reason) => {
                    tracing::warn!(reason, "the GPU cannot be lent");
                    if self.withdraw(&reason).await.is_none() {
                        return;
                    }
                }
                Over::Lost { guilty, reason } => {
                    self.losses += 1;
                    tracing::warn!(?guilty, reason, losses = self.losses, "the GPU was lost");
                    if self.losses >= LOSSES_MAX && self.withdraw(&reason).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Refuses sessions for as long as a GPU is withdrawn.
    async fn withdraw(&mut self, reason: &str) -> Option<()> {
        self.refuse(reason, Some(self.config.withdrawn_for)).await?;
        self.losses = 0;
        Some(())
    }

    /// Remembers whose work lost the GPU.
    fn blame(&mut self, whose: Whose) {
        self.hangs.add(Instant::now(), whose);
        if self.losses == 0 {
            self.blamed.clear();
        }
        if self.blamed.contains(&whose.client) {
            // It is counted once; what follows counts it again.
            self.losses -= 1;
        } else {
            self.blamed.push(whose.client);
        }
    }

    /// Refuses sessions for some time, or until the owner switches; nothing where nobody needs a GPU any more.
    async fn refuse(&mut self, reason: &str, time: Option<Duration>) -> Option<()> {
        self.told.send_replace(State::Shut(reason.to_owned()));
        let over = sleep(time.unwrap_or_default());
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over, if time.is_some() => return Some(()),
                switched = self.is_on.changed() => return switched.ok(),
                request = self.asked.recv() => match request? {
                    Request::Open { answer, .. } => drop(answer.send(Err(reason.to_owned()))),
                    Request::Pipeline { .. } | Request::Close { .. } => {}
                }
            }
        }
    }

    /// Starts the process, and waits until it has opened its adapter.
    async fn start(&mut self) -> Result<Serving, Over> {
        let spawn = || -> io::Result<_> {
            let (process, live) = (self.setup.spawn(Role::Gpu)?, GpuLive::create()?);
            let hello = ToGpu::Hello(Box::new(self.config.setup()));
            process.sender.send_first(&hello, live.as_fd()).map_err(io::Error::other)?;
            Ok((process, live))
        };
        let (mut process, live) = spawn().map_err(|error| lost(format!("it could not be started: {error}")))?;
        self.pid.store(process.pid().unwrap_or(0), Ordering::Relaxed);
        let ready = tokio::select! {
            ready = timeout(READY_TIME_MAX, process.receiver.recv::<FromGpu>()) => ready,
            over = switched_off(&mut self.is_on) => return Err(over),
        };
        let report = match ready {
            Ok(Ok(Some(FromGpu::Ready(Ok(report))))) => Arc::new(*report),
            Ok(Ok(Some(FromGpu::Ready(Err(reason))))) => {
                return Err(Over::Unusable(words(&reason)));
            }
            Ok(_) => return Err(lost("its process ended before the adapter was open".to_owned())),
            Err(_) => return Err(lost(format!("the adapter was not open within {} s", READY_TIME_MAX.as_secs()))),
        };
        let lacks = report.lacks.iter().filter(|what| !what.starts_with(NETWORK)).cloned().collect::<Vec<_>>();
        if self.setup.need == Need::Strong && !lacks.is_empty() {
            let reason = format!("its process would lack walls that a sandbox needs: {}", lacks.join(", "));
            return Err(Over::Unusable(reason));
        }
        tracing::debug!(?report, "the GPU is open");
        self.told.send_replace(State::Open(Arc::clone(&report)));
        let (sessions, pipelines) = (HashMap::new(), VecDeque::new());
        Ok(Serving { process, live: Arc::new(live), report, sessions, pipelines, making_since: None })
    }

    /// Serves sessions until the GPU worker's time is over; tells every session then.
    async fn serve(&mut self, mut serving: Serving) -> Over {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = loop {
            let step = tokio::select! {
                over = switched_off(&mut self.is_on) => Err(over),
                request = self.asked.recv() => match request {
                    Some(request) => self.handle(&mut serving, request).await,
                    None => Err(Over::Dropped),
                },
                told = serving.process.receiver.recv::<FromGpu>() => serving.take_in(told, &mut self.losses).await,
                _ = looks.tick(), if serving.is_busy() => serving.look(self.config.slice),
            };
            if let Err(over) = step {
                break over;
            }
        };
        // First of all nobody is offered what is gone.
        self.told.send_replace(if matches!(over, Over::Lost { .. } | Over::Died) {
            State::Starting
        } else {
            State::Shut(TAKEN_BACK.to_owned())
        });
        let (over, guilty) = serving.end(over).await;
        if let Some(whose) = guilty {
            self.blame(whose);
        }
        over
    }

    async fn handle(&mut self, serving: &mut Serving, request: Request) -> Result<(), Over> {
        match request {
            Request::Open { whose, need, time_max_ns, answer } => {
                if serving.sessions.len() as u64 >= NOTES {
                    let _ = answer.send(Err(format!("it has {NOTES} sessions, and no room for more")));
                    return Ok(());
                }
                // Each has a note of its own, which is found by its number.
                self.sessions += 1;
                while serving.sessions.keys().any(|session| session % NOTES == self.sessions % NOTES) {
                    self.sessions += 1;
                }
                let Some(requests) = self.again.upgrade() else { return Err(Over::Dropped) };
                let opened = match ends() {
                    Ok(ends) => Ok(serving.open(self.sessions, whose, need, time_max_ns, requests, ends).await?),
                    Err(error) => Err(format!("this machine refused a socket or a file: {error}")),
                };
                // Who asked may be gone; then the session closes itself.
                let _ = answer.send(opened);
                Ok(())
            }
            Request::Pipeline { session, shader, answer } => serving.make(session, shader, answer).await,
            Request::Close { session } => serving.close(session).await,
        }
    }
}

/// A GPU worker at work.
#[derive(Debug)]
struct Serving {
    process: WorkerProcess,
    live: Arc<GpuLive>,
    report: Arc<GpuReport>,
    sessions: HashMap<Session, Entry>,
    /// Those that wait; the first is being made.
    pipelines: VecDeque<Making>,
    making_since: Option<Instant>,
}

impl Serving {
    async fn open(
        &mut self,
        session: Session,
        whose: Whose,
        need: GpuNeed,
        time_max_ns: u64,
        requests: Requests,
        (ours, theirs): (SandboxEnds, SandboxEnds),
    ) -> Result<(GpuSession, SandboxEnds), Over> {
        let message = ToGpu::Open { session, need, time_max_ns };
        self.send(&message, &[ours.socket.as_fd(), ours.shared.as_fd()]).await?;
        let (fate, told) = watch::channel(Fate::default());
        self.sessions.insert(session, Entry { fate, whose, socket: ours.socket, time_max_ns, closing: None, serials: 0 });
        let (live, report) = (Arc::clone(&self.live), Arc::clone(&self.report));
        Ok((GpuSession { session, requests, fate: told, live, report }, theirs))
    }

    /// Has a pipeline made, once those before it are: the driver is asked for one at a time, so that it is known whose takes long.
    async fn make(&mut self, session: Session, shader: Box<Shader>, answer: oneshot::Sender<u64>) -> Result<(), Over> {
        // Of one that is over nothing is made, and who asked hears of that.
        let Some(entry) = self.sessions.get_mut(&session) else { return Ok(()) };
        entry.serials += 1;
        self.pipelines.push_back(Making { session, whose: entry.whose, serial: entry.serials, shader, answer });
        if self.making_since.is_none() { self.make_next().await } else { Ok(()) }
    }

    async fn make_next(&mut self) -> Result<(), Over> {
        // Nobody waits for those of a session that is over.
        let is_open = |entry: &Entry| entry.closing.is_none();
        self.pipelines.retain(|making| self.sessions.get(&making.session).is_some_and(is_open));
        let Some(Making { session, serial, shader, .. }) = self.pipelines.front() else { return Ok(()) };
        let message = ToGpu::Pipeline { session: *session, serial: *serial, shader: shader.clone() };
        self.making_since = Some(Instant::now());
        self.send(&message, &[]).await
    }

    async fn close(&mut self, session: Session) -> Result<(), Over> {
        let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.closing.is_none()) else { return Ok(()) };
        entry.closing = Some(Instant::now());
        self.send(&ToGpu::Close { session }, &[]).await
    }

    async fn send(&self, message: &ToGpu, fds: &[BorrowedFd<'_>]) -> Result<(), Over> {
        match timeout(SEND_TIME_MAX, self.process.sender.send_with_fds(message, fds)).await {
            Ok(Ok(())) => Ok(()),
            // Why, is found out where it is read from.
            Ok(Err(IpcError::Io(_))) => Ok(()),
            Ok(Err(error)) => Err(lost(format!("it cannot be told: {error}"))),
            Err(_) => Err(lost("its process does not listen".to_owned())),
        }
    }

    /// Takes in what the GPU worker says.
    async fn take_in(&mut self, told: Result<Option<FromGpu>, IpcError>, losses: &mut u32) -> Result<(), Over> {
        match told {
            Ok(Some(FromGpu::Made { session, serial, made })) => {
                self.made(session, serial, made);
                self.make_next().await
            }
            Ok(Some(FromGpu::Ended { session, why })) => {
                self.tell(session, |fate| fate.verdict = fate.verdict.take().or(Some(Verdict::from(why))));
                Ok(())
            }
            Ok(Some(FromGpu::Closed { session, used })) => {
                // What does work does not fail again and again.
                if used.ns > 0 {
                    *losses = 0;
                }
                self.tell(session, |fate| fate.used = Some(used));
                self.sessions.remove(&session);
                Ok(())
            }
            Ok(Some(FromGpu::Lost { session, reason })) => {
                // Where nothing ran, what the driver made of a shader at that moment did it.
                let making = self.making().map(|(session, _)| session);
                Err(Over::Lost { guilty: Guilty::of(session.or(making)), reason: words(&reason) })
            }
            Ok(Some(FromGpu::Ready(_))) => Err(lost("it said again that it is ready".to_owned())),
            Ok(None) => Err(Over::Died),
            Err(IpcError::Io(_)) => Err(Over::Died),
            Err(error) => Err(lost(format!("it said what is no message: {error}"))),
        }
    }

    fn made(&mut self, session: Session, serial: u64, made: Result<(), String>) {
        self.making_since = None;
        let is_it = |making: &mut Making| (making.session, making.serial) == (session, serial);
        let Some(making) = self.pipelines.pop_front_if(is_it) else { return };
        match made {
            Ok(()) => drop(making.answer.send(serial)),
            // Not for the guest, which would learn something of the adapter by it: another node's driver may make it.
            Err(error) => {
                let verdict = Verdict::Failed(format!("the driver makes no pipeline of a shader: {}", words(&error)));
                self.tell(session, |fate| fate.verdict = fate.verdict.take().or(Some(verdict)));
            }
        }
    }

    /// The session whose pipeline is being made, which may be over, and whose it is.
    fn making(&self) -> Option<(Session, Whose)> {
        self.making_since.and(self.pipelines.front()).map(|making| (making.session, making.whose))
    }

    /// Whether somebody's work may hold up the GPU.
    fn is_busy(&self) -> bool {
        !self.sessions.is_empty() || self.making_since.is_some()
    }

    fn tell(&self, session: Session, change: impl FnOnce(&mut Fate)) {
        if let Some(entry) = self.sessions.get(&session) {
            entry.fate.send_modify(change);
        }
    }

    /// Looks for a session that holds up the GPU: its dispatch is over its slice, its pipeline is not made, or it does not close.
    fn look(&self, slice: Duration) -> Result<(), Over> {
        let now = Instant::now();
        let hung = |session: &Session| {
            let busy = self.live.note(*session).and_then(|note| busy_for(note.busy_since));
            busy.is_some_and(|busy| busy > slice + GRACE)
        };
        if let Some(session) = self.sessions.keys().copied().find(hung) {
            return Err(hung_in(session, format!("a dispatch did not end within {} ms", slice.as_millis())));
        }
        if self.making_since.is_some_and(|since| now > since + PIPELINE_TIME_MAX)
            && let Some((session, _)) = self.making()
        {
            let reason = format!("the driver took over {} s to make a pipeline", PIPELINE_TIME_MAX.as_secs());
            return Err(hung_in(session, reason));
        }
        let is_stuck = |entry: &Entry| entry.closing.is_some_and(|since| now > since + CLOSE_SLICES * slice + CLOSE_TIME_MAX);
        if self.sessions.values().any(is_stuck) {
            return Err(lost("a session did not close".to_owned()));
        }
        Ok(())
    }

    /// Ends the process, and with it every session; says why, now that it is known what it died of, and whose work that was.
    async fn end(self, over: Over) -> (Over, Option<Whose>) {
        let making = self.making();
        let Self { mut process, live, sessions, .. } = self;
        // The notes are the last ones only when nobody writes any more.
        let status = timeout(KILL_TIME_MAX, tokio::spawn(async move { process.kill().await })).await;
        tracing::debug!(?status, "the GPU's process ended");
        let busy = |session: &Session| live.note(*session).is_some_and(|note| note.busy_since > 0);
        // A driver goes on with a pipeline whose session is closed.
        let whose = |session: &Session| {
            let of_open = sessions.get(session).map(|entry| entry.whose);
            of_open.or(making.filter(|(making, _)| making == session).map(|(_, whose)| whose))
        };
        // What a driver makes of a shader, or does with it, is all that can end it so.
        let suspects: Vec<_> = sessions.keys().copied().filter(busy).chain(making.map(|(session, _)| session)).collect();
        let over = match over {
            Over::Died => {
                let crashed = matches!(&status, Ok(Ok(Ok(status))) if is_crash(status));
                let guilty = if crashed { Guilty::among(suspects.clone()) } else { Guilty::Unknown };
                Over::Lost { guilty, reason: "its process ended".to_owned() }
            }
            over => over,
        };
        let guilty = match &over {
            Over::Lost { guilty: Guilty::One(guilty), .. } => whose(guilty),
            // None of them pays for it, but whose they all are is not to do it again and again.
            Over::Lost { guilty: Guilty::Several, .. } => Whose::all(suspects.iter().filter_map(whose)),
            _ => None,
        };
        for (session, entry) in sessions {
            let used = live.note(session).map(|note| {
                let is_guilty = matches!(&over, Over::Lost { guilty: Guilty::One(guilty), .. } if *guilty == session);
                // What it held the GPU up for is its own, though it never ended.
                let held = busy_for(note.busy_since).filter(|_| is_guilty).unwrap_or_default();
                let ns = note.used.ns.saturating_add(u64::try_from(held.as_nanos()).unwrap_or(u64::MAX));
                GpuUsed { ns: ns.min(entry.time_max_ns), ..note.used }
            });
            // A sandbox that waits for a process that cannot die waits no more.
            let _ = shutdown(&entry.socket, Shutdown::Both);
            entry.fate.send_modify(|fate| {
                fate.verdict = fate.verdict.take().or_else(|| verdict(&over, session));
                fate.used = Some(used.unwrap_or_default());
            });
        }
        (over, guilty)
    }
}

/// Whether a process ended by a fault of its own, and not because somebody killed it.
fn is_crash(status: &ExitStatus) -> bool {
    let signal = status.signal().and_then(Signal::from_named_raw);
    matches!(signal, Some(Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE | Signal::ABORT))
}

/// Ends when the owner takes the GPU back, even where it is lent again in the same moment; or when nobody can any more.
async fn switched_off(is_on: &mut watch::Receiver<bool>) -> Over {
    is_on.changed().await.map_or(Over::Dropped, |()| Over::SwitchedOff)
}

/// What the end of a GPU worker is to a session that it takes along.
fn verdict(over: &Over, session: Session) -> Option<Verdict> {
    match over {
        // The runtime is gone, and its runs with it.
        Over::Dropped => None,
        Over::Died => Some(Verdict::Failed("its process ended".to_owned())),
        Over::SwitchedOff => Some(Verdict::Withdrawn),
        Over::Lost { guilty: Guilty::One(guilty), reason } if *guilty == session => Some(Verdict::Lost(reason.clone())),
        // Each may be the one that it was done to.
        Over::Lost { guilty: Guilty::One(_) | Guilty::Several, reason } => Some(Verdict::Bystander(reason.clone())),
        Over::Lost { guilty: Guilty::Unknown, reason } | Over::Unusable(reason) => Some(Verdict::Failed(reason.clone())),
    }
}

fn hung_in(session: Session, reason: String) -> Over {
    Over::Lost { guilty: Guilty::One(session), reason }
}

fn lost(reason: String) -> Over {
    Over::Lost { guilty: Guilty::Unknown, reason }
}

/// For how long what runs since `busy_since` does; nothing where nothing runs.
fn busy_for(busy_since: u64) -> Option<Duration> {
    (busy_since > 0).then(|| Duration::from_nanos(now_ns().saturating_sub(busy_since)))
}

/// Both ends of a session: the GPU worker's, and the sandbox's. The latter does not block, because a sandbox may not ask for
/// that itself.
fn ends() -> io::Result<(SandboxEnds, SandboxEnds)> {
    let (one, other) = StdUnixStream::pair()?;
    other.set_nonblocking(true)?;
    let shared = memfd_create("adit-gpu", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&shared, SHARED_BYTES)?;
    fcntl_add_seals(&shared, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    let again = shared.try_clone()?;
    Ok((SandboxEnds { socket: one.into(), shared }, SandboxEnds { socket: other.into(), shared: again }))
}
