//! What is known of the sessions of a GPU worker that is stuck in its driver, or killed: a small file in memory.
//!
//! The worker writes a session's record before and after each of its submissions; the supervisor reads. What is read is numbers, and a
//! half-written record is told by its check.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::time::{ClockId, clock_gettime};

use super::wire::{GpuUsed, Session};

/// Sessions that have a record at a time: those of one number modulo this take turns.
pub(crate) const NOTES: u64 = 64;
/// The session, what it used, since when its work runs, and the check.
const WORDS: usize = 8;
const RECORD_BYTES: u64 = 8 * WORDS as u64;
/// Bytes of the file.
pub(crate) const GPU_LIVE_BYTES: u64 = NOTES * RECORD_BYTES;
/// Who met a record half-written meets it whole soon after.
const READ_TRIES: usize = 8;

/// The file, on either side.
#[derive(Debug)]
pub(crate) struct GpuLive(File);

/// What is noted of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GpuNote {
    pub(crate) used: GpuUsed,
    /// Since when a submission of it runs, in nanoseconds of the machine's monotonic clock; 0 where none does.
    pub(crate) busy_since: u64,
}

impl GpuLive {
    /// Makes the file, of a size that is fixed.
    ///
    /// # Errors
    /// Where the machine has no more memory or descriptors.
    pub(crate) fn create() -> io::Result<Self> {
        let file = File::from(memfd_create("adit-gpu-live", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len(GPU_LIVE_BYTES)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self(file))
    }

    /// The other side's end.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    /// What is passed to the other side.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Notes what a session has used.
    pub(crate) fn publish(&self, session: Session, note: &GpuNote) -> io::Result<()> {
        let GpuUsed { ns, dispatches, bytes_moved, memory_peak, has_floats } = note.used;
        let mut words = [session, ns, dispatches, bytes_moved, memory_peak, has_floats.into(), note.busy_since, 0];
        words[WORDS - 1] = check(&words);
        self.0.write_all_at(words.map(u64::to_le_bytes).as_flattened(), at(session))
    }

    /// What was noted of a session last.
    pub(crate) fn note(&self, session: Session) -> Option<GpuNote> {
        (0..READ_TRIES).find_map(|_| self.read_record(session)).filter(|(noted, _)| *noted == session).map(|(_, note)| note)
    }

    fn read_record(&self, session: Session) -> Option<(Session, GpuNote)> {
        let mut bytes = [0; 8 * WORDS];
        self.0.read_exact_at(&mut bytes, at(session)).ok()?;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [session, ns, dispatches, bytes_moved, memory_peak, has_floats, busy_since, _] = words;
        let used = GpuUsed { ns, dispatches, bytes_moved, memory_peak, has_floats: has_floats != 0 };
        (check(&words) == words[WORDS - 1]).then_some((session, GpuNote { used, busy_since }))
    }
}

/// Nanoseconds of the machine's monotonic clock, which all processes share.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32).as_nanos()).unwrap_or(u64::MAX)
}

fn at(session: Session) -> u64 {
    session % NOTES * RECORD_BYTES
}

/// Tells a record that was read while it was written.
fn check(words: &[u64; WORDS]) -> u64 {
    words[..WORDS - 1].iter().fold(0x0ad1_7600, |sum: u64, word| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: GpuUsed = GpuUsed { ns: 1, dispatches: 2, bytes_moved: 3, memory_peak: 4, has_floats: true };
    const NOTE: GpuNote = GpuNote { used: USED, busy_since: 5 };

    #[test]
    fn note_is_read_by_the_other_side() {
        let live = GpuLive::create().unwrap();
        let other = GpuLive::from_fd(live.as_fd().try_clone_to_owned().unwrap());
        assert_eq!(other.note(7), None);
        live.publish(7, &NOTE).unwrap();
        live.publish(8, &GpuNote { busy_since: 0, ..NOTE }).unwrap();
        assert_eq!(other.note(7), Some(NOTE));
        assert_eq!(other.note(7 + NOTES), None);
        live.publish(7 + NOTES, &NOTE).unwrap();
        assert_eq!(other.note(7), None);
    }

    #[test]
    fn half_written_note_is_not_believed() {
        let live = GpuLive::create().unwrap();
        live.publish(7, &NOTE).unwrap();
        live.0.write_all_at(&9_u64.to_le_bytes(), at(7) + 8).unwrap();
        assert_eq!(live.note(7), None);
    }

    #[test]
    fn file_cannot_be_made_larger() {
        let live = GpuLive::create().unwrap();
        assert!(live.0.set_len(GPU_LIVE_BYTES + 1).is_err() && live.0.set_len(0).is_err());
    }
}
