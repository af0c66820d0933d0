use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_protocol::limits::INLINE_BYTES_MAX;
use adit_protocol::{
    Answer, BlobRef, ClientMessage, Digest, GatewayToClient, Greeting, JobEvent, JobId, JobSpec, PublicKey, Query, SecretKey,
};
use adit_transport::{Connection, Dialer, GatewayAddr, Inbox, Outbox, TransferError};
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::{mpsc, oneshot, watch};

use crate::job::Place;
use crate::transfer::{self, LogStream};
use crate::{ConnectError, Job, JobError, JobHandle, Source};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name and version of the program, told to the gateway for its logs.
    pub software: String,
    /// How long a lost gateway is looked for before its jobs are given up.
    pub reconnect_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { software: concat!("adit-client ", env!("CARGO_PKG_VERSION")).into(), reconnect_for: Duration::from_secs(60) }
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
    /// The present connection, for data streams; nothing while it is being made again.
    connection: watch::Sender<Option<Connection>>,
}

#[derive(Debug, Default)]
struct State {
    outbox: Option<Outbox>,
    jobs: HashMap<JobId, Tracked>,
    questions: HashMap<u64, oneshot::Sender<Answer>>,
    next_question: u64,
    next_handle: u64,
    /// Set when the gateway was given up; nothing is accepted any more.
    lost: Option<String>,
}

/// A job that has a handle.
#[derive(Debug, Default)]
struct Tracked {
    /// What to submit again; nothing where the job was attached by id.
    submission: Option<Arc<Submission>>,
    cancelled: bool,
    /// The handles that follow it, by number: there may be several of one job.
    handles: Vec<(u64, mpsc::UnboundedSender<Result<JobEvent, JobError>>)>,
}

#[derive(Debug)]
struct Submission {
    message: ClientMessage,
    module: Source,
    input: Source,
}

impl Client {
    /// Connects to `gateway` under `key`.
    ///
    /// # Errors
    /// [`ConnectError`]; the first connection is not retried, so that a wrong address is told at once.
    pub async fn connect(key: SecretKey, gateway: GatewayAddr) -> Result<Self, ConnectError> {
        Self::connect_with(key, gateway, Config::default()).await
    }

    /// As [`Client::connect`], with a behaviour of the caller's.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(key: SecretKey, gateway: GatewayAddr, config: Config) -> Result<Self, ConnectError> {
        let (connection, _) = watch::channel(None);
        let shared = Arc::new(Shared { dialer: Dialer::new(key)?, gateway, config, state: Mutex::default(), connection });
        let inbox = shared.greet().await?;
        // The task holds the state weakly, so that dropping the last handle ends it.
        let client = Self { shared };
        tokio::spawn(keep_linked(Arc::downgrade(&client.shared), client.shared.current(), inbox));
        Ok(client)
    }

    /// This client's key.
    pub fn key(&self) -> PublicKey {
        self.shared.client()
    }

    /// Submits `job` and returns at once; everything that happens comes through the handle.
    pub fn submit(&self, job: Job) -> JobHandle {
        let id = JobId::derive(&self.key(), &job.key);
        let spec = Arc::new(job.spec);
        let input = match job.input.place() {
            Place::Bytes(bytes) if bytes.len() <= INLINE_BYTES_MAX => Some(bytes.to_vec()),
            _ => None,
        };
        let message = ClientMessage::Submit { key: job.key, spec: Box::new(JobSpec::clone(&spec)), input };
        let submission = Submission { message, module: job.module, input: job.input };
        self.track(id, Some(spec), Some(Arc::new(submission)))
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
            let outbox = state.outbox.clone().ok_or_else(broken)?;
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
    /// [`ConnectError::Broken`] where the gateway is not connected.
    pub fn cancel(&self, job: JobId) -> Result<(), ConnectError> {
        let outbox = self.shared.lock().outbox.clone().ok_or_else(|| ConnectError::Broken("not connected".into()))?;
        outbox.send(&ClientMessage::Cancel { job }).map_err(|e| ConnectError::Broken(e.to_string()))
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

    /// Stores a blob at the gateway ahead of a job that needs it.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn upload(&self, source: &Source) -> Result<(), TransferError> {
        transfer::upload(&self.shared.connected().await?, source).await
    }

    /// Says goodbye. Jobs go on at the gateway.
    pub async fn close(self) {
        let connection = self.shared.current();
        if let Some(connection) = connection {
            connection.close("bye");
        }
        self.shared.dialer.flush().await;
    }

    fn track(&self, job: JobId, spec: Option<Arc<JobSpec>>, submission: Option<Arc<Submission>>) -> JobHandle {
        let (sender, events) = mpsc::unbounded_channel();
        let mut state = self.shared.lock();
        let state = &mut *state;
        let handle = state.next_handle;
        state.next_handle += 1;
        if let Some(reason) = &state.lost {
            // The receiver is alive: it is in the handle below.
            let _ = sender.send(Err(JobError::GatewayLost { job, reason: reason.clone() }));
        } else {
            let tracked = state.jobs.entry(job).or_default();
            tracked.submission = submission.or(tracked.submission.take());
            tracked.handles.push((handle, sender));
            // For a second handle of a job this has the gateway tell once more where it stands.
            if let Some(outbox) = &state.outbox {
                tracked.announce(job, outbox);
            }
        }
        JobHandle { job, handle, spec, shared: Arc::clone(&self.shared), events, receipt: None }
    }
}

impl Tracked {
    fn tell(&self, event: impl Fn() -> Result<JobEvent, JobError>) {
        for (_, handle) in &self.handles {
            // A handle that is gone needs no news.
            let _ = handle.send(event());
        }
    }

    /// Submits or attaches on a fresh connection. What cannot be sent now is sent on the next one.
    fn announce(&self, job: JobId, outbox: &Outbox) {
        let sent = match &self.submission {
            Some(submission) => outbox.send(&submission.message),
            None => outbox.send(&ClientMessage::Attach { job }),
        };
        if let Err(error) = sent.and_then(|()| if self.cancelled { outbox.send(&ClientMessage::Cancel { job }) } else { Ok(()) })
        {
            tracing::debug!(%job, %error, "not announced");
        }
    }
}

impl Shared {
    pub(crate) fn client(&self) -> PublicKey {
        self.dialer.key().public()
    }

    pub(crate) fn gateway(&self) -> PublicKey {
        self.gateway.key
    }

    pub(crate) fn cancel(&self, job: JobId) {
        let mut state = self.lock();
        if let Some(tracked) = state.jobs.get_mut(&job) {
            tracked.cancelled = true;
            if let Some(outbox) = &state.outbox {
                // A connection that breaks now is made again, and the job is then cancelled there.
                let _ = outbox.send(&ClientMessage::Cancel { job });
            }
        }
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
            if let Some(reason) = &self.lock().lost {
                return Err(lost(reason));
            }
            connection.changed().await.map_err(|_| lost("closed"))?;
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
        for (job, tracked) in &state.jobs {
            tracked.announce(*job, &outbox);
        }
        state.outbox = Some(outbox);
        drop(state);
        self.connection.send_replace(Some(connection));
        Ok(inbox)
    }

    fn disconnect(&self) {
        self.connection.send_replace(None);
        let mut state = self.lock();
        state.outbox = None;
        // Whoever asked learns that no answer will come.
        state.questions.clear();
    }

    fn give_up(&self, reason: &str) {
        let mut state = self.lock();
        state.lost = Some(reason.to_owned());
        for (job, tracked) in state.jobs.drain() {
            tracked.tell(|| Err(JobError::GatewayLost { job, reason: reason.to_owned() }));
        }
        drop(state);
        // Wakes whoever waits for a connection.
        self.connection.send_replace(None);
    }

    fn handle(self: &Arc<Self>, message: GatewayToClient) {
        match message {
            GatewayToClient::Event { job, event } => self.lock().deliver(job, *event),
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

    /// Sends what the gateway lacks, then submits the job again.
    fn upload_and_submit(self: &Arc<Self>, job: JobId, missing: Vec<Digest>) {
        let (Some(connection), Some(submission)) =
            (self.current(), self.lock().jobs.get(&job).and_then(|t| t.submission.clone()))
        else {
            return;
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            for source in [&submission.module, &submission.input] {
                let blob = source.blob().digest;
                if !missing.contains(&blob) {
                    continue;
                }
                if let Err(error) = transfer::upload(&connection, source).await {
                    // On a lost connection the job is submitted again on the next one; anything else is the job's end.
                    let lost = tokio::time::timeout(Duration::from_millis(1), connection.closed()).await.is_ok();
                    if !lost && let Some(tracked) = shared.lock().jobs.remove(&job) {
                        let error = error.to_string();
                        tracked.tell(|| Err(JobError::Upload { job, blob, error: error.clone() }));
                    }
                    return;
                }
            }
            if let Some(outbox) = &shared.lock().outbox {
                // A connection that broke meanwhile makes the next one announce the job.
                let _ = outbox.send(&submission.message);
            }
        });
    }
}

impl State {
    fn deliver(&mut self, job: JobId, event: JobEvent) {
        let Some(tracked) = self.jobs.get(&job) else { return };
        let last = match &event {
            JobEvent::Settled(_) => true,
            JobEvent::Ended(result) => !matches!(result, adit_protocol::JobResult::Done { .. }),
            _ => false,
        };
        tracked.tell(|| Ok(event.clone()));
        if last {
            self.jobs.remove(&job);
        }
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
            shared.disconnect();
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
        tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(3))).await;
    }
}
