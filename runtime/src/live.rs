//! What supervisor and worker know of each other while a guest runs and the worker's socket is not read: one small file in memory.
//!
//! The worker writes what the job has used, every few milliseconds; so the count survives a worker that is killed. The supervisor
//! writes which job is to stop. Neither trusts the other: what is read is numbers, and a half-written record is told by its check.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::ipc::Used;

/// Where the number of the job that is to stop is.
const CANCEL_AT: u64 = 0;
/// Where the record of what was used is.
const RECORD_AT: u64 = 64;
const WORDS: usize = 7;
/// Bytes of the file.
pub(crate) const LIVE_BYTES: u64 = 128;
/// A record is written anew every few milliseconds, within microseconds; who met it half-written meets it whole soon after.
const READ_TRIES: usize = 8;

/// The file, on either side.
#[derive(Debug)]
pub(crate) struct Live(File);

impl Live {
    /// Makes the file; its size is fixed, so that a worker cannot make it a hoard of memory.
    ///
    /// # Errors
    /// Where the machine has no more memory or descriptors.
    pub(crate) fn create() -> io::Result<Self> {
        let file = File::from(memfd_create("adit-live", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len(LIVE_BYTES)?;
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

    /// Asks the worker to stop its job number `run`.
    pub(crate) fn cancel(&self, run: u64) -> io::Result<()> {
        self.0.write_all_at(&run.to_le_bytes(), CANCEL_AT)
    }

    /// Whether the job number `run` is to stop.
    pub(crate) fn is_cancelled(&self, run: u64) -> bool {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, CANCEL_AT).is_ok() && u64::from_le_bytes(word) == run
    }

    /// Notes what the job number `run` has used.
    pub(crate) fn publish(&self, run: u64, used: Used) -> io::Result<()> {
        let memory_fuel = [used.memory_fuel as u64, (used.memory_fuel >> 64) as u64];
        let mut words = [run, used.fuel, used.memory_peak, memory_fuel[0], memory_fuel[1], used.host_calls, 0];
        words[WORDS - 1] = check(&words);
        self.0.write_all_at(words.map(u64::to_le_bytes).as_flattened(), RECORD_AT)
    }

    /// What the job number `run` had used when that was last noted.
    pub(crate) fn used(&self, run: u64) -> Option<Used> {
        (0..READ_TRIES).find_map(|_| self.read_record()).filter(|(noted, _)| *noted == run).map(|(_, used)| used)
    }

    fn read_record(&self) -> Option<(u64, Used)> {
        let mut bytes = [0; 8 * WORDS];
        self.0.read_exact_at(&mut bytes, RECORD_AT).ok()?;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [run, fuel, memory_peak, low, high, host_calls, _] = words;
        let memory_fuel = u128::from(low) | u128::from(high) << 64;
        (check(&words) == words[WORDS - 1]).then_some((run, Used { fuel, memory_peak, memory_fuel, host_calls }))
    }
}

/// Tells a record that was read while it was written.
fn check(words: &[u64; WORDS]) -> u64 {
    words[..WORDS - 1].iter().fold(0x0ad1_7000, |sum: u64, word| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: Used = Used { fuel: 1, memory_peak: 2, memory_fuel: u128::MAX - 3, host_calls: 4 };

    #[test]
    fn count_is_read_by_the_other_side() {
        let live = Live::create().unwrap();
        let other = Live::from_fd(live.as_fd().try_clone_to_owned().unwrap());
        assert_eq!(other.used(7), None);
        live.publish(7, USED).unwrap();
        assert_eq!(other.used(7), Some(USED));
        assert_eq!(other.used(8), None);
    }

    #[test]
    fn half_written_record_is_not_believed() {
        let live = Live::create().unwrap();
        live.publish(7, USED).unwrap();
        live.0.write_all_at(&9_u64.to_le_bytes(), RECORD_AT + 8).unwrap();
        assert_eq!(live.used(7), None);
    }

    #[test]
    fn only_the_named_job_is_cancelled() {
        let live = Live::create().unwrap();
        assert!(!live.is_cancelled(1));
        live.cancel(1).unwrap();
        assert!(live.is_cancelled(1) && !live.is_cancelled(2));
    }

    #[test]
    fn file_cannot_be_made_larger() {
        let live = Live::create().unwrap();
        assert!(live.0.set_len(LIVE_BYTES + 1).is_err() && live.0.set_len(0).is_err());
    }
}
