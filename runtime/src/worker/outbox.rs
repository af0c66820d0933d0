//! What a guest says on its way out of the worker: output, log and progress, within their limits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit_protocol::JobLimits;
use adit_protocol::limits::{INLINE_BYTES_MAX, LOG_CHUNK_BYTES_MAX};

use crate::ipc::{FromSandbox, OUTPUT_CHUNK_BYTES, Sender};

/// A guest waits while so much is queued for a supervisor that does not read: some pieces of output, so that neither waits for
/// the other in between.
const CONGESTED_BYTES: usize = 4 * OUTPUT_CHUNK_BYTES;

/// Progress is news for a human: more often than this nobody can read it.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// A line of log goes at once where the last went so long ago; else it waits for others, as each message costs the node and its gateway
/// more than a line costs its guest. The watchdog's tick sends what waits.
const LOG_INTERVAL: Duration = Duration::from_millis(5);

/// The guest wrote more output than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the output is over its limit")]
pub(super) struct OutputOver;

/// What is left to say when a job ended.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Remainder {
    /// The whole output, where none was sent.
    pub(super) output: Option<Vec<u8>>,
    /// Log bytes over the limit.
    pub(super) log_dropped: u64,
}

/// The way out, shared by the guest's streams and host functions.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: Sender,
    job: Mutex<JobOut>,
}

#[derive(Debug, Default)]
struct JobOut {
    output: Vec<u8>,
    output_bytes: u64,
    output_max: u64,
    output_over: bool,
    log: Vec<u8>,
    /// What may still be kept.
    log_left: u64,
    log_dropped: u64,
    log_sent: Option<Instant>,
    progress: Option<(u64, u64)>,
    progress_sent: Option<Instant>,
}

impl Outbox {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender, job: Mutex::default() }
    }

    /// Where other messages go.
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Starts a job's streams.
    pub(super) fn open(&self, limits: &JobLimits) {
        *self.job() = JobOut { output_max: limits.output.0, log_left: limits.log.0, ..JobOut::default() };
    }

    /// Takes output from the guest; of what is over the limit, the part up to it.
    pub(super) fn write_output(&self, bytes: &[u8]) -> Result<(), OutputOver> {
        let job = &mut *self.job();
        let fits = bytes.len().min(usize::try_from(job.output_max - job.output_bytes).unwrap_or(usize::MAX));
        job.output.extend_from_slice(&bytes[..fits]);
        job.output_bytes += fits as u64;
        job.output_over |= fits < bytes.len();
        while job.output.len() >= OUTPUT_CHUNK_BYTES {
            let rest = job.output.split_off(OUTPUT_CHUNK_BYTES);
            self.push(&FromSandbox::Output(std::mem::replace(&mut job.output, rest)));
        }
        if job.output_over { Err(OutputOver) } else { Ok(()) }
    }

    /// Whether the guest wrote more output than it may.
    pub(super) fn is_output_over(&self) -> bool {
        self.job().output_over
    }

    /// Takes log from the guest, up to the limit; sends it by lines, many together where they come fast.
    pub(super) fn write_log(&self, bytes: &[u8]) {
        let job = &mut *self.job();
        let kept = bytes.len().min(usize::try_from(job.log_left).unwrap_or(usize::MAX));
        job.log_left -= kept as u64;
        job.log_dropped += (bytes.len() - kept) as u64;
        job.log.extend_from_slice(&bytes[..kept]);
        let is_quiet = || job.log_sent.is_none_or(|sent| sent.elapsed() >= LOG_INTERVAL);
        if job.log.len() >= LOG_CHUNK_BYTES_MAX || job.log.ends_with(b"\n") && is_quiet() {
            self.push_log(job);
        }
    }

    /// Notes how far the guest is, and says so where it last did a while ago.
    pub(super) fn set_progress(&self, done: u64, total: u64) {
        let job = &mut *self.job();
        job.progress = Some((done, total));
        self.push_progress_if_due(job);
    }

    /// Queues what waits for company. Called when some time has passed.
    pub(super) fn flush(&self) {
        let job = &mut *self.job();
        self.push_log(job);
        self.push_progress_if_due(job);
        if job.output_bytes > INLINE_BYTES_MAX as u64 && !job.output.is_empty() {
            self.push(&FromSandbox::Output(std::mem::take(&mut job.output)));
        }
    }

    /// Sends what waits, as far as the supervisor reads. Called every few milliseconds by whoever watches.
    pub(super) fn tick(&self) {
        // Where the supervisor does not read, nothing more is queued for it.
        if self.sender.pending_bytes() == 0 {
            self.flush();
        } else {
            let _ = self.sender.try_drain();
        }
    }

    /// Ends a job's streams.
    pub(super) fn close(&self) -> Remainder {
        self.flush();
        let mut job = std::mem::take(&mut *self.job());
        self.push_progress(&mut job);
        let output = (job.output_bytes <= INLINE_BYTES_MAX as u64).then_some(job.output);
        Remainder { output, log_dropped: job.log_dropped }
    }

    /// Whether the guest should wait before it says more.
    pub(super) fn is_congested(&self) -> bool {
        self.sender.pending_bytes() >= CONGESTED_BYTES
    }

    /// Waits until the guest may say more. A supervisor that is gone ends the whole worker, by the receiving half.
    pub(super) async fn relief(&self) {
        if self.is_congested() {
            let _ = self.sender.drain().await;
        }
    }

    /// Says what the supervisor answers, after all that was said before. One that is gone does not.
    pub(super) async fn ask(&self, message: &FromSandbox) {
        self.push(message);
        let _ = self.sender.drain().await;
    }

    fn push_log(&self, job: &mut JobOut) {
        for piece in std::mem::take(&mut job.log).chunks(LOG_CHUNK_BYTES_MAX) {
            job.log_sent = Some(Instant::now());
            self.push(&FromSandbox::Log(piece.to_vec()));
        }
    }

    fn push_progress_if_due(&self, job: &mut JobOut) {
        if job.progress_sent.is_none_or(|sent| sent.elapsed() >= PROGRESS_INTERVAL) {
            self.push_progress(job);
        }
    }

    fn push_progress(&self, job: &mut JobOut) {
        if let Some((done, total)) = job.progress.take() {
            job.progress_sent = Some(Instant::now());
            self.push(&FromSandbox::Progress { done, total });
        }
    }

    /// Queues a message and sends what the supervisor has room for.
    fn push(&self, message: &FromSandbox) {
        self.sender.push(message).expect("every piece is far smaller than a frame");
        let _ = self.sender.try_drain();
    }

    fn job(&self) -> MutexGuard<'_, JobOut> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::ByteCount;
    use tokio::net::UnixStream;

    use super::*;
    use crate::ipc::{Receiver, connection};

    fn outbox(limits: &JobLimits) -> (Outbox, Receiver) {
        let (a, b) = UnixStream::pair().unwrap();
        let outbox = Outbox::new(connection(a).0);
        outbox.open(limits);
        (outbox, connection(b).1)
    }

    async fn next(receiver: &mut Receiver) -> FromSandbox {
        receiver.recv().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn small_output_waits_for_the_end() {
        let (outbox, _) = outbox(&JobLimits::default());
        outbox.write_output(&[7; INLINE_BYTES_MAX]).unwrap();
        outbox.flush();
        let remainder = outbox.close();
        assert_eq!(remainder.output.unwrap().len(), INLINE_BYTES_MAX);
    }

    #[tokio::test]
    async fn large_output_is_sent_in_pieces() {
        let (outbox, mut receiver) = outbox(&JobLimits::default());
        for _ in 0..OUTPUT_CHUNK_BYTES / 4096 {
            outbox.write_output(&[7; 4096]).unwrap();
        }
        outbox.write_output(b"end").unwrap();
        assert_eq!(outbox.close().output, None);
        assert_eq!(next(&mut receiver).await, FromSandbox::Output(vec![7; OUTPUT_CHUNK_BYTES]));
        assert_eq!(next(&mut receiver).await, FromSandbox::Output(b"end".to_vec()));
    }

    #[tokio::test]
    async fn output_over_its_limit_is_cut_there() {
        let (outbox, _) = outbox(&JobLimits { output: ByteCount(5), ..JobLimits::default() });
        assert_eq!(outbox.write_output(b"abcd"), Ok(()));
        assert_eq!(outbox.write_output(b"efgh"), Err(OutputOver));
        assert!(outbox.is_output_over());
        assert_eq!(outbox.close().output.unwrap(), b"abcde");
    }

    #[tokio::test]
    async fn log_is_sent_by_lines_and_dropped_over_its_limit() {
        let (outbox, mut receiver) = outbox(&JobLimits { log: ByteCount(9), ..JobLimits::default() });
        for piece in ["one", "\n", "two\nthree", "four"] {
            outbox.write_log(piece.as_bytes());
        }
        assert_eq!(next(&mut receiver).await, FromSandbox::Log(b"one\n".to_vec()));
        assert_eq!(outbox.close(), Remainder { output: Some(Vec::new()), log_dropped: 8 });
        assert_eq!(next(&mut receiver).await, FromSandbox::Log(b"two\nt".to_vec()));
    }

    #[tokio::test]
    async fn lines_that_come_fast_go_together() {
        let (outbox, mut receiver) = outbox(&JobLimits::default());
        let begun = Instant::now();
        for _ in 0..1_000 {
            outbox.write_log(b"\n");
        }
        let times = 1 + begun.elapsed().as_micros() / LOG_INTERVAL.as_micros();
        outbox.close();
        let (mut messages, mut bytes) = (0, 0);
        while bytes < 1_000 {
            let FromSandbox::Log(lines) = next(&mut receiver).await else { panic!("no log") };
            (messages, bytes) = (messages + 1, bytes + lines.len());
        }
        assert!(messages <= times + 1, "{messages} in {times} times");
    }

    #[tokio::test]
    async fn only_the_first_and_the_latest_progress_are_said_at_once() {
        let (outbox, mut receiver) = outbox(&JobLimits::default());
        for done in 1..=100 {
            outbox.set_progress(done, 100);
        }
        outbox.close();
        assert_eq!(next(&mut receiver).await, FromSandbox::Progress { done: 1, total: 100 });
        assert_eq!(next(&mut receiver).await, FromSandbox::Progress { done: 100, total: 100 });
    }
}
