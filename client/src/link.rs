use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit_protocol::KnownRoots;
use adit_protocol::limits::INLINE_BYTES_MAX;
use adit_protocol::{
    Answer, BlobRef, ClientMessage, Digest, GatewayToClient, Greeting, JobEvent, JobId, JobResult, JobSpec, PublicKey, Query,
    Refusal, SecretKey,
};
use adit_transport::{Connection, Dialer, GatewayAddr, Inbox, Outbox, TransferError};
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OnceCell, Semaphore, mpsc, oneshot, watch};
use tokio::task::{self, AbortHandle};

use crate::job::Place;
use crate::postponed::{Postponed, SPREAD_MAX, refused_for, shut_out_for};
use crate::transfer::{self, LogStream};
use crate::{ConnectError, Job, JobError, JobHandle, Source};

/// Blobs that are sent at once. More would share the line, each for longer, and none come in time where that is slow: a gateway gives up what
/// comes too slowly.
const UPLOADS_MAX: usize = 4;

/// News that wait for a handle that is not read. An honest gateway has some dozens to tell of a job, besides its progress.
const NEWS_MAX: usize = 1_024;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name and version of the program, told to the gateway for its logs.
    pub software: String,
    /// How long a lost gateway is looked for before its jobs are given up.
    pub reconnect_for: Duration,
    /// How long a submission that the gateway has no room for is tried again, and how long a first connection.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let software = concat!("adit-client ", env!("CARGO_PKG_VERSION")).into();
        Self { software, reconnect_for: Duration::from_secs(60), patience: Duration::from_secs(60) }
    }
}

/// A connection to a gateway that heals itself. Cheap to clone; the connection ends with the last clone and job handle.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What the link task and all handles share. Locks are held for a few instructions, never across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    dialer: Dialer,
    gateway: GatewayAddr,
    config: Config,
    state: Mutex<State>,
    /// Under load receipts and settlements share their signatures; each is checked once.
    known: Mutex<KnownRoots>,
    /// Turns to send a blob: [`UPLOADS_MAX`] at once.
    uploading: Semaphore,
    /// The present connection, for data streams; nothing while it is being made again.
    connection: watch::Sender<Option<Connection>>,
}

/// What the link has to say to a job's handle.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// The gateway's word of the job.
    Event(JobEvent),
    /// The gateway is lost, and looked for.
    Lost(String),
    /// It is found again.
    Found,
    /// The gateway has no room for it now.
    Postponed { refusal: Refusal, wait: Duration, times: u32 },
}

#[derive(Debug, Default)]
struct State {
    link: Link,
    jobs: HashMap<JobId, Tracked>,
    /// The jobs whose blobs are being sent: the gateway does not know them yet.
    uploads: HashMap<JobId, AbortHandle>,
    /// Blobs on their way.
    sending: HashMap<Digest, Arc<OnceCell<()>>>,
    questions: HashMap<u64, oneshot::Sender<Answer>>,
    next_question: u64,
    next_handle: u64,
}

/// How things stand with the gateway.
#[derive(Debug, Default)]
enum Link {
    /// It has not been greeted yet.
    #[default]
    New,
    Up(Outbox),
    /// It is lost for this reason, and looked for.
    Lost(String),
    /// It was looked for long enough; nothing is accepted any more.
    GivenUp(String),
}

/// A job that has a handle.
#[derive(Debug, Default)]
struct Tracked {
    /// What to submit again; nothing where the job was attached by id.
    submission: Option<Arc<Submission>>,
    cancelled: bool,
    /// It was refused for want of room, and is submitted again.
    postponed: Option<Postponed>,
    /// The newest outcome, for a handle that comes after it.
    outcome: Option<JobEvent>,
    /// The handles that follow it, by number: there may be several of one job.
    handles: Vec<(u64, mpsc::Sender<Result<News, JobError>>)>,
}

#[derive(Debug)]
struct Submission {
    /// As it is the first time.
    message: ClientMessage,
    /// From when on its deadline counts.
    since: Instant,
    /// The bytes that the gateway may lack.
    sources: Vec<Source>,
    /// Whether its caller comes again by itself where the gateway has no room.
    once: bool,
}

impl Client {
    /// Connects to `gateway` under `key`.
    ///
    /// # Errors
    /// [`ConnectError`]; the first connection is not retried, so that a wrong address is told at once, unless the gateway is full.
    pub async fn connect(key: SecretKey, gateway: GatewayAddr) -> Result<Self, ConnectError> {
        Self::connect_with(key, gateway, Config::default()).await
    }

    /// As [`Client::connect`], with a behaviour of the caller's.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(key: SecretKey, gateway: GatewayAddr, config: Config) -> Result<Self, ConnectError> {
        let (connection, _) = watch::channel(None);
        let shared = Arc::new(Shared {
            dialer: Dialer::new(key)?,
            gateway,
            config,
            state: Mutex::default(),
            known: Mutex::default(),
            uploading: Semaphore::new(UPLOADS_MAX),
            connection,
        });
        let inbox = shared.greet_patiently().await?;
        // The task holds the state weakly, so that dropping the last handle ends it.
        let client = Self { shared };
        tokio::spawn(keep_linked(Arc::downgrade(&client.shared), client.shared.current(), inbox));
        Ok(client)
    }

    /// This client's key.
    pub fn key(&self) -> PublicKey {
        self.shared.client()
    }

    /// The gateway's key, which it has proven.
    pub fn gateway(&self) -> PublicKey {
        self.shared.gateway.key
    }

    /// The job with the salt that this client's key gives it, so that public statements about it do not name its bytes. The
    /// same job gets the same salt, so it can be submitted again under its key.
    pub fn salted(&self, job: Job) -> Job {
        Job { spec: job.spec.salted(self.shared.secret()), ..job }
    }

    /// Submits `job` and returns at once; everything that happens comes through the handle.
    pub fn submit(&self, job: Job) -> JobHandle {
        self.submit_as(job, false)
    }

    /// As [`Client::submit`], but a gateway without room ends it: for callers that come again by themselves, after [`Pauses`](crate::Pauses),
    /// with the same [`Job::since`].
    pub fn submit_once(&self, job: Job) -> JobHandle {
        self.submit_as(job, true)
    }

    fn submit_as(&self, job: Job, once: bool) -> JobHandle {
        let id = JobId::derive(&self.key(), &job.key);
        let spec = Arc::new(job.spec);
        let input = match job.input.place() {
            Place::Bytes(bytes) if bytes.len() <= INLINE_BYTES_MAX => Some(bytes.to_vec()),
            _ => None,
        };
        let message = ClientMessage::Submit { key: job.key, spec: Box::new(JobSpec::clone(&spec)), input, since_ms: 0 };
        let sources = [job.module, job.input].into_iter().chain(job.named).collect();
        let submission = Submission { message, since: job.since.unwrap_or_else(Instant::now), sources, once };
        self.track(id, Some(spec), Some(submission))
    }

    /// Attaches to a job that this key submitted before.
    pub fn attach(&self, job: JobId) -> JobHandle {
        self.track(job, None, None)
    }

    /// Asks the gateway.
    ///
    /// # Errors
    /// [`ConnectError::Broken`] where the gateway is lost before it answers.
    pub async fn ask(&self, query: Query) -> Result<Answer, ConnectError> {
        let broken = || ConnectError::Broken("no answer".into());
        let answered = {
            let mut state = self.shared.lock();
            let outbox = state.link.outbox().cloned().ok_or_else(broken)?;
            let (answer, answered) = oneshot::channel();
            let request = state.next_question;
            state.next_question += 1;
            state.questions.insert(request, answer);
            outbox.send(&ClientMessage::Ask { request, query }).map_err(|e| ConnectError::Broken(e.to_string()))?;
            answered
        };
        answered.await.map_err(|_| broken())
    }

    /// Withdraws a job without following it.
    ///
    /// # Errors
    /// [`ConnectError::Broken`] where the gateway is not connected; a job that has a handle is then withdrawn on the next connection.
    pub fn cancel(&self, job: JobId) -> Result<(), ConnectError> {
        self.shared.cancel(job)
    }

    /// Writes a blob, such as a job's output, to `sink`. Its bytes are checked against its name; only after `Ok` are they to be trusted.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn fetch(&self, blob: BlobRef, sink: &mut (impl Write + Send)) -> Result<(), TransferError> {
        transfer::fetch(&self.shared.connected().await?, blob, sink).await
    }

    /// Follows a job's log from byte `offset` on.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn logs(&self, job: JobId, offset: u64) -> Result<LogStream, TransferError> {
        transfer::follow_log(&self.shared.connected().await?, job, offset).await
    }

    /// Says goodbye. Jobs go on at the gateway.
    pub async fn close(self) {
        let connection = self.shared.current();
        if let Some(connection) = connection {
            connection.close("bye");
        }
        self.shared.dialer.flush().await;
    }

    fn track(&self, job: JobId, spec: Option<Arc<JobSpec>>, mut submission: Option<Submission>) -> JobHandle {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let mut state = self.shared.lock();
        let state = &mut *state;
        let handle = state.next_handle;
        state.next_handle += 1;
        // The receiver is in the handle below, and has room.
        match &state.link {
            Link::GivenUp(reason) => {
                let _ = sender.try_send(Err(JobError::GatewayLost { job, reason: reason.clone() }));
            }
            link => {
                if let Link::Lost(reason) = link {
                    let _ = sender.try_send(Ok(News::Lost(reason.clone())));
                }
                let tracked = state.jobs.entry(job).or_default();
                if let (Some(first), Some(second)) = (&tracked.submission, &mut submission) {
                    if first.message != second.message {
                        // The gateway would say the same, and the first handle would hear it too.
                        let _ = sender.try_send(Err(JobError::Refused { job, refusal: Refusal::KeyConflict }));
                        return JobHandle { job, handle, spec, shared: Arc::clone(&self.shared), news, done: None };
                    }
                    second.since = second.since.min(first.since);
                }
                if let Some(outcome) = &tracked.outcome {
                    // Its settlement may be on the way, and means nothing without it.
                    let _ = sender.try_send(Ok(News::Event(outcome.clone())));
                }
                tracked.submission = submission.map(Arc::new).or(tracked.submission.take());
                tracked.handles.push((handle, sender));
                // For a second handle of a job this has the gateway tell once more where it stands. It does not know one that sleeps.
                if let Some(outbox) = link.outbox().filter(|_| !tracked.is_asleep()) {
                    tracked.announce(job, outbox);
                }
            }
        }
        JobHandle { job, handle, spec, shared: Arc::clone(&self.shared), news, done: None }
    }
}

impl Link {
    fn outbox(&self) -> Option<&Outbox> {
        match self {
            Self::Up(outbox) => Some(outbox),
            _ => None,
        }
    }
}

impl Submission {
    /// The message as it is by now.
    fn message(&self) -> Cow<'_, ClientMessage> {
        let mut message = Cow::Borrowed(&self.message);
        let spent_ms = self.since.elapsed().as_millis() as u64;
        // Without a deadline it stays what it was.
        if spent_ms > 0
            && self.deadline().is_some()
            && let ClientMessage::Submit { since_ms, .. } = message.to_mut()
        {
            *since_ms = spent_ms;
        }
        message
    }

    fn deadline(&self) -> Option<Duration> {
        match &self.message {
            ClientMessage::Submit { spec, .. } => spec.placement.deadline_ms.map(Duration::from_millis),
            _ => None,
        }
    }

    /// What is left of its deadline, where it has one.
    fn time_left(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.saturating_sub(self.since.elapsed()))
    }
}

impl Tracked {
    /// What a refusal for want of room means to a job that could come again only after its deadline: that it misses that. A gateway that is asked
    /// too fast has not looked which job it is: it may be running.
    fn in_time(&self, event: JobEvent) -> JobEvent {
        if let JobEvent::Ended(JobResult::Refused(refusal)) = &event
            && !matches!(refusal, Refusal::RateLimited { .. })
            && let Some(after) = refused_for(refusal)
            && let Some(left) = self.submission.as_deref().and_then(Submission::time_left)
            && after >= left
            && !self.cancelled
        {
            let missed = Refusal::DeadlineMissed { left_ms: left.as_millis() as u64, needed_ms: 0 };
            return JobEvent::Ended(JobResult::Refused(missed));
        }
        event
    }

    /// Tells all handles. One that is not read hears of no more progress, and of a gateway that goes on for ever nothing more at all.
    fn tell(&mut self, news: impl Fn() -> Result<News, JobError>) {
        self.handles.retain(|(_, handle)| {
            let news = news();
            let is_progress = matches!(news, Ok(News::Event(JobEvent::Progress { .. })));
            if is_progress && handle.capacity() < NEWS_MAX / 2 {
                return true;
            }
            // A handle that is gone needs no news.
            !matches!(handle.try_send(news), Err(TrySendError::Full(_)))
        });
    }

    /// How long to wait before this submission is made again, and which time that is; nothing where it is not.
    fn postpone(&mut self, refusal: &Refusal, patience: Duration) -> Option<(Duration, u32)> {
        if self.cancelled || self.submission.as_ref().is_none_or(|submission| submission.once) {
            return None;
        }
        let left = self.submission.as_deref().and_then(Submission::time_left);
        let postponed = self.postponed.get_or_insert_with(|| Postponed::begin(Instant::now(), patience));
        let pause = postponed.pause_after(refusal)?;
        // Of what was drawn beside, no job is to miss its deadline that could be in time.
        let most = left.zip(refused_for(refusal)).map(|(left, after)| after + left.saturating_sub(after) / 2);
        Some((most.map_or(pause, |most| pause.min(most)), postponed.times))
    }

    fn is_asleep(&self) -> bool {
        self.postponed.as_ref().is_some_and(Postponed::is_asleep)
    }

    /// Submits, attaches or withdraws on a fresh connection. What cannot be sent now is sent on the next one.
    fn announce(&self, job: JobId, outbox: &Outbox) {
        let attach = || outbox.send(&ClientMessage::Attach { job });
        let sent = match &self.submission {
            // Submitted, it might start before the gateway reads on. A gateway that does not know it has nothing to withdraw.
            _ if self.cancelled => attach().and_then(|()| outbox.send(&ClientMessage::Cancel { job })),
            Some(submission) => outbox.send(&submission.message()),
            None => attach(),
        };
        if let Err(error) = sent {
            tracing::debug!(%job, %error, "not announced");
        }
    }
}

impl Shared {
    pub(crate) fn client(&self) -> PublicKey {
        self.secret().public()
    }

    fn secret(&self) -> &SecretKey {
        self.dialer.key()
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, KnownRoots> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gateway(&self) -> PublicKey {
        self.gateway.key
    }

    /// Withdraws a job, here where the gateway does not know it yet.
    pub(crate) fn cancel(&self, job: JobId) -> Result<(), ConnectError> {
        let mut state = self.lock();
        if let Some(tracked) = state.jobs.get_mut(&job) {
            tracked.cancelled = true;
        }
        if let Some(upload) = state.uploads.remove(&job) {
            upload.abort();
            state.decline(job);
            state.deliver(job, JobEvent::Ended(JobResult::CancelledInQueue));
            return Ok(());
        }
        let was_asleep = state.jobs.get_mut(&job).and_then(|tracked| tracked.postponed.as_mut()).is_some_and(Postponed::wake);
        let broken = ConnectError::Broken;
        let outbox = state.link.outbox().ok_or_else(|| broken("not connected".into()))?;
        outbox.send(&ClientMessage::Cancel { job }).map_err(|e| broken(e.to_string()))?;
        if was_asleep {
            // The gateway has heard it too: it has the job where that was submitted before a connection was lost, and came back too fast.
            state.deliver(job, JobEvent::Ended(JobResult::CancelledInQueue));
        }
        Ok(())
    }

    pub(crate) fn forget(&self, job: JobId, handle: u64) {
        let mut state = self.lock();
        if let Some(tracked) = state.jobs.get_mut(&job) {
            tracked.handles.retain(|(number, _)| *number != handle);
            if tracked.handles.is_empty() {
                state.jobs.remove(&job);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Connection> {
        self.connection.borrow().clone()
    }

    /// The present connection, waited for while it is being made again.
    async fn connected(&self) -> Result<Connection, TransferError> {
        let mut connection = self.connection.subscribe();
        let lost = |reason: &str| TransferError::Read(format!("the gateway was lost: {reason}"));
        loop {
            if let Some(connection) = connection.borrow_and_update().clone() {
                return Ok(connection);
            }
            if let Link::GivenUp(reason) = &self.lock().link {
                return Err(lost(reason));
            }
            connection.changed().await.map_err(|_| lost("closed"))?;
        }
    }

    /// As [`Shared::greet`], again where the gateway is full.
    async fn greet_patiently(&self) -> Result<Inbox, ConnectError> {
        let mut postponed = Postponed::begin(Instant::now(), self.config.patience);
        loop {
            let error = match self.greet().await {
                Ok(inbox) => return Ok(inbox),
                Err(error) => error,
            };
            let pause = shut_out_for(&error).and_then(|after| postponed.pause(Instant::now(), after, rand::random()));
            let Some(pause) = pause else { return Err(error) };
            tracing::warn!(%error, "not connected yet; trying again in {:.1} s", pause.as_secs_f64());
            tokio::time::sleep(pause).await;
        }
    }

    /// Connects, says hello, and announces every job that has not ended.
    async fn greet(&self) -> Result<Inbox, ConnectError> {
        let broken = |e: String| ConnectError::Broken(e);
        let connection = self.dialer.dial(&self.gateway).await?;
        let (outbox, mut inbox) = connection.open_control().await.map_err(|e| broken(e.to_string()))?;
        outbox.send(&Greeting::Client { software: self.config.software.clone() }).map_err(|e| broken(e.to_string()))?;
        match inbox.next().await.map_err(|e| broken(e.to_string()))? {
            Some(GatewayToClient::Welcome { software }) => tracing::debug!(%software, "connected"),
            Some(GatewayToClient::Rejected(rejection)) => return Err(ConnectError::Rejected(rejection)),
            other => return Err(broken(format!("{other:?} instead of a welcome"))),
        }
        let mut state = self.lock();
        for (job, tracked) in &mut state.jobs {
            tracked.tell(|| Ok(News::Found));
            // One that sleeps comes when it wakes: those that were refused do not all come at once.
            if !tracked.is_asleep() {
                tracked.announce(*job, &outbox);
            }
        }
        state.link = Link::Up(outbox);
        drop(state);
        self.connection.send_replace(Some(connection));
        Ok(inbox)
    }

    fn disconnect(&self, reason: &str) {
        self.connection.send_replace(None);
        let mut state = self.lock();
        state.link = Link::Lost(reason.to_owned());
        for tracked in state.jobs.values_mut() {
            tracked.tell(|| Ok(News::Lost(reason.to_owned())));
        }
        // Whoever asked learns that no answer will come.
        state.questions.clear();
    }

    fn give_up(&self, reason: &str) {
        let mut state = self.lock();
        state.link = Link::GivenUp(reason.to_owned());
        for (job, mut tracked) in state.jobs.drain() {
            tracked.tell(|| Err(JobError::GatewayLost { job, reason: reason.to_owned() }));
        }
        drop(state);
        // Wakes whoever waits for a connection.
        self.connection.send_replace(None);
    }

    fn handle(self: &Arc<Self>, message: GatewayToClient) {
        match message {
            GatewayToClient::Event { job, event } => self.hear(job, *event),
            GatewayToClient::NeedBlobs { job, missing } => self.upload_and_submit(job, missing),
            GatewayToClient::Answer { request, answer } => {
                if let Some(question) = self.lock().questions.remove(&request) {
                    // Whoever asked may have stopped waiting.
                    let _ = question.send(answer);
                }
            }
            GatewayToClient::Accepted { .. } => {}
            GatewayToClient::Welcome { .. } | GatewayToClient::Rejected(_) => {
                tracing::debug!("a greeting in the middle of a connection");
            }
        }
    }

    /// Takes in what happened to a job. One that the gateway has no room for has not ended for that.
    fn hear(self: &Arc<Self>, job: JobId, event: JobEvent) {
        let mut state = self.lock();
        let Some(tracked) = state.jobs.get_mut(&job) else { return };
        let event = tracked.in_time(event);
        let postponed = match &event {
            JobEvent::Ended(JobResult::Refused(refusal)) => {
                tracked.postpone(refusal, self.config.patience).map(|(wait, times)| (refusal.clone(), wait, times))
            }
            _ => None,
        };
        let Some((refusal, wait, times)) = postponed else {
            tracked.postponed = None;
            return state.deliver(job, event);
        };
        tracing::info!(%job, %refusal, times, "submitted again in {:.3} s", wait.as_secs_f64());
        tracked.tell(|| Ok(News::Postponed { refusal: refusal.clone(), wait, times }));
        let timer = tokio::spawn(submit_later(Arc::downgrade(self), job, wait));
        if let Some(postponed) = &mut tracked.postponed {
            postponed.sleeps(timer.abort_handle());
        }
    }

    /// Sends those blobs of a submission that are missing. Tells which one could not be sent, and why.
    async fn send_missing(
        &self,
        connection: &Connection,
        submission: &Submission,
        missing: &[Digest],
    ) -> Result<(), (Digest, TransferError)> {
        for source in &submission.sources {
            let blob = source.blob().digest;
            if missing.contains(&blob) {
                self.send_once(connection, source).await.map_err(|error| (blob, error))?;
            }
        }
        Ok(())
    }

    /// Sends a blob, once for all jobs that lack it at the moment. Where the job that sends it is cancelled, another goes on.
    async fn send_once(&self, connection: &Connection, source: &Source) -> Result<(), TransferError> {
        let blob = source.blob().digest;
        let sending = Arc::clone(self.lock().sending.entry(blob).or_default());
        let upload = || async {
            // Nobody closes it.
            let _turn = self.uploading.acquire().await;
            transfer::upload(connection, source).await
        };
        let sent = sending.get_or_try_init(upload).await.copied();
        // The gateway may drop the blob some day and ask for it again. Where it was not sent and another job waits for it here, that one sends it
        // now, and those that come later are to find it.
        let mut state = self.lock();
        let is_last = || Arc::strong_count(&sending) == 2;
        if state.sending.get(&blob).is_some_and(|current| Arc::ptr_eq(current, &sending)) && (sent.is_ok() || is_last()) {
            state.sending.remove(&blob);
        }
        sent
    }

    /// Sends what the gateway lacks, then submits the job again; a job that was cancelled meanwhile ends instead.
    fn upload_and_submit(self: &Arc<Self>, job: JobId, missing: Vec<Digest>) {
        let Some(connection) = self.current() else { return };
        let mut state = self.lock();
        let Some(tracked) = state.jobs.get(&job) else { return state.decline(job) };
        if tracked.cancelled {
            // Said before the gateway knew the job, so the gateway has not heard it.
            state.decline(job);
            return state.deliver(job, JobEvent::Ended(JobResult::CancelledInQueue));
        }
        let Some(submission) = tracked.submission.clone() else { return };
        let shared = Arc::clone(self);
        let begun = Instant::now();
        let upload = tokio::spawn(async move {
            let uploaded = shared.send_missing(&connection, &submission, &missing).await;
            // On a lost connection the job is submitted again on the next one; anything else is the job's end.
            let lost = uploaded.is_err() && tokio::time::timeout(CLOSED_GRACE, connection.closed()).await.is_ok();
            let full = match &uploaded {
                Err((_, TransferError::Full(retry_after))) if !lost => Some(*retry_after),
                _ => None,
            };
            shared.lock().spent_on_upload(job, begun.elapsed());
            match full {
                Some(retry_after) => shared.no_room(job, retry_after),
                None => shared.lock().uploaded(job, &submission, uploaded, lost),
            }
        });
        // One that runs already is for a job that was submitted once more, or on a connection that is gone.
        if let Some(older) = state.uploads.insert(job, upload.abort_handle()) {
            older.abort();
        }
    }
}

impl Shared {
    /// Takes in that the gateway has no room for what a job needs, in the task that sent it: as it refuses a job for want of room.
    fn no_room(self: &Arc<Self>, job: JobId, retry_after: Duration) {
        let mut state = self.lock();
        if !state.is_upload_of(job) {
            return;
        }
        state.uploads.remove(&job);
        state.decline(job);
        drop(state);
        let what = "the gateway has no room for the job's module or inputs".to_owned();
        let refusal = Refusal::ShareFull { what, retry_after_ms: retry_after.as_millis() as u64 };
        self.hear(job, JobEvent::Ended(JobResult::Refused(refusal)));
    }
}

/// A stream may tell of a lost connection just before the connection does.
const CLOSED_GRACE: Duration = Duration::from_millis(1);

impl State {
    /// Takes in how long the task which ends an upload was at that: a job that is postponed did not wait for room meanwhile.
    fn spent_on_upload(&mut self, job: JobId, time: Duration) {
        if self.is_upload_of(job)
            && let Some(postponed) = self.jobs.get_mut(&job).and_then(|tracked| tracked.postponed.as_mut())
        {
            postponed.extend(time);
        }
    }

    /// Takes the end of an upload, in its own task.
    fn uploaded(&mut self, job: JobId, submission: &Submission, uploaded: Result<(), (Digest, TransferError)>, lost: bool) {
        if !self.is_upload_of(job) {
            return;
        }
        self.uploads.remove(&job);
        match uploaded {
            Ok(()) => {
                if let Some(outbox) = self.link.outbox() {
                    // A connection that broke meanwhile makes the next one announce the job.
                    let _ = outbox.send(&submission.message());
                }
            }
            Err(_) if lost => {}
            Err((blob, error)) => {
                self.decline(job);
                if let Some(mut tracked) = self.jobs.remove(&job) {
                    tracked.tell(|| Err(JobError::Upload { job, blob, error: error.to_string() }));
                }
            }
        }
    }

    /// Whether this task sends what a job needs, still: it may have been cancelled, or begun anew, while it ended.
    fn is_upload_of(&self, job: JobId) -> bool {
        self.uploads.get(&job).map(AbortHandle::id) == task::try_id()
    }

    /// Tells the gateway that what it asked for a job for will not come.
    fn decline(&self, job: JobId) {
        if let Some(outbox) = self.link.outbox() {
            // With the connection all that is owed on it is forgotten.
            let _ = outbox.send(&ClientMessage::Cancel { job });
        }
    }

    fn deliver(&mut self, job: JobId, event: JobEvent) {
        let Some(tracked) = self.jobs.get_mut(&job) else { return };
        let event = match event {
            // It was withdrawn before it was submitted to this gateway, see `announce`, or while that refused it.
            JobEvent::Ended(JobResult::Refused(refusal))
                if tracked.cancelled
                    && tracked.submission.is_some()
                    && (refusal == Refusal::UnknownJob || refused_for(&refusal).is_some()) =>
            {
                JobEvent::Ended(JobResult::CancelledInQueue)
            }
            event => event,
        };
        let last = match &event {
            JobEvent::Settled(_) => true,
            JobEvent::Ended(result) => !matches!(result, JobResult::Done { .. }),
            _ => false,
        };
        tracked.tell(|| Ok(News::Event(event.clone())));
        if matches!(event, JobEvent::Ended(_)) {
            tracked.outcome = Some(event);
        }
        if last {
            self.jobs.remove(&job);
        }
    }
}

/// Submits a job again that the gateway had no room for. Where the gateway is lost meanwhile, the next connection announces it.
async fn submit_later(shared: std::sync::Weak<Shared>, job: JobId, wait: Duration) {
    tokio::time::sleep(wait).await;
    let Some(shared) = shared.upgrade() else { return };
    let mut state = shared.lock();
    let State { link, jobs, .. } = &mut *state;
    let Some(tracked) = jobs.get_mut(&job) else { return };
    if tracked.postponed.as_mut().is_some_and(Postponed::tries)
        && let Some(outbox) = link.outbox()
    {
        tracked.announce(job, outbox);
    }
}

/// Reads the gateway's messages, and connects again whenever the connection breaks, until the last handle is gone.
async fn keep_linked(shared: std::sync::Weak<Shared>, mut connection: Option<Connection>, mut inbox: Inbox) {
    loop {
        let reason = loop {
            let message = inbox.next().await;
            let Some(shared) = shared.upgrade() else {
                if let Some(connection) = &connection {
                    connection.close("bye");
                }
                return;
            };
            match message {
                Ok(Some(message)) => shared.handle(message),
                Ok(None) => break "the gateway ended the control stream".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        tracing::debug!(%reason, "the gateway is lost");
        if let Some(shared) = shared.upgrade() {
            shared.disconnect(&reason);
        }
        match reconnect(&shared).await {
            Ok((next_connection, next_inbox)) => (connection, inbox) = (next_connection, next_inbox),
            Err(Some(error)) => {
                if let Some(shared) = shared.upgrade() {
                    shared.give_up(&error);
                }
                return;
            }
            Err(None) => return,
        }
    }
}

/// Tries until it works, the time is over, or nobody wants it any more.
async fn reconnect(weak: &std::sync::Weak<Shared>) -> Result<(Option<Connection>, Inbox), Option<String>> {
    let patience = weak.upgrade().ok_or(None)?.config.reconnect_for;
    let started = tokio::time::Instant::now();
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(3))
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        let shared = weak.upgrade().ok_or(None)?;
        let error = match shared.greet().await {
            Ok(inbox) => return Ok((shared.current(), inbox)),
            Err(error) => error,
        };
        if started.elapsed() >= patience {
            return Err(Some(error.to_string()));
        }
        drop(shared);
        let pause = pauses.next().unwrap_or(Duration::from_secs(3));
        // A full gateway says when to come; those whom it tells come apart by their own pauses.
        let told = shut_out_for(&error).unwrap_or_default().min(SPREAD_MAX);
        tokio::time::sleep(told + pause).await;
    }
}
