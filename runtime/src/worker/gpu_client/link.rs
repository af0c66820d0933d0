//! A sandbox's end of a GPU session: commands in batches, and bulk data through the slots of a shared file.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream as StdUnixStream;

use adit_protocol::limits::FRAME_BYTES_MAX;
use tokio::net::UnixStream;

use crate::gpu::wire::{Command, Data, INLINE_MAX, Reply, SLOT_BYTES, SLOTS};
use crate::ipc::{Receiver, Sender, connection};
use crate::unchecked::SharedView;

/// Commands that wait for company. More would keep the GPU waiting for longer than a turn of the socket costs.
const BATCH_COMMANDS_MAX: usize = 64;
/// Their bytes.
const BATCH_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

/// The GPU worker closed the session, or is gone. The supervisor knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the GPU's session was closed")]
pub(crate) struct SessionClosed;

/// The connection to the GPU worker.
#[derive(Debug)]
pub(crate) struct Link {
    sender: Sender,
    receiver: Receiver,
    shared: File,
    /// The slots from the GPU; there from the first large read on.
    view: Option<SharedView>,
    /// Slots towards the GPU that are empty.
    free: Vec<u8>,
    /// Commands that were not sent yet.
    recorded: usize,
}

impl Link {
    /// Over a session's socket, which does not block, and its shared file. To be called within a tokio runtime.
    pub(crate) fn new(socket: OwnedFd, shared: OwnedFd) -> std::io::Result<Self> {
        let (sender, receiver) = connection(UnixStream::from_std(StdUnixStream::from(socket))?);
        Ok(Self { sender, receiver, shared: File::from(shared), view: None, free: (0..SLOTS).collect(), recorded: 0 })
    }

    /// Queues a command, and sends what is queued where that is a batch.
    pub(super) async fn record(&mut self, command: &Command) -> Result<(), SessionClosed> {
        self.sender.push(command).map_err(|_| SessionClosed)?;
        self.recorded += 1;
        if self.recorded < BATCH_COMMANDS_MAX && self.sender.pending_bytes() < BATCH_BYTES_MAX {
            return Ok(());
        }
        self.send().await
    }

    /// Sends what is queued. Waits only for a GPU worker that does not read.
    pub(super) async fn send(&mut self) -> Result<(), SessionClosed> {
        self.recorded = 0;
        self.sender.drain().await.map_err(|_| SessionClosed)
    }

    /// Has bytes go to a buffer; they are taken when this returns.
    pub(super) async fn write(&mut self, buffer: u32, offset: u64, bytes: &[u8]) -> Result<(), SessionClosed> {
        if bytes.len() <= INLINE_MAX {
            return self.record(&Command::Write { buffer, offset, data: Data::Inline(bytes.to_vec()) }).await;
        }
        for (index, piece) in bytes.chunks(SLOT_BYTES).enumerate() {
            let slot = self.free_slot().await?;
            self.shared.write_all_at(piece, slot_at(slot)).map_err(|_| SessionClosed)?;
            let data = Data::Slot { slot, bytes: piece.len() as u32 };
            self.record(&Command::Write { buffer, offset: offset + (index * SLOT_BYTES) as u64, data }).await?;
            // So that the GPU worker empties this one while the next is filled.
            self.send().await?;
        }
        Ok(())
    }

    async fn free_slot(&mut self) -> Result<u8, SessionClosed> {
        while self.free.is_empty() {
            self.send().await?;
            match self.reply().await? {
                Reply::Free { .. } => {}
                _ => return Err(SessionClosed),
            }
        }
        self.free.pop().ok_or(SessionClosed)
    }

    /// Fills `into` from a buffer, after all that was recorded before.
    pub(super) async fn read(&mut self, buffer: u32, offset: u64, into: &mut [u8]) -> Result<(), SessionClosed> {
        if into.is_empty() {
            return Ok(());
        }
        self.record(&Command::Read { buffer, offset, bytes: into.len() as u64 }).await?;
        self.send().await?;
        let mut left = into;
        while !left.is_empty() {
            let taken = match self.reply().await? {
                Reply::Free { .. } => 0,
                Reply::Data(Data::Inline(bytes)) => {
                    left.get_mut(..bytes.len()).ok_or(SessionClosed)?.copy_from_slice(&bytes);
                    bytes.len()
                }
                Reply::Data(Data::Slot { slot, bytes }) => self.take(slot, bytes as usize, left).await?,
                Reply::Finished => return Err(SessionClosed),
            };
            left = &mut left[taken..];
        }
        Ok(())
    }

    /// Empties a slot that the GPU worker has filled.
    async fn take(&mut self, slot: u8, bytes: usize, into: &mut [u8]) -> Result<usize, SessionClosed> {
        let into = into.get_mut(..bytes).filter(|_| slot < SLOTS && bytes <= SLOT_BYTES).ok_or(SessionClosed)?;
        self.view()?.read(usize::from(slot) * SLOT_BYTES, into);
        self.record(&Command::Taken { slot }).await?;
        self.send().await?;
        Ok(bytes)
    }

    /// The slots from the GPU. To read from a mapping takes a fifth of what `pread` does where the guest's memory is not aligned.
    fn view(&mut self) -> Result<&SharedView, SessionClosed> {
        let view = match self.view.take() {
            Some(view) => view,
            None => SharedView::map(&self.shared, slot_at(SLOTS), usize::from(SLOTS) * SLOT_BYTES).map_err(|_| SessionClosed)?,
        };
        Ok(self.view.insert(view))
    }

    /// Waits until all that was recorded is done.
    pub(super) async fn finish(&mut self) -> Result<(), SessionClosed> {
        self.record(&Command::Finish).await?;
        self.send().await?;
        loop {
            match self.reply().await? {
                Reply::Free { .. } => {}
                Reply::Finished => return Ok(()),
                Reply::Data(_) => return Err(SessionClosed),
            }
        }
    }

    /// What the GPU worker says next; a slot that is free again is taken note of.
    async fn reply(&mut self) -> Result<Reply, SessionClosed> {
        let reply = self.receiver.recv().await.ok().flatten().ok_or(SessionClosed)?;
        if let Reply::Free { slot } = reply {
            if slot >= SLOTS || self.free.contains(&slot) {
                return Err(SessionClosed);
            }
            self.free.push(slot);
        }
        Ok(reply)
    }
}

/// Where a slot begins: those towards the GPU come first, then those from it.
fn slot_at(slot: u8) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use tokio::time::timeout;

    use super::*;
    use crate::gpu::wire::SHARED_BYTES;

    /// A link, and the GPU worker's end of it.
    fn pair() -> (Link, (Sender, Receiver, File)) {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let shared = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&shared, SHARED_BYTES).unwrap();
        let file = File::from(shared.try_clone().unwrap());
        let (sender, receiver) = connection(UnixStream::from_std(theirs).unwrap());
        (Link::new(ours.into(), shared).unwrap(), (sender, receiver, file))
    }

    #[tokio::test]
    async fn commands_wait_for_a_batch_or_for_who_sends_them() {
        let (mut link, (_, mut receiver, _)) = pair();
        let command = |buffer: usize| Command::Destroy { buffer: buffer as u32 };
        for buffer in 0..BATCH_COMMANDS_MAX - 1 {
            link.record(&command(buffer)).await.unwrap();
        }
        let nothing = timeout(Duration::from_millis(20), receiver.recv::<Command>()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        link.record(&command(BATCH_COMMANDS_MAX - 1)).await.unwrap();
        for buffer in 0..BATCH_COMMANDS_MAX {
            assert_eq!(receiver.recv().await.unwrap(), Some(command(buffer)));
        }
        link.record(&Command::Submit).await.unwrap();
        link.send().await.unwrap();
        assert_eq!(receiver.recv().await.unwrap(), Some(Command::Submit));
    }

    #[tokio::test]
    async fn large_writes_go_through_slots_that_are_used_again() {
        let (mut link, (sender, mut receiver, shared)) = pair();
        let bytes: Vec<u8> = (0..6 * SLOT_BYTES + 8).map(|n| (n / 7) as u8).collect();
        let worker = async {
            let mut got = Vec::new();
            while got.len() < bytes.len() {
                let Some(Command::Write { buffer: 3, offset, data }) = receiver.recv().await.unwrap() else { panic!("no write") };
                assert_eq!(offset, 100 + got.len() as u64);
                let Data::Slot { slot, bytes } = data else { panic!("not by a slot") };
                let mut piece = vec![0; bytes as usize];
                shared.read_exact_at(&mut piece, slot_at(slot)).unwrap();
                got.extend(piece);
                sender.push(&Reply::Free { slot }).unwrap();
                sender.drain().await.unwrap();
            }
            got
        };
        let (written, got) = tokio::join!(link.write(3, 100, &bytes), worker);
        written.unwrap();
        assert!(got == bytes, "the bytes differ");
    }

    #[tokio::test]
    async fn what_no_honest_gpu_worker_says_ends_the_session() {
        let slot = |slot, bytes| Reply::Data(Data::Slot { slot, bytes });
        for lie in [
            Reply::Free { slot: 0 },
            Reply::Free { slot: SLOTS },
            Reply::Finished,
            Reply::Data(Data::Inline(vec![0; 9])),
            slot(0, 9),
            slot(SLOTS, 8),
            slot(u8::MAX, 8),
        ] {
            let (mut link, (sender, _receiver, _)) = pair();
            sender.push(&lie).unwrap();
            sender.drain().await.unwrap();
            assert_eq!(link.read(0, 0, &mut [0; 8]).await, Err(SessionClosed), "{lie:?}");
        }
        let (mut link, worker) = pair();
        drop(worker);
        assert_eq!(link.finish().await, Err(SessionClosed));
    }
}
