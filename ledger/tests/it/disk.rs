//! A disk in memory that fails when it is told to, and forgets what was not synced when its power is cut.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::fixture::Rng;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Clones share the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// From then on nothing works.
    Dead,
    /// One operation fails, and later ones work. A sync that failed has lost what it should have kept, as on Linux.
    Once,
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
    is_dead: bool,
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
        let state = State { durable: image.clone(), image, ..State::default() };
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
        self.0.lock().unwrap()
    }
}

impl State {
    fn step(&mut self) -> Result<()> {
        self.operations += 1;
        match self.fault {
            _ if self.is_dead => Err(Error::other("the disk is dead")),
            Some((at, fault)) if at == self.operations => {
                self.is_dead = fault == Fault::Dead;
                Err(Error::other("the disk failed"))
            }
            _ => Ok(()),
        }
    }

    /// A change that fails may have happened in part.
    fn change(&mut self, change: Change) -> Result<()> {
        let was_dead = self.is_dead;
        let verdict = self.step();
        if !was_dead {
            self.unsynced.push(change.clone());
        }
        verdict?;
        change.apply(&mut self.image);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if let Err(error) = self.step() {
            if !self.is_dead {
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
        let state = self.0.state();
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
