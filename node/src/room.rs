//! Room in the blob cache for what the jobs here read.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use adit_protocol::Digest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long a job waits for room where all slots may be taken: another node may have it sooner, and a gateway believes that for some seconds only.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is seen whether slots are free.
const LOOK: Duration = Duration::from_millis(100);

/// How long it waits otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The blobs that jobs here read, each with its bytes. A job has room for all of its own before the first is fetched: it keeps no other from
/// what that waits for, and nothing is fetched in vain.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_max: u64,
    taken: RefCell<Taken>,
    /// Who waits, by since when.
    waiting: RefCell<BTreeSet<(Instant, u64)>>,
    waits: Cell<u64>,
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
        Self {
            bytes_max,
            taken: RefCell::default(),
            waiting: RefCell::default(),
            waits: Cell::new(0),
            freed: Notify::new(),
            patience: PATIENCE,
            busy_patience: BUSY_PATIENCE,
        }
    }

    /// Waits for room for `blobs`, which alone have it: for less long while `is_busy`, and not at all where all of them are here.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub(crate) async fn take(
        self: &Rc<Self>,
        blobs: &BTreeMap<Digest, u64>,
        is_here: impl Fn(&Digest) -> bool,
        is_busy: impl Fn() -> bool,
    ) -> Result<Reserved, NoRoom> {
        let began = Instant::now();
        let place = self.line_up(began);
        let until = || began + if is_busy() { self.busy_patience } else { self.patience };
        loop {
            let freed = self.freed.notified();
            if self.fits(blobs) && self.may_pass(&place) || blobs.keys().all(&is_here) {
                return Ok(self.reserve(blobs));
            }
            // Whether all slots are taken changes meanwhile, and with it how long it waits.
            if timeout_at(until().min(Instant::now() + LOOK), freed).await.is_err() && until() <= Instant::now() {
                return Err(NoRoom);
            }
        }
    }

    fn line_up(&self, since: Instant) -> Place<'_> {
        let n = self.waits.get();
        self.waits.set(n + 1);
        self.waiting.borrow_mut().insert((since, n));
        Place { room: self, at: (since, n) }
    }

    /// Whether nobody else has waited for long: what comes in small parts would have whatever gets free.
    fn may_pass(&self, place: &Place<'_>) -> bool {
        let waiting = self.waiting.borrow();
        waiting.first().is_none_or(|first| *first == place.at || first.0.elapsed() < self.busy_patience / 2)
    }

    fn release(&self, digest: &Digest) {
        let mut taken = self.taken.borrow_mut();
        if let Some(part) = taken.blobs.get_mut(digest) {
            part.jobs -= 1;
            if part.jobs == 0 {
                let bytes = part.bytes;
                taken.blobs.remove(digest);
                taken.bytes -= bytes;
            }
        }
        drop(taken);
        self.freed.notify_waiters();
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

/// A place among those who wait.
struct Place<'a> {
    room: &'a Room,
    at: (Instant, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.waiting.borrow_mut().remove(&self.at);
        self.room.freed.notify_waiters();
    }
}

impl Reserved {
    /// Gives up the room of a blob that is read no more.
    pub(crate) fn leave(&mut self, digest: &Digest) {
        if let Some(at) = self.blobs.iter().position(|blob| blob == digest) {
            self.room.release(&self.blobs.swap_remove(at));
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for digest in &self.blobs {
            self.room.release(digest);
        }
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
            let first = room.take(&blobs(&[(1, 6), (2, 2)]), |_| false, || true).await.unwrap();
            let second = room.take(&blobs(&[(1, 6), (3, 2)]), |_| false, || true).await.unwrap();
            assert_eq!(room.take(&blobs(&[(4, 1)]), |_| false, || true).await.unwrap_err(), NoRoom);
            drop(first);
            let third = room.take(&blobs(&[(4, 2)]), |_| false, || true).await.unwrap();
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
            let first = room.take(&blobs(&[(1, 8)]), |_| false, || true).await.unwrap();
            let began = Instant::now();
            let (large, shared) = (blobs(&[(2, 4)]), blobs(&[(2, 4), (3, 1)]));
            let small = blobs(&[(4, 2)]);
            let waited = tokio::join!(
                room.take(&large, |_| false, || true),
                room.take(&shared, |_| false, || true),
                room.take(&small, |_| false, || true)
            );
            assert!(waited.0.is_err() && waited.1.is_err());
            assert!(waited.2.is_ok(), "what there is room for passes");
            assert!((MOMENT..2 * MOMENT).contains(&began.elapsed()), "they wait side by side: {:?}", began.elapsed());
            drop(waited);
            let (waits, ()) = tokio::join!(room.take(&large, |_| false, || false), async {
                tokio::time::sleep(3 * MOMENT).await;
                drop(first);
            });
            let held = waits.expect("where a slot may be free it waits for longer");

            // What is here already waits for nothing, and counts.
            let cached = room.take(&blobs(&[(5, 9)]), |_| true, || true).await.unwrap();
            assert!(room.take(&blobs(&[(6, 1)]), |_| false, || true).await.is_err());
            drop((held, cached));

            // All slots may be taken only while it waits.
            let all = room.take(&blobs(&[(1, 10)]), |_| false, || true).await.unwrap();
            let began = Instant::now();
            let late = room.take(&large, |_| false, || began.elapsed() > 2 * MOMENT).await;
            assert!(late.is_err() && began.elapsed() < 20 * MOMENT, "{:?}", began.elapsed());
            drop(all);
        });
    }

    /// A job with several blobs would wait for as long as smaller ones come.
    #[test]
    fn who_has_waited_for_long_is_passed_no_more() {
        with_clock(async {
            let room = Rc::new(Room { patience: 100 * MOMENT, busy_patience: 4 * MOMENT, ..Room::new(10) });
            let mut first = room.take(&blobs(&[(1, 6), (2, 3)]), |_| false, || false).await.unwrap();
            let large = blobs(&[(3, 7)]);
            let (waits, ()) = tokio::join!(room.take(&large, |_| false, || false), async {
                tokio::time::sleep(3 * MOMENT).await;
                let small = blobs(&[(4, 1)]);
                let passed = tokio::time::timeout(MOMENT, room.take(&small, |_| false, || false)).await;
                assert!(passed.is_err(), "there is room for it, and another has waited for that");
                first.leave(&Digest([1; 32]));
            });
            assert!(waits.is_ok());
        });
    }
}
