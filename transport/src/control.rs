use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_protocol::{FRAME_HEADER_BYTES, FrameError, decode_frame, encode_frame, frame_length};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use crate::limits::OUTBOX_BYTES_MAX;

/// The sending half of a control stream. A clone sends on the same stream.
///
/// [`Outbox::send`] never waits: it appends to a buffer that one writer task empties with a single write for all that came meanwhile,
/// so that batches form by themselves under load and a lone message is not delayed.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// Wakes the writer.
    filled: Notify,
    /// Wakes whoever waits for room or for the end of the stream.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Whether something in it should leave now, and not in the company of what comes next.
    urgent: bool,
    closed: bool,
    done: bool,
    /// Whether that is for a peer that took nothing.
    given_up: bool,
}

/// How long news waits for company: less than anybody notices, more than a short job takes.
const COMPANY: Duration = Duration::from_millis(1);

/// Bytes of a buffer that are kept for the next messages: most are short, and a large answer is not followed by others.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// A message that was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stream has ended.
    #[error("the connection is closed")]
    Closed,
    /// The peer does not read: more than [`OUTBOX_BYTES_MAX`] wait for it.
    #[error("the peer does not read; {OUTBOX_BYTES_MAX} bytes wait for it")]
    Full,
    /// The message is too large for a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Outbox {
    /// To a peer that may take nothing for so long.
    pub(crate) fn new(stream: SendStream, stall: Duration) -> Self {
        let shared = Arc::new(Shared { buffer: Mutex::new(Buffer::default()), filled: Notify::new(), drained: Notify::new() });
        tokio::spawn(write_all(Arc::clone(&shared), stream, stall));
        Self(shared)
    }

    /// Queues `message`.
    ///
    /// # Errors
    /// [`SendError`]; after `Full` the caller should close the connection, since what was said so far may never arrive.
    pub fn send<M: Serialize>(&self, message: &M) -> Result<(), SendError> {
        self.push(message, true)
    }

    /// Queues `message` to leave with the next urgent one, or after a millisecond where none comes. For news that nobody waits for: the
    /// result of a short job then overtakes them into the same datagram, and its reader wakes once.
    ///
    /// # Errors
    /// As [`Outbox::send`].
    pub fn send_soon<M: Serialize>(&self, message: &M) -> Result<(), SendError> {
        self.push(message, false)
    }

    fn push<M: Serialize>(&self, message: &M, urgent: bool) -> Result<(), SendError> {
        let mut buffer = self.0.lock();
        if buffer.closed {
            return Err(SendError::Closed);
        }
        if buffer.bytes.len() > OUTBOX_BYTES_MAX {
            return Err(SendError::Full);
        }
        let was_empty = buffer.bytes.is_empty();
        encode_frame(message, &mut buffer.bytes)?;
        let wake = was_empty || urgent && !buffer.urgent;
        buffer.urgent |= urgent;
        drop(buffer);
        if wake {
            self.0.filled.notify_one();
        }
        Ok(())
    }

    /// Waits while a good part of the buffer is taken. Whoever produces much for one peer waits here first, so that a slow peer slows
    /// its producer and does not fill the buffer.
    pub async fn room(&self) {
        loop {
            // Asked for before the look, so that a change in between is not missed.
            let drained = self.0.drained.notified();
            {
                let buffer = self.0.lock();
                if buffer.closed || buffer.bytes.len() < OUTBOX_BYTES_MAX / 4 {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Ends the stream after what was queued, and waits until the peer's side has all of it, or is gone. Who closes the connection then
    /// closes it after its last words.
    pub async fn close(&self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
        self.until(|buffer| buffer.done).await;
    }

    /// Waits until the peer has taken nothing of what waits for it for [`SEND_STALL_TIMEOUT`](crate::limits::SEND_STALL_TIMEOUT): the stream is reset then. For ever where
    /// it ends in another way, of which the connection or the next message tells.
    pub async fn given_up(&self) {
        self.until(|buffer| buffer.given_up).await;
    }

    async fn until(&self, is_so: impl Fn(&Buffer) -> bool) {
        loop {
            let drained = self.0.drained.notified();
            if is_so(&self.0.lock()) {
                return;
            }
            drained.await;
        }
    }
}

impl Shared {
    /// Where nothing in the buffer is urgent, waits for something that is, or until the time is over.
    async fn company(&self) {
        let waits = || {
            let buffer = self.lock();
            !buffer.bytes.is_empty() && !buffer.urgent && !buffer.closed
        };
        if !waits() {
            return;
        }
        let mut over = pin!(sleep(COMPANY));
        while waits() {
            tokio::select! {
                () = &mut over => return,
                () = self.filled.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write_all(shared: Arc<Shared>, mut stream: SendStream, stall: Duration) {
    let (mut writing, mut given_up) = (Vec::new(), false);
    loop {
        shared.company().await;
        let closed = {
            let mut buffer = shared.lock();
            std::mem::swap(&mut buffer.bytes, &mut writing);
            buffer.urgent = false;
            buffer.closed
        };
        shared.drained.notify_waiters();
        if !writing.is_empty() {
            match write_while(&mut stream, &writing, stall).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break,
                Err(_) => {
                    // Dropped, the stream would keep what was written until the peer acknowledges it.
                    let _ = stream.reset(VarInt::from_u32(0));
                    given_up = true;
                    break;
                }
            }
            writing.clear();
            writing.shrink_to(BUFFER_BYTES_KEPT);
        } else if closed {
            // One that is gone does not care.
            let _ = stream.finish();
            // Ends when all is acknowledged.
            let _ = stream.stopped().await;
            break;
        } else {
            tokio::select! {
                () = shared.filled.notified() => {}
                _ = stream.stopped() => break,
            }
        }
    }
    let mut buffer = shared.lock();
    buffer.closed = true;
    buffer.done = true;
    buffer.given_up = given_up;
    buffer.bytes = Vec::new();
    drop(buffer);
    shared.drained.notify_waiters();
}

/// Writes all, to a peer that may take nothing for so long: [`Elapsed`] where it does.
async fn write_while(stream: &mut SendStream, bytes: &[u8], stall: Duration) -> Result<Result<(), WriteError>, Elapsed> {
    let mut left = bytes;
    while !left.is_empty() {
        match timeout(stall, stream.write(left)).await? {
            Ok(written) => left = &left[written..],
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// The receiving half of a control stream.
#[derive(Debug)]
pub struct Inbox {
    stream: RecvStream,
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that are already handed out.
    used: usize,
}

/// A control stream that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The connection is lost.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream ended inside of a frame.
    #[error("the stream ended inside of a frame")]
    Truncated,
    /// The peer does not keep to the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Bytes taken from the stream at a time.
const READ_BYTES: usize = 64 * 1024;

impl Inbox {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: Vec::new(), used: 0 }
    }

    /// The next message, or nothing where the peer ended the stream. Cancel-safe: what was read stays in the buffer.
    ///
    /// # Errors
    /// [`ReceiveError`]; the stream is of no use after it.
    pub async fn next<M: Serialize + DeserializeOwned>(&mut self) -> Result<Option<M>, ReceiveError> {
        loop {
            if let Some(message) = self.next_buffered()? {
                return Ok(Some(message));
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ReceiveError::Truncated),
            }
        }
    }

    /// The next message that has arrived whole already, so that a reader can take in a batch before it acts on it.
    ///
    /// # Errors
    /// [`ReceiveError::Frame`].
    pub fn next_buffered<M: Serialize + DeserializeOwned>(&mut self) -> Result<Option<M>, ReceiveError> {
        let rest = &self.buffer[self.used..];
        let Some((header, body)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let length = frame_length(*header)?;
        let Some(body) = body.get(..length) else { return Ok(None) };
        let message = decode_frame(body)?;
        self.used += FRAME_HEADER_BYTES + length;
        Ok(Some(message))
    }
}
