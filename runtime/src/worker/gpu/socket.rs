//! Sockets that threads block on: the frames of `ipc.rs`, without an event loop.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use adit_protocol::encode_frame;
use rustix::net::RecvFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ipc::{FDS_PER_MESSAGE_MAX, FrameBuffer, IpcError, recv_fds};

/// What comes in over a socket.
#[derive(Debug)]
pub(super) struct Inbox {
    socket: Arc<UnixStream>,
    frames: FrameBuffer,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    pub(super) fn new(socket: Arc<UnixStream>) -> Self {
        Self { socket, frames: FrameBuffer::new(), fds: VecDeque::new() }
    }

    /// The next message, or nothing where the peer closed the connection between two.
    ///
    /// # Errors
    /// [`IpcError`]; the connection is then of no more use.
    pub(super) fn recv<M: Serialize + DeserializeOwned>(&mut self) -> Result<Option<M>, IpcError> {
        self.recv_or(|| ())
    }

    /// The same, and calls `idle` where there is none yet, before it waits. It sleeps at once: to look again and again, and to yield in between,
    /// costs a whole slice of whoever else computes on this machine.
    pub(super) fn recv_or<M: Serialize + DeserializeOwned>(&mut self, idle: impl FnOnce()) -> Result<Option<M>, IpcError> {
        let mut idle = Some(idle);
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(message));
            }
            let flags = if idle.is_some() { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
            match recv_fds(&self.socket, self.frames.space(), &mut self.fds, flags) {
                Ok(0) if self.frames.is_empty() => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => self.frames.filled(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(idle) = idle.take() {
                        idle();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if self.fds.len() > FDS_PER_MESSAGE_MAX {
                return Err(IpcError::Descriptors);
            }
        }
    }

    /// A descriptor that came with the message received last, in order.
    ///
    /// # Errors
    /// [`IpcError::Descriptors`] where there is none.
    pub(super) fn take_fd(&mut self) -> Result<OwnedFd, IpcError> {
        self.fds.pop_front().ok_or(IpcError::Descriptors)
    }
}

/// Sends a message, and waits until the socket has taken it.
///
/// # Errors
/// Where the peer is gone, or the message does not fit a frame.
pub(super) fn send<M: Serialize>(socket: &UnixStream, message: &M) -> Result<(), IpcError> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame)?;
    let mut socket = socket;
    Ok(socket.write_all(&frame)?)
}
