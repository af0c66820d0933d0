//! What supervisor and workers say to each other: one closed enum per direction, in the protocol's frames, over a socket pair.
//! Large things do not travel in frames: compiled modules and large inputs are passed as file descriptors beside them.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use adit_protocol::limits::{FRAME_BYTES_MAX, NAMED_INPUTS_MAX};
use adit_protocol::{Digest, FRAME_HEADER_BYTES, FrameError, JobSpec, Outcome, decode_frame, encode_frame, frame_length};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::admission::ModuleLimits;
use crate::engine::Tier;
use crate::gpu::wire::Shape;
use crate::run::Bounds;

/// Descriptors that travel with one message: a module, an input, the named inputs, and the socket and the file of a GPU session.
pub(crate) const FDS_PER_MESSAGE_MAX: usize = 4 + NAMED_INPUTS_MAX;

/// Output travels in pieces of this size: a quarter of a frame's limit, large enough that a wake-up per piece does not show.
pub(crate) const OUTPUT_CHUNK_BYTES: usize = 64 * 1024;

/// What a supervisor says to a sandbox worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToSandbox {
    /// The first message, with the file of [`crate::live::Live`] beside it. A job is stopped through that, because nobody reads the
    /// socket while a guest runs.
    Hello,
    /// Runs a job.
    Run(Box<RunOrder>),
    /// Answers [`FromSandbox::Pipeline`], to a guest that may be gone.
    Pipeline {
        /// The order that it was asked in.
        run: u64,
        /// What the guest has now; or why it has nothing.
        made: Result<Made, NotMade>,
    },
}

/// Why a guest has no pipeline, in words for its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotMade {
    /// Something is wrong with its shader.
    Shader(String),
    /// A limit of the job would be exceeded.
    Limit(String),
}

/// A pipeline that the GPU worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Its number there, until it has a handle.
    pub(crate) serial: u64,
    /// What its use is checked against.
    pub(crate) shape: Shape,
}

/// A job as a sandbox worker gets it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunOrder {
    /// Numbers the orders to one worker.
    pub(crate) run: u64,
    /// Where the worker keeps the module.
    pub(crate) slot: u8,
    /// Whether the module's code comes with this message, as its first descriptor, and replaces what the slot holds.
    pub(crate) load: bool,
    /// Which compiler made it.
    pub(crate) tier: Tier,
    /// The job. The files of its named inputs come with this message, after that of its input, in the order that they have here.
    pub(crate) spec: JobSpec,
    /// What ends it, which the guest does not learn.
    pub(crate) bounds: Bounds,
    /// What the guest reads.
    pub(crate) input: InputOrder,
    /// Whether the socket and the file of a GPU session come with this message, as its last descriptors.
    pub(crate) has_gpu: bool,
}

/// Where a guest's input is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum InputOrder {
    /// Here.
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
    /// In a file that comes with the message after the module, from offset 0.
    File {
        /// How many bytes of it.
        bytes: u64,
    },
}

/// What a sandbox worker says to its supervisor.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromSandbox {
    /// The guest wrote to its log.
    Log(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The guest says how far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// The guest wrote output, more than fits the last message.
    Output(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The job ended.
    Ended(Box<Ending>),
    /// The job did not start, because its module could not be loaded; the slot is empty.
    Unusable(String),
    /// The guest wants a pipeline of a shader. It waits for the answer.
    Pipeline {
        /// At most [`crate::gpu::shader::SHADER_BYTES_MAX`].
        wgsl: String,
        /// At most [`crate::gpu::shader::ENTRY_BYTES_MAX`].
        entry: String,
    },
    /// The next piece of [`crate::FuelProfile`], before the job's end; where its module's functions tell of themselves.
    Profile(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// What a job has used, as far as the worker counts it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) fuel: u64,
    pub(crate) memory_peak: u64,
    pub(crate) memory_fuel: u128,
    pub(crate) host_calls: u64,
}

/// How a job ended.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    /// What a human should know beyond the outcome's name.
    pub(crate) reason: String,
    pub(crate) used: Used,
    /// Microseconds from the order to the end.
    pub(crate) run_us: u64,
    /// The whole output, where none was sent before.
    #[serde(with = "serde_bytes")]
    pub(crate) output: Option<Vec<u8>>,
    /// Log bytes over the limit.
    pub(crate) log_dropped: u64,
}

/// What a supervisor says to a compile worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToCompiler {
    /// The first message, with two descriptors: the module, and where its code goes.
    Compile(CompileOrder),
    /// Answers [`FromCompiler::Full`]: there is room now.
    WriteAgain,
}

/// A module as a compile worker gets it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CompileOrder {
    /// What the module's bytes must hash to.
    pub(crate) module: Digest,
    /// Which compiler to use.
    pub(crate) tier: Tier,
    /// What the owner admits.
    pub(crate) limits: ModuleLimits,
    /// Whether the module's functions tell of themselves.
    pub(crate) profile: bool,
}

/// What a compile worker answers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromCompiler {
    /// The code was written.
    Compiled,
    /// The module is not one that runs here, and why.
    Invalid(String),
    /// The compiler of this tier cannot compile it; another may.
    Unsuited(String),
    /// The worker could not do its part.
    Failed(String),
    /// There is code, of so many bytes, and no room for it where it goes. The worker waits for the answer.
    Full(u64),
}

/// A broken connection between supervisor and worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IpcError {
    /// The socket failed, or closed within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer sent what is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message came without the descriptor that it speaks of, or with more than any message has.
    #[error("a message with the wrong number of file descriptors")]
    Descriptors,
}

/// The sending half of a connection. Messages go out whole and in order, whoever drains them.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: Arc<UnixStream>,
    pending: Mutex<Vec<u8>>,
}

/// The receiving half of a connection, in a buffer of one frame.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: Arc<UnixStream>,
    frames: FrameBuffer,
    fds: VecDeque<OwnedFd>,
}

/// Makes a connection's two halves.
pub(crate) fn connection(socket: UnixStream) -> (Sender, Receiver) {
    let socket = Arc::new(socket);
    let sender = Sender { socket: Arc::clone(&socket), pending: Mutex::default() };
    (sender, Receiver { socket, frames: FrameBuffer::new(), fds: VecDeque::new() })
}

impl Sender {
    /// Queues a message; [`Self::drain`] or [`Self::try_drain`] sends it.
    ///
    /// # Errors
    /// [`FrameError::Length`] where the message does not fit a frame.
    pub(crate) fn push<M: Serialize>(&self, message: &M) -> Result<(), FrameError> {
        encode_frame(message, &mut self.lock())
    }

    /// How many bytes wait to be sent.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.lock().len()
    }

    /// Sends all that is queued, as fast as the peer reads.
    ///
    /// # Errors
    /// Where the peer is gone.
    pub(crate) async fn drain(&self) -> io::Result<()> {
        while !self.try_drain()? {
            self.socket.writable().await?;
        }
        Ok(())
    }

    /// Sends what the peer has room for, and says whether that was all.
    ///
    /// # Errors
    /// Where the peer is gone.
    pub(crate) fn try_drain(&self) -> io::Result<bool> {
        let mut pending = self.lock();
        while !pending.is_empty() {
            match self.socket.try_write(&pending) {
                Ok(n) => drop(pending.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Sends a message with descriptors beside it, after all that is queued.
    ///
    /// # Errors
    /// Where the peer is gone or the message does not fit a frame.
    pub(crate) async fn send_with_fds<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> Result<(), IpcError> {
        assert!(fds.len() <= FDS_PER_MESSAGE_MAX, "no message carries more descriptors");
        self.drain().await?;
        let mut frame = Vec::with_capacity(1024);
        encode_frame(message, &mut frame)?;
        let sent = match fds {
            [] => 0,
            _ => self.socket.async_io(Interest::WRITABLE, || send_fds(&self.socket, &frame, fds)).await?,
        };
        self.lock().extend_from_slice(&frame[sent..]);
        Ok(self.drain().await?)
    }

    /// Sends the first message of a connection, whose socket has room for it, with a descriptor beside it.
    ///
    /// # Errors
    /// Where the peer is gone.
    pub(crate) fn send_first<M: Serialize>(&self, message: &M, fd: BorrowedFd<'_>) -> Result<(), IpcError> {
        let mut frame = Vec::new();
        encode_frame(message, &mut frame)?;
        let sent = send_fds(&self.socket, &frame, &[fd])?;
        self.lock().extend_from_slice(&frame[sent..]);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// The next message, or nothing where the peer closed the connection between two. Cancel-safe.
    ///
    /// # Errors
    /// [`IpcError`]; the connection is then of no more use.
    pub(crate) async fn recv<M: Serialize + DeserializeOwned>(&mut self) -> Result<Option<M>, IpcError> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(message));
            }
            let (frames, fds) = (&mut self.frames, &mut self.fds);
            let n = self
                .socket
                .async_io(Interest::READABLE, || recv_fds(&self.socket, frames.space(), fds, RecvFlags::empty()))
                .await?;
            if n == 0 {
                return if frames.is_empty() { Ok(None) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) };
            }
            frames.filled(n);
            if fds.len() > FDS_PER_MESSAGE_MAX {
                return Err(IpcError::Descriptors);
            }
        }
    }

    /// A descriptor that came with the message received last, in order.
    ///
    /// # Errors
    /// [`IpcError::Descriptors`] where there is none.
    pub(crate) fn take_fd(&mut self) -> Result<OwnedFd, IpcError> {
        self.fds.pop_front().ok_or(IpcError::Descriptors)
    }
}

/// What a receiver makes of bytes that come in `pieces`, and of the end of the connection, without a socket: each message, and how it
/// ended.
pub(crate) fn receive_pieces<M: Serialize + DeserializeOwned>(pieces: &[&[u8]], mut each: impl FnMut(M)) -> Result<(), IpcError> {
    let mut frames = FrameBuffer::new();
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            let space = frames.space();
            let (now, later) = piece.split_at(space.len().min(piece.len()));
            assert!(!now.is_empty(), "a buffer without a whole message has space");
            space[..now.len()].copy_from_slice(now);
            frames.filled(now.len());
            piece = later;
            while let Some(message) = frames.next()? {
                each(message);
            }
        }
    }
    if frames.is_empty() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}

fn send_fds(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "the buffer has room for every descriptor of a message");
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Reads once, with the descriptors that come along.
pub(crate) fn recv_fds(socket: impl AsFd, space: &mut [u8], fds: &mut VecDeque<OwnedFd>, flags: RecvFlags) -> io::Result<usize> {
    let mut control_space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut control_space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(space)], &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(received.bytes)
}

/// Bytes on their way to become messages. Holds one frame at most, so a peer decides nothing about our memory.
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; FRAME_BYTES_MAX].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the next bytes go; never empty after [`Self::next`] found no message.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
    }

    /// The next message, if it is there whole.
    pub(crate) fn next<M: Serialize + DeserializeOwned>(&mut self) -> Result<Option<M>, FrameError> {
        let Some((header, rest)) = self.bytes[self.start..self.end].split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = frame_length(*header)?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = decode_frame(body)?;
        self.start += FRAME_HEADER_BYTES + length;
        Ok(Some(message))
    }
}

// The largest order fits a frame: a specification at its limits with an inline input at its own (see `Input`).
const _: () = assert!(OUTPUT_CHUNK_BYTES + 1024 < FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use tokio::io::AsyncWriteExt;

    use super::*;

    fn pair() -> ((Sender, Receiver), (Sender, Receiver)) {
        let (a, b) = UnixStream::pair().unwrap();
        (connection(a), connection(b))
    }

    /// What a receiver makes of `bytes` and the end of the connection.
    async fn receive(bytes: &[u8]) -> Result<Option<ToSandbox>, IpcError> {
        let (mut raw, socket) = UnixStream::pair().unwrap();
        let (_, mut receiver) = connection(socket);
        raw.write_all(bytes).await.unwrap();
        drop(raw);
        receiver.recv().await
    }

    #[tokio::test]
    async fn messages_arrive_whole_and_in_order() {
        let ((sender, _), (_, mut receiver)) = pair();
        let sent: Vec<_> = (0..40).map(|run| FromSandbox::Output(vec![run; OUTPUT_CHUNK_BYTES])).collect();
        for message in &sent {
            sender.push(message).unwrap();
        }
        let receive = async {
            for message in &sent {
                assert_eq!(receiver.recv::<FromSandbox>().await.unwrap().as_ref(), Some(message));
            }
        };
        let (drained, ()) = tokio::join!(sender.drain(), receive);
        drained.unwrap();
        assert_eq!(sender.pending_bytes(), 0);
    }

    #[tokio::test]
    async fn descriptors_travel_with_their_message() {
        let ((sender, _), (_, mut receiver)) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"code").unwrap();
        let limits = ModuleLimits { module_bytes_max: 8 << 20 };
        let order = CompileOrder { module: Digest::of(b"m"), tier: Tier::Optimised, limits, profile: true };
        let order = ToCompiler::Compile(order);
        sender.send_with_fds(&order, &[file.as_fd(), file.as_fd()]).await.unwrap();
        assert_eq!(receiver.recv::<ToCompiler>().await.unwrap(), Some(order));
        let mut got = File::from(receiver.take_fd().unwrap());
        got.rewind().unwrap();
        let mut text = String::new();
        got.read_to_string(&mut text).unwrap();
        assert_eq!(text, "code");
        receiver.take_fd().unwrap();
        assert!(matches!(receiver.take_fd(), Err(IpcError::Descriptors)));
    }

    #[tokio::test]
    async fn hostile_lengths_are_refused_before_anything_is_allocated() {
        for length in [0, FRAME_BYTES_MAX as u32 - 3, FRAME_BYTES_MAX as u32, u32::MAX] {
            let error = receive(&length.to_le_bytes()).await.unwrap_err();
            assert!(matches!(error, IpcError::Frame(FrameError::Length(n)) if n == length as usize), "{length}: {error}");
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_message_are_refused() {
        let mut good = Vec::new();
        encode_frame(&ToSandbox::Hello, &mut good).unwrap();
        assert_eq!(receive(&good).await.unwrap(), Some(ToSandbox::Hello));
        assert_eq!(receive(&[]).await.unwrap(), None);
        for cut in 1..good.len() {
            let error = receive(&good[..cut]).await.unwrap_err();
            assert!(matches!(&error, IpcError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof), "{cut}: {error}");
        }
        let mut version = good.clone();
        version[FRAME_HEADER_BYTES] ^= 0xff;
        assert!(matches!(receive(&version).await, Err(IpcError::Frame(FrameError::Version(_)))));
        let mut variant = good.clone();
        variant[FRAME_HEADER_BYTES + 1] = 9;
        assert!(matches!(receive(&variant).await, Err(IpcError::Frame(FrameError::Payload(_)))));
        let trailing = [&3_u32.to_le_bytes()[..], &good[FRAME_HEADER_BYTES..], &[0]].concat();
        assert!(matches!(receive(&trailing).await, Err(IpcError::Frame(FrameError::Trailing(1)))));
    }

    #[tokio::test]
    async fn largest_order_fits_a_frame() {
        use adit_protocol::{BlobRef, limits};
        let mut spec = JobSpec::new(BlobRef::of(b"m"), BlobRef::of(b"i"));
        spec.args = vec!["x".repeat(limits::ARGS_ENV_BYTES_MAX)];
        spec.placement.labels =
            vec![("k".repeat(limits::LABEL_BYTES_MAX), "v".repeat(limits::LABEL_BYTES_MAX)); limits::LABELS_MAX];
        for n in 0..NAMED_INPUTS_MAX {
            let name = format!("{n:0>width$}", width = limits::INPUT_NAME_BYTES_MAX).parse().unwrap();
            spec.add_input(name, BlobRef { bytes: limits::BLOB_BYTES_MAX, ..BlobRef::of(b"n") });
        }
        assert_eq!(spec.check(), Ok(()));
        let input = InputOrder::Inline(vec![0; limits::INLINE_BYTES_MAX]);
        let order = ToSandbox::Run(Box::new(RunOrder {
            run: u64::MAX,
            slot: u8::MAX,
            load: true,
            tier: Tier::Baseline,
            bounds: Bounds::of(&spec.limits),
            spec,
            input,
            has_gpu: true,
        }));
        encode_frame(&order, &mut Vec::new()).unwrap();
    }
}
