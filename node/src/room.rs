//! Room in the blob cache for what the jobs here read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use adit_protocol::Digest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long a job waits for room where all slots may be taken: another node may have it sooner, and a gateway believes that for some seconds only.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// How long it waits otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The blobs that jobs here read, each with its bytes. A job has room for all of its own before the first is fetched: it keeps no other from
/// what that waits for, and nothing is fetched in vain.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_max: u64,
    taken: RefCell<Taken>,
    freed: Notify,
    patience: Duration,
    busy_patience: Duration,
}

#[derive(Debug, Default)]
struct Taken {
    blobs: BTreeMap<Digest, Part>,
    bytes: u64,
}

#[derive(Debug)]
struct Part {
    bytes: u64,
    /// Jobs that read it.
    jobs: usize,
}

/// Room for one job's blobs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    room: Rc<Room>,
    blobs: Vec<Digest>,
}

/// There was no room for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Room {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, taken: RefCell::default(), freed: Notify::new(), patience: PATIENCE, busy_patience: BUSY_PATIENCE }
    }

    /// Waits for room for `blobs`, which alone have it: for less long while `is_busy`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub(crate) async fn take(
        self: &Rc<Self>,
        blobs: &BTreeMap<Digest, u64>,
        is_busy: impl Fn() -> bool,
    ) -> Result<Reserved, NoRoom> {
        let began = Instant::now();
        let until = || began + if is_busy() { self.busy_patience } else { self.patience };
        loop {
            let freed = self.freed.notified();
            if self.fits(blobs) {
                return Ok(self.reserve(blobs));
            }
            // Slots may have been freed meanwhile, and then it may wait for longer.
            if timeout_at(until(), freed).await.is_err() && until() <= Instant::now() {
                return Err(NoRoom);
            }
        }
    }

    fn fits(&self, blobs: &BTreeMap<Digest, u64>) -> bool {
        let taken = self.taken.borrow();
        let new = blobs.iter().filter(|(digest, _)| !taken.blobs.contains_key(digest)).map(|(_, bytes)| *bytes);
        new.fold(taken.bytes, u64::saturating_add) <= self.bytes_max
    }

    fn reserve(self: &Rc<Self>, blobs: &BTreeMap<Digest, u64>) -> Reserved {
        let mut taken = self.taken.borrow_mut();
        for (digest, bytes) in blobs {
            let part = taken.blobs.entry(*digest).or_insert(Part { bytes: *bytes, jobs: 0 });
            part.jobs += 1;
            if part.jobs == 1 {
                taken.bytes += bytes;
            }
        }
        Reserved { room: Rc::clone(self), blobs: blobs.keys().copied().collect() }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut taken = self.room.taken.borrow_mut();
        for digest in &self.blobs {
            let Some(part) = taken.blobs.get_mut(digest) else { continue };
            part.jobs -= 1;
            if part.jobs == 0 {
                let bytes = part.bytes;
                taken.blobs.remove(digest);
                taken.bytes -= bytes;
            }
        }
        drop(taken);
        self.room.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn blobs(of: &[(u8, u64)]) -> BTreeMap<Digest, u64> {
        of.iter().map(|(n, bytes)| (Digest([*n; 32]), *bytes)).collect()
    }

    const MOMENT: Duration = Duration::from_millis(50);

    fn room() -> Rc<Room> {
        Rc::new(Room { patience: 100 * MOMENT, busy_patience: MOMENT, ..Room::new(10) })
    }

    fn with_clock(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn what_jobs_share_takes_room_once_and_leaves_with_the_last_of_them() {
        with_clock(async {
            let room = room();
            let first = room.take(&blobs(&[(1, 6), (2, 2)]), || true).await.unwrap();
            let second = room.take(&blobs(&[(1, 6), (3, 2)]), || true).await.unwrap();
            assert_eq!(room.take(&blobs(&[(4, 1)]), || true).await.unwrap_err(), NoRoom);
            drop(first);
            let third = room.take(&blobs(&[(4, 2)]), || true).await.unwrap();
            assert!(!room.fits(&blobs(&[(5, 1)])));
            drop((second, third));
            assert!(room.fits(&blobs(&[(5, 10)])) && room.taken.borrow().blobs.is_empty());
        });
    }

    /// They waited for each other's blobs, each with some of its own, and one after another for the same one.
    #[test]
    fn job_that_waits_keeps_no_room_from_another_and_has_its_own_patience() {
        with_clock(async {
            let room = room();
            let first = room.take(&blobs(&[(1, 8)]), || true).await.unwrap();
            let began = Instant::now();
            let (large, shared) = (blobs(&[(2, 4)]), blobs(&[(2, 4), (3, 1)]));
            let small = blobs(&[(4, 2)]);
            let waited = tokio::join!(room.take(&large, || true), room.take(&shared, || true), room.take(&small, || true));
            assert!(waited.0.is_err() && waited.1.is_err());
            assert!(waited.2.is_ok(), "what there is room for passes");
            assert!((MOMENT..2 * MOMENT).contains(&began.elapsed()), "they wait side by side: {:?}", began.elapsed());
            drop(waited);
            let (waits, ()) = tokio::join!(room.take(&large, || false), async {
                tokio::time::sleep(3 * MOMENT).await;
                drop(first);
            });
            assert!(waits.is_ok(), "where a slot may be free it waits for longer");
        });
    }
}
