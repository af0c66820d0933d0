//! A disk in memory that fails when it is told to, and forgets what was not synced when its power is cut.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Clones share the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// What was not synced, and is there after a power cut all the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Survivors {
    /// None of it.
    Nothing,
    /// All of it.
    Everything,
    /// Each sector by a lot that depends on this number and on where it lies, and not on the order of writing.
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
    /// Syncs that still work before everything fails.
    syncs_left: Option<u64>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

#[derive(Debug)]
struct Backend(Disk);

impl Disk {
    fn with_image(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { durable: image.clone(), image, ..State::default() })))
    }

    /// The disk as the ledger's store.
    pub(crate) fn backend(&self) -> impl StorageBackend + use<> {
        Backend(self.clone())
    }

    /// Lets everything fail after so many further syncs.
    pub(crate) fn fail_after(&self, syncs: u64) {
        self.state().syncs_left = Some(syncs);
    }

    /// Whether it fails now or will.
    pub(crate) fn is_failing(&self) -> bool {
        self.state().syncs_left.is_some()
    }

    /// The disk as it comes back after a power cut now.
    pub(crate) fn after_power_cut(&self, survivors: Survivors) -> Self {
        let state = self.state();
        let mut image = state.durable.clone();
        for change in &state.unsynced {
            match survivors {
                Survivors::Nothing => {}
                Survivors::Everything => change.apply(&mut image, |_| true),
                Survivors::Torn(lot) => change.apply(&mut image, |place| is_kept(lot, place)),
            }
        }
        Self::with_image(image)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while the disk is locked")
    }
}

impl State {
    fn change(&mut self, change: Change) -> Result<()> {
        self.check()?;
        change.apply(&mut self.image, |_| true);
        self.unsynced.push(change);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.check()?;
        if let Some(left) = &mut self.syncs_left {
            *left -= 1;
        }
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.durable, |_| true);
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.syncs_left == Some(0) { Err(Error::other("the disk failed")) } else { Ok(()) }
    }
}

impl Change {
    /// Makes the change, sector by sector, as far as `is_kept` says of a place.
    fn apply(&self, image: &mut Vec<u8>, is_kept: impl Fn(usize) -> bool) {
        match self {
            Self::Write { offset, data } => {
                for (at, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                    let start = offset + at * SECTOR_BYTES;
                    if is_kept(start) {
                        write_at(image, start, sector);
                    }
                }
            }
            Self::Resize(bytes) if is_kept(usize::MAX ^ bytes) => image.resize(*bytes, 0),
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

fn is_kept(lot: u64, place: usize) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&lot.to_le_bytes()).update(&(place as u64).to_le_bytes());
    hasher.finalize().as_bytes()[0] & 1 == 0
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("bytes", &self.image.len()).finish_non_exhaustive()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64> {
        Ok(self.0.state().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let offset = offset as usize;
        let state = self.0.state();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_cut_takes_what_was_not_synced() {
        let disk = Disk::default();
        let backend = disk.backend();
        backend.write(0, b"kept").unwrap();
        backend.sync_data().unwrap();
        backend.write(0, b"gone").unwrap();
        let read = |disk: &Disk| disk.state().image.clone();
        assert_eq!(read(&disk), b"gone");
        assert_eq!(read(&disk.after_power_cut(Survivors::Nothing)), b"kept");
        assert_eq!(read(&disk.after_power_cut(Survivors::Everything)), b"gone");
        let torn: Vec<_> = (0..16).map(|lot| read(&disk.after_power_cut(Survivors::Torn(lot)))).collect();
        assert!(torn.contains(&b"kept".to_vec()) && torn.contains(&b"gone".to_vec()));
    }

    #[test]
    fn failed_disk_keeps_what_was_synced_before() {
        let disk = Disk::default();
        let backend = disk.backend();
        disk.fail_after(1);
        backend.write(0, b"kept").unwrap();
        backend.sync_data().unwrap();
        assert!(backend.write(0, b"gone").is_err() && backend.sync_data().is_err());
        assert_eq!(disk.after_power_cut(Survivors::Everything).state().image, b"kept");
    }
}
