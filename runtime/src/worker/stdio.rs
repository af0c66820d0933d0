//! A guest's standard streams: input from memory or a file, output and log to the [`Outbox`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::counters::Counters;
use super::guest::Halted;
use super::outbox::Outbox;
use super::prices::STREAM_BYTE_UNITS;

/// Most that one read takes from a file, whatever the guest asks for: it bounds what the worker holds beside the guest's memory.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Most that one write may carry; WASI's own adapter writes less.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Standard input. Clones share their position.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    source: Arc<Source>,
    position: Arc<AtomicU64>,
    /// Who pays for what is read.
    counters: Option<Arc<Counters>>,
}

/// Where an input's bytes are.
#[derive(Debug)]
pub(super) enum Source {
    Memory(Bytes),
    /// The first `bytes` of a file. Reads go to the page cache and are not waited for as a guest's other streams are.
    File {
        file: File,
        bytes: u64,
    },
}

/// This machine has not the bytes of an input that it should have. A guest cannot tell a short input from a broken disk, so it must not
/// see that: on another machine it would go on.
#[derive(Debug, thiserror::Error)]
#[error("an input cannot be read: {0}")]
pub(super) struct Unreadable(pub(super) io::Error);

impl Source {
    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Fills `into` with the bytes from `offset` on, which there are.
    pub(super) fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => into.copy_from_slice(&bytes[offset as usize..][..into.len()]),
            Self::File { file, .. } => file.read_exact_at(into, offset)?,
        }
        Ok(())
    }
}

impl Input {
    pub(crate) fn memory(bytes: Vec<u8>) -> Self {
        Self::new(Source::Memory(bytes.into()))
    }

    /// The first `bytes` of a file.
    pub(super) fn file(file: File, bytes: u64) -> Self {
        Self::new(Source::File { file, bytes })
    }

    fn new(source: Source) -> Self {
        Self { source: Arc::new(source), position: Arc::default(), counters: None }
    }

    /// The same input, read at a guest's cost.
    pub(super) fn charged_to(self, counters: Arc<Counters>) -> Self {
        Self { counters: Some(counters), ..self }
    }

    /// The next at most `size` bytes; none at the end.
    fn take(&self, size: usize) -> io::Result<Bytes> {
        let position = self.position.load(Ordering::Relaxed);
        let piece = match &*self.source {
            Source::Memory(bytes) => {
                let start = (position as usize).min(bytes.len());
                bytes.slice(start..bytes.len().min(start.saturating_add(size)))
            }
            Source::File { file, bytes } => {
                let left = usize::try_from(bytes - position).unwrap_or(usize::MAX);
                let mut piece = vec![0; size.min(READ_BYTES_MAX).min(left)];
                file.read_exact_at(&mut piece, position)?;
                piece.into()
            }
        };
        self.position.store(position + piece.len() as u64, Ordering::Relaxed);
        Ok(piece)
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    /// The view that components ask for. Guests are core modules, so nobody does.
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.take(size) {
            Ok(piece) if piece.is_empty() && size > 0 => Err(StreamError::Closed),
            Ok(piece) => match &self.counters {
                Some(counters) => pay(counters, piece.len()).map(|()| piece),
                None => Ok(piece),
            },
            Err(error) => Err(StreamError::Trap(Unreadable(error).into())),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {}
}

/// Has the guest pay for bytes of its streams; a guest that may not go on does not get through a call of many pieces.
fn pay(counters: &Counters, bytes: usize) -> StreamResult<()> {
    if counters.page.charge(bytes as u64 * STREAM_BYTE_UNITS) { Ok(()) } else { Err(StreamError::Trap(Halted.into())) }
}

/// Where an [`Output`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The job's output.
    Output,
    /// The job's log.
    Log,
}

/// Standard output or standard error, written at a guest's cost.
#[derive(Debug, Clone)]
pub(super) struct Output {
    way: Way,
    outbox: Arc<Outbox>,
    counters: Arc<Counters>,
}

impl Output {
    pub(super) fn new(way: Way, outbox: &Arc<Outbox>, counters: &Arc<Counters>) -> Self {
        Self { way, outbox: Arc::clone(outbox), counters: Arc::clone(counters) }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    /// The view that components ask for. Guests are core modules, so nobody does.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        pay(&self.counters, bytes.len())?;
        match self.way {
            Way::Output => self.outbox.write_output(&bytes).map_err(|over| StreamError::Trap(over.into())),
            Way::Log => {
                self.outbox.write_log(&bytes);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.outbox.is_congested() { 0 } else { WRITE_BYTES_MAX })
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.outbox.relief().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn input_is_read_once_to_its_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        for input in [Input::memory(b"01234567".to_vec()), Input::file(file, 8)] {
            let (mut a, mut b) = (input.clone(), input);
            assert_eq!(a.read(5).unwrap(), "01234");
            assert_eq!(b.read(0).unwrap(), "");
            assert_eq!(b.read(5).unwrap(), "567");
            assert!(matches!(a.read(5), Err(StreamError::Closed)));
        }
    }

    #[test]
    fn input_file_that_is_too_short_traps() {
        let mut input = Input::file(tempfile::tempfile().unwrap(), 8);
        assert!(matches!(input.read(5), Err(StreamError::Trap(_))));
    }
}
