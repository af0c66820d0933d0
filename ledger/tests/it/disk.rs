//! A disk in memory that fails when it is told to, and forgets what was not synced when its power is cut.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_protocol::Digest;
use redb::StorageBackend;

use crate::fixture::Rng;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// What a file system has in one piece, and gives to a file when it is first written.
const BLOCK_BYTES: usize = 4096;
const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Clones share the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// From then on nothing works.
    Dead,
    /// One operation fails, and later ones work. A sync that failed has lost what it should have kept, as on Linux, where it is seen
    /// until the cache forgets it.
    Once,
    /// From then on the file cannot grow. What it has can be read and overwritten.
    Full,
    /// From then on the file can be made longer, as a hole, and no block of it that was never written can be written.
    NoBlocks,
    /// From then on nothing can be changed. What is there can be read.
    ReadOnly,
    /// At one operation it panics, as redb does where the file is not what it takes it to be.
    Panic,
}

/// What was not synced, and is there after a power cut all the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Survivors {
    Nothing,
    Everything,
    /// Each sector by the toss of a coin, which also covers every order of writing.
    Torn(u64),
}

#[derive(Default)]
struct State {
    /// What the process sees.
    image: Vec<u8>,
    /// What is there whatever happens.
    durable: Vec<u8>,
    /// What may be there, in order.
    unsynced: Vec<Change>,
    /// Writes, syncs and resizes so far.
    operations: u64,
    fault: Option<(u64, Fault)>,
    /// The fault that has come, and stays.
    broken: Option<Fault>,
    /// Whether the next read fails.
    fails_read: bool,
    /// The blocks that were ever written.
    blocks: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

#[derive(Debug)]
struct Backend(Disk);

impl Disk {
    pub(crate) fn with_image(image: Vec<u8>) -> Self {
        let blocks = image.chunks(BLOCK_BYTES).enumerate().filter(|(_, block)| **block != ZEROS[..block.len()]);
        let blocks = blocks.map(|(at, _)| at).collect();
        let state = State { durable: image.clone(), image, blocks, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn backend(&self) -> impl StorageBackend + use<> {
        Backend(self.clone())
    }

    /// Lets the `n`th operation from here on fail, counted from 1.
    pub(crate) fn fail_at(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + n, fault));
    }

    /// Lets the next read fail, and later ones work.
    pub(crate) fn fail_next_read(&self) {
        self.state().fails_read = true;
    }

    /// Ends whatever fault there is.
    pub(crate) fn mend(&self) {
        let mut state = self.state();
        (state.fault, state.broken) = (None, None);
    }

    /// Forgets what is only seen and never will be kept: what a sync that failed has lost.
    pub(crate) fn forget_cache(&self) {
        let state = &mut *self.state();
        state.image.clone_from(&state.durable);
        state.unsynced.iter().for_each(|change| change.apply(&mut state.image));
    }

    /// Stands for all bytes of the disk.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.state().image)
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.state().image.clone()
    }

    /// The disk as it comes back after a power cut now.
    pub(crate) fn after_power_cut(&self, survivors: Survivors) -> Self {
        let state = self.state();
        let mut image = state.durable.clone();
        let mut rng = Rng(if let Survivors::Torn(seed) = survivors { seed } else { 0 });
        for change in &state.unsynced {
            match survivors {
                Survivors::Nothing => {}
                Survivors::Everything => change.apply(&mut image),
                Survivors::Torn(_) => change.apply_torn(&mut image, &mut rng),
            }
        }
        Self::with_image(image)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // [`Fault::Panic`] comes before anything is changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation, and says whether it works. Nothing stands for a sync.
    fn step(&mut self, change: Option<&Change>) -> Result<()> {
        self.operations += 1;
        let fault = self.fault.take_if(|(at, _)| *at == self.operations).map(|(_, fault)| fault);
        match fault {
            Some(Fault::Once) => return Err(Error::other("the disk failed")),
            Some(Fault::Panic) => panic!("a page is not what it was"),
            Some(fault) => self.broken = Some(fault),
            None => {}
        }
        let fails = match self.broken {
            Some(Fault::Full) => change.is_some_and(|change| change.end() > self.image.len()).then_some(ErrorKind::StorageFull),
            Some(Fault::NoBlocks) => change.is_some_and(|change| self.lacks_blocks(change)).then_some(ErrorKind::StorageFull),
            Some(Fault::ReadOnly) => Some(ErrorKind::ReadOnlyFilesystem),
            Some(Fault::Dead) => Some(ErrorKind::Other),
            Some(Fault::Once | Fault::Panic) | None => None,
        };
        fails.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn lacks_blocks(&self, change: &Change) -> bool {
        change.blocks().any(|block| !self.blocks.contains(&block))
    }

    /// A change that fails may have happened in part, unless the system refuses it.
    fn change(&mut self, change: Change) -> Result<()> {
        let was_broken = self.broken.is_some();
        let verdict = self.step(Some(&change));
        if verdict.is_ok() || !was_broken && matches!(self.broken, Some(Fault::Dead) | None) {
            self.unsynced.push(change.clone());
        }
        verdict?;
        self.blocks.extend(change.blocks());
        change.apply(&mut self.image);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if let Err(error) = self.step(None) {
            if self.broken.is_none() {
                self.unsynced.clear();
            }
            return Err(error);
        }
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.durable);
        }
        Ok(())
    }
}

impl Change {
    /// How long the file is at least, once it is made.
    fn end(&self) -> usize {
        match self {
            Self::Write { offset, data } => offset + data.len(),
            Self::Resize(bytes) => *bytes,
        }
    }

    /// The blocks that it writes.
    fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        let bytes = match self {
            Self::Write { offset, data } => *offset..offset + data.len(),
            Self::Resize(_) => 0..0,
        };
        bytes.start / BLOCK_BYTES..bytes.end.div_ceil(BLOCK_BYTES)
    }

    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => write_at(image, *offset, data),
            Self::Resize(bytes) => image.resize(*bytes, 0),
        }
    }

    fn apply_torn(&self, image: &mut Vec<u8>, rng: &mut Rng) {
        match self {
            Self::Write { offset, data } => {
                for (i, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                    if rng.below(2) == 0 {
                        write_at(image, offset + i * SECTOR_BYTES, sector);
                    }
                }
            }
            Self::Resize(_) if rng.below(2) == 0 => self.apply(image),
            Self::Resize(_) => {}
        }
    }
}

/// A write that survived lies in a file that is long enough for it.
fn write_at(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("bytes", &self.image.len()).field("operations", &self.operations).finish_non_exhaustive()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64> {
        Ok(self.0.state().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut state = self.0.state();
        if std::mem::take(&mut state.fails_read) {
            return Err(Error::other("the disk failed"));
        }
        let offset = offset as usize;
        let bytes = state.image.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.0.state().change(Change::Resize(len as usize))
    }

    fn sync_data(&self) -> Result<()> {
        self.0.state().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.0.state().change(Change::Write { offset: offset as usize, data: data.to_vec() })
    }
}
