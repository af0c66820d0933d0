//! A submitted job until its end: its log, its progress, Ctrl-C, its output, its receipt.

use std::path::PathBuf;
use std::time::Duration;

use adit_client::{Client, Done, JobHandle, Settled, Update};
use adit_protocol::{JobId, Query};
use adit_transport::TransferError;
use anyhow::bail;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::exit::{InterruptedError, ProofError, is_closed_pipe};
use crate::link;
use crate::reactor::StopSignals;
use crate::report::{End, short};
use crate::screen::Screen;
use crate::sink::Sink;
use crate::spending::Spending;

/// How long more of the log may let wait for itself after the end of the job.
const LOG_TAIL: Duration = Duration::from_secs(3);
/// How long a log that broke off is left alone.
const LOG_RETRY: Duration = Duration::from_millis(250);
/// Pieces of a log on their way to the screen. A screen that is slower stops the stream, and so the gateway sends no more.
const LOG_PIECES_MAX: usize = 16;

/// How long a gateway may take to show that it is there, when the user wants to go. One that is there answers in a round trip.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// How to follow a job.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    pub(crate) client: &'a Client,
    pub(crate) screen: &'a mut Screen,
    pub(crate) sink: &'a Sink,
    /// Where a large output waits until it is known to be right.
    pub(crate) spool: PathBuf,
    /// Whether to show the guest's log.
    pub(crate) show_log: bool,
    pub(crate) spending: Spending,
}

/// A job that ended.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) end: End,
    /// What went wrong after the end, such as a gateway that was lost before it settled.
    pub(crate) troubles: Vec<anyhow::Error>,
}

impl Follow<'_> {
    /// Follows a job to its settled receipt. The first Ctrl-C cancels the job, the second leaves it.
    ///
    /// # Errors
    /// Where the job came to no outcome, or the user left.
    pub(crate) async fn run(mut self, mut handle: JobHandle) -> anyhow::Result<Followed> {
        let mut stop = Stop { signals: StopSignals::listen()?, job: handle.id(), asked: false, is_lost: false };
        let mut log = None;
        let done = self.until_end(&mut handle, &mut stop, &mut log).await;
        let left = match log {
            Some(log) => tokio::select! {
                () = self.drain(log) => None,
                left = stop.twice() => Some(left),
            },
            None => None,
        };
        self.screen.finish();
        let done = done.map_err(|error| self.spending.with_others(error))?;
        if let Some(left) = left {
            return Err(left);
        }

        let mut end = End::of_done(&done);
        let mut troubles = Vec::new();
        tokio::select! {
            () = self.take_results(&done, &mut end, &mut handle, &mut troubles) => {}
            left = stop.twice() => troubles.push(left),
        }
        end.others = self.spending.others();
        // Until it is settled it may yet cost otherwise.
        end.others.may_be_more |= end.proof.as_ref().is_none_or(|proof| proof.settlement.is_none());
        Ok(Followed { end, troubles })
    }

    async fn until_end(&mut self, handle: &mut JobHandle, stop: &mut Stop, log: &mut Option<Log>) -> anyhow::Result<Done> {
        let silent = silence(self.client.clone(), handle.id());
        tokio::pin!(silent);
        loop {
            if stop.asked && stop.is_lost {
                return Err(stop.left_unheard());
            }
            tokio::select! {
                update = handle.next() => {
                    let Some(update) = update? else { bail!(link::closed(handle)) };
                    self.spending.heed(&update);
                    match update {
                        Update::Ended(done) => return Ok(*done),
                        update => {
                            stop.heed(&update);
                            self.handle(update, handle.id(), log);
                        }
                    }
                }
                Some(bytes) = next_piece(log) => self.screen.log(&bytes),
                () = stop.signals.next() => {
                    if stop.asked {
                        return Err(stop.left());
                    }
                    stop.asked = true;
                    handle.cancel();
                    if stop.is_lost {
                        continue;
                    }
                    self.screen.note(format!("cancelling job {}; Ctrl-C again to leave it", short(handle.id())));
                }
                // A gateway that was killed is not known to be lost before its connection times out.
                () = &mut silent, if stop.asked => return Err(stop.left_unheard()),
            }
        }
    }

    fn handle(&mut self, update: Update, job: JobId, log: &mut Option<Log>) {
        match update {
            Update::Queued => tracing::info!(%job, "queued"),
            Update::Started { node, attempt } => tracing::info!(%job, %node, %attempt, "started"),
            Update::Interim(receipt) => {
                let receipt = receipt.receipt();
                let (node, cost) = (receipt.node, receipt.cost);
                tracing::info!(%job, %node, outcome = receipt.outcome.name(), %cost, "an attempt was cut short");
            }
            Update::Progress { done, total } => self.screen.progress(done, total),
            Update::Reconnecting { .. } | Update::Reconnected | Update::Postponed { .. } => {
                return link::note(&update, self.screen);
            }
            _ => {}
        }
        // Any word of the job shows that the gateway knows it, and so its log.
        if self.show_log && log.is_none() {
            *log = Some(Log::open(self.client.clone(), job));
        }
    }

    /// Shows what is left of the log, as fast as the screen takes it.
    async fn drain(&mut self, mut log: Log) {
        loop {
            match timeout(LOG_TAIL, log.pieces.recv()).await {
                Ok(Some(bytes)) => self.screen.log(&bytes),
                Ok(None) => return,
                Err(_) => return tracing::warn!("the end of the log did not come"),
            }
        }
    }

    /// Takes output and settlement; the output first, which is what the user waits for. `end` becomes what was settled, also where the
    /// output could not be written: what was paid for is proven all the same.
    async fn take_results(&mut self, done: &Done, end: &mut End, handle: &mut JobHandle, troubles: &mut Vec<anyhow::Error>) {
        troubles.extend(self.write(done).await.err());
        match self.until_settled(handle).await {
            Ok(settled) => {
                *end = End::of_settled(&settled);
                if end.output != done.receipt.receipt().output {
                    // What became of the first one is of no matter.
                    troubles.clear();
                    troubles.extend(self.replace_output(&settled.done).await.err());
                }
            }
            Err(error) => troubles.push(error),
        }
    }

    async fn until_settled(&mut self, handle: &mut JobHandle) -> anyhow::Result<Settled> {
        loop {
            let Some(update) = handle.next().await? else { bail!(link::closed(handle)) };
            self.spending.heed(&update);
            match update {
                Update::Settled(settled) => return Ok(*settled),
                update => link::note(&update, self.screen),
            }
        }
    }

    async fn write(&self, done: &Done) -> anyhow::Result<()> {
        match self.sink.write(&done.output, self.client, &self.spool).await {
            // Whoever reads our output has seen enough, as in `adit output JOB | head`.
            Err(error) if is_closed_pipe(&error) => Ok(()),
            written => written,
        }
    }

    /// The gateway died before it had stored the receipt, the job ran again, and wrote something else: it was not deterministic, or
    /// a clock or a cancellation ended it elsewhere.
    async fn replace_output(&self, done: &Done) -> anyhow::Result<()> {
        if *self.sink == Sink::Stdout {
            let job = done.receipt.receipt().job;
            bail!(ProofError(format!("the job ran twice, and the output here is not the settled one; `adit output {job}` is")));
        }
        self.write(done).await
    }
}

/// What Ctrl-C does.
#[derive(Debug)]
struct Stop {
    signals: StopSignals,
    job: JobId,
    /// Whether the job was asked to stop.
    asked: bool,
    /// Whether the gateway is lost, and sought.
    is_lost: bool,
}

impl Stop {
    /// Waits until the user leaves a job that has ended: there is nothing left to cancel, so the first Ctrl-C will do.
    async fn twice(&mut self) -> anyhow::Error {
        self.signals.next().await;
        self.left()
    }

    fn heed(&mut self, update: &Update) {
        match update {
            Update::Reconnecting { .. } => self.is_lost = true,
            Update::Reconnected => self.is_lost = false,
            _ => {}
        }
    }

    /// The end of a user's patience with a gateway that does not hear that the job is to stop.
    fn left_unheard(&self) -> anyhow::Error {
        let job = self.job;
        let what = format!("left job {}, which may run on: the gateway does not answer", short(job));
        InterruptedError(format!("{what}; `adit cancel {job}` stops it once the gateway is back")).into()
    }

    fn left(&self) -> anyhow::Error {
        let job = self.job;
        InterruptedError(format!("left job {}; `adit status {job}` tells what becomes of it", short(job))).into()
    }
}

/// Waits, from the first time that it is looked at, until a gateway has shown no sign of life for too long; for ever at one that has.
async fn silence(client: Client, job: JobId) {
    if timeout(SIGN_OF_LIFE, client.ask(Query::Job(job))).await.is_ok_and(|answer| answer.is_ok()) {
        std::future::pending().await
    }
}

/// A job's log on its way to the screen.
#[derive(Debug)]
struct Log {
    pieces: mpsc::Receiver<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Log {
    fn open(client: Client, job: JobId) -> Self {
        let (sender, pieces) = mpsc::channel(LOG_PIECES_MAX);
        Self { pieces, task: tokio::spawn(pump(client, job, sender)) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The next piece of a log that is open and not at its end.
async fn next_piece(log: &mut Option<Log>) -> Option<Vec<u8>> {
    match log {
        Some(log) => log.pieces.recv().await,
        None => None,
    }
}

/// Reads a log to its end, going on where it broke off when the gateway was lost and found again.
async fn pump(client: Client, job: JobId, pieces: mpsc::Sender<Vec<u8>>) {
    let mut offset = 0;
    while !pieces.is_closed() {
        match pump_once(&client, job, &mut offset, &pieces).await {
            Ok(()) => return,
            // It keeps no log of this job.
            Err(TransferError::Refused(reason)) => return tracing::debug!(%job, %reason, "no log"),
            Err(error) => tracing::debug!(%job, %error, "the log broke off"),
        }
        sleep(LOG_RETRY).await;
    }
}

async fn pump_once(client: &Client, job: JobId, offset: &mut u64, pieces: &mpsc::Sender<Vec<u8>>) -> Result<(), TransferError> {
    let mut stream = client.logs(job, *offset).await?;
    while let Some(bytes) = stream.next().await? {
        *offset += bytes.len() as u64;
        if pieces.send(bytes.to_vec()).await.is_err() {
            break;
        }
    }
    Ok(())
}
