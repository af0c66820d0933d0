//! Buffers that bulk data waits in, on its way to the device and back.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use wgpu::{Buffer, BufferUsages, WriteOnly};

use super::batch::Batch;
use super::device::{Gpu, lock};
use crate::gpu::wire::{SLOT_BYTES, SessionEnd};

/// Buffers of a session in each direction. More would hide nothing: half of them are on the device while the others are filled.
const CHUNKS_MAX: usize = 8;
/// Buffers of one submission.
pub(super) const CHUNKS_PER_BATCH: usize = CHUNKS_MAX / 2;
const CHUNK_BYTES: usize = SLOT_BYTES;
/// What offsets into mapped memory are a multiple of (WebGPU, section 5.2: `getMappedRange`).
const MAP_ALIGN: usize = 8;

/// Towards the device.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    mapped: Arc<Mapped>,
    made: usize,
    /// The one that is being filled, and how far.
    open: Option<(Buffer, usize)>,
    /// Filled ones, which are part of what is recorded.
    filled: Vec<Buffer>,
}

/// Those that can be written to, or not any more.
#[derive(Debug, Default)]
struct Mapped {
    free: Mutex<Vec<Result<Buffer, ()>>>,
    wake: Condvar,
}

impl Uploads {
    /// Takes in so many bytes, at most a slot, as `fill` writes them, and says where they are.
    ///
    /// # Errors
    /// Where the adapter has no memory left.
    pub(super) fn put(
        &mut self,
        gpu: &Gpu,
        bytes: usize,
        fill: impl FnOnce(WriteOnly<'_, [u8]>),
    ) -> Result<(Buffer, u64), SessionEnd> {
        if self.open.as_ref().is_some_and(|(_, used)| used + bytes > CHUNK_BYTES) {
            self.close();
        }
        let (buffer, used) = match self.open.take() {
            Some(open) => open,
            None => (self.take(gpu)?, 0),
        };
        let (from, to) = (used as u64, (used + bytes) as u64);
        let view = buffer.slice(from..to).get_mapped_range_mut();
        let mut view = view.map_err(|error| SessionEnd::Failed(error.to_string()))?;
        fill(view.slice(..));
        drop(view);
        self.open = Some((buffer.clone(), (used + bytes).next_multiple_of(MAP_ALIGN)));
        Ok((buffer, from))
    }

    /// Whether what is recorded has all that it may have.
    pub(super) fn is_full(&self) -> bool {
        self.filled.len() + usize::from(self.open.is_some()) >= CHUNKS_PER_BATCH
    }

    /// Gives all that is filled to a submission, after which it can be filled again.
    pub(super) fn hand_over(&mut self, batch: &mut Batch) {
        self.close();
        for buffer in self.filled.drain(..) {
            let (mapped, again) = (Arc::clone(&self.mapped), buffer.clone());
            batch.map_for_writing(&buffer, move |is_mapped| {
                lock(&mapped.free).push(if is_mapped { Ok(again) } else { Err(()) });
                mapped.wake.notify_all();
            });
        }
    }

    fn close(&mut self) {
        if let Some((buffer, _)) = self.open.take() {
            buffer.unmap();
            self.filled.push(buffer);
        }
    }

    fn take(&mut self, gpu: &Gpu) -> Result<Buffer, SessionEnd> {
        let free = lock(&self.mapped.free);
        let mut free = if self.made < CHUNKS_MAX {
            free
        } else {
            // All others are on the device, and come back.
            self.mapped.wake.wait_while(free, |free| free.is_empty()).unwrap_or_else(PoisonError::into_inner)
        };
        match free.pop() {
            Some(Ok(buffer)) => Ok(buffer),
            Some(Err(())) => Err(SessionEnd::Failed("a buffer could not be mapped".to_owned())),
            None => {
                self.made += 1;
                gpu.make_mapped_buffer(CHUNK_BYTES as u64, BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC)
            }
        }
    }
}

/// From the device.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    free: Vec<Buffer>,
}

impl Downloads {
    /// A buffer that data can be copied to.
    ///
    /// # Errors
    /// Where the adapter has no memory left.
    pub(super) fn take(&mut self, gpu: &Gpu) -> Result<Buffer, SessionEnd> {
        match self.free.pop() {
            Some(buffer) => Ok(buffer),
            None => gpu.make_buffer(CHUNK_BYTES as u64, BufferUsages::MAP_READ | BufferUsages::COPY_DST),
        }
    }

    /// Takes back one whose data was read.
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        buffer.unmap();
        self.free.push(buffer);
    }
}
