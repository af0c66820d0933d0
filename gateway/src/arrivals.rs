//! What is on its way into the store: how many blobs of one subscriber's at once, how long each may take, and which of two that are the same.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use adit_transport::limits::STALL_TIMEOUT;
use tokio::sync::Notify;

use crate::crowd::{Lines, Turn};

/// How fast a blob must come, on the whole: what has come of it keeps others' out of the store. 8 KiB/s: of 64 that a slow line sends at once
/// each has more.
const BYTES_PER_SECOND: u64 = 8 << 10;

/// The part of the store that may come so slowly.
const SLOW_PART: u64 = 4;

/// How fast all must come together that have more than that, whoever sends them: the largest is there or gone in five hours.
const TOGETHER_BYTES_PER_SECOND: u64 = 1 << 20;

/// Blobs that clients send. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    lines: Lines,
    /// Bytes that those on their way were announced with.
    announced: Rc<Cell<u64>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Arrival {
    arrivals: Arrivals,
    bytes: u64,
    _turn: Turn,
}

impl Arrivals {
    /// Of which one subscriber may have `max` on their way.
    pub(crate) fn new(max: usize) -> Self {
        Self { lines: Lines::new(max), announced: Rc::default() }
    }

    /// Notes a blob of so many bytes from `address`; nothing where its subscriber has all that one may have.
    pub(crate) fn begin(&self, address: IpAddr, bytes: u64) -> Option<Arrival> {
        let turn = self.lines.enter(address)?;
        self.announced.set(self.announced.get().saturating_add(bytes));
        Some(Arrival { arrivals: self.clone(), bytes, _turn: turn })
    }
}

impl Arrival {
    /// How long it may take from now on, into a store of so many bytes of which blobs on their way may have a share.
    pub(crate) fn time_max(&self, store_bytes_max: u64, share: u64) -> Duration {
        let announced = self.arrivals.announced.get();
        let alone = self.bytes / BYTES_PER_SECOND;
        // Whoever announces much gains nobody more time than what fits would take.
        let together = announced.min(share) / TOGETHER_BYTES_PER_SECOND;
        let seconds = if announced > store_bytes_max / SLOW_PART { alone.min(together) } else { alone };
        STALL_TIMEOUT + Duration::from_secs(seconds)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let announced = &self.arrivals.announced;
        announced.set(announced.get().saturating_sub(self.bytes));
    }
}

/// What comes on one connection, by what it is. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Newest<K>(Rc<RefCell<HashMap<K, Rc<Notify>>>>);

impl<K> Default for Newest<K> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<K: Copy + Eq + Hash> Newest<K> {
    /// Does `work`, and gives it up where another begins under the same key: a peer that begins anew may have given up the first one a moment
    /// ago, and one that does not gains nothing by a second.
    pub(crate) async fn only<T>(&self, key: K, work: impl Future<Output = T>) -> Option<T> {
        let replaced = Rc::new(Notify::new());
        if let Some(older) = self.0.borrow_mut().insert(key, Rc::clone(&replaced)) {
            older.notify_one();
        }
        let done = tokio::select! {
            biased;
            () = replaced.notified() => return None,
            done = work => done,
        };
        let mut works = self.0.borrow_mut();
        if works.get(&key).is_some_and(|newest| Rc::ptr_eq(newest, &replaced)) {
            works.remove(&key);
        }
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const GIB: u64 = 1 << 30;
    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Once four blobs of a quarter of the store, each slow, held all of it for six days.
    #[test]
    fn what_comes_slowly_holds_a_quarter_of_the_store_and_not_the_whole() {
        let arrivals = Arrivals::new(64);
        let begin = |bytes| {
            let arrival = arrivals.begin(ADDRESS, bytes).unwrap();
            let hours = (arrival.time_max(16 * GIB, 12 * GIB).as_secs() - 30) as f64 / 3600.0;
            (arrival, (hours * 10.0).round() / 10.0)
        };
        let quarter = [(); 4].map(|()| begin(GIB));
        assert_eq!(quarter.each_ref().map(|(_, hours)| *hours), [36.4; 4]);
        let (large, hours) = begin(4 * GIB);
        assert_eq!(hours, 2.3, "8 GiB at a MiB a second");
        // A small one has no more time than it ever has.
        assert_eq!(begin(8 << 20).1, 0.3);
        // Announcing more than there is room for buys no time.
        let more = [(); 10].map(|()| begin(10 * GIB));
        assert_eq!(more[9].1, 3.4, "12 GiB at a MiB a second");
        drop((quarter, large, more));
        assert_eq!(begin(5 * GIB).1, 1.4);
        assert_eq!(arrivals.announced.get(), 0);
    }

    #[test]
    fn one_subscriber_has_so_many_on_their_way() {
        let arrivals = Arrivals::new(2);
        let (first, _second) = (arrivals.begin(ADDRESS, 1).unwrap(), arrivals.begin(ADDRESS, 2).unwrap());
        assert!(arrivals.begin(ADDRESS, 4).is_none() && arrivals.begin("192.0.2.1".parse().unwrap(), 8).is_some());
        assert_eq!(arrivals.announced.get(), 3);
        drop(first);
        assert!(arrivals.begin(ADDRESS, 4).is_some());
    }

    #[tokio::test]
    async fn newer_of_the_same_ends_the_older_and_leaves_others_alone() {
        let newest = Newest::default();
        let (older, other) = (newest.only(1, pending::<()>()), newest.only(2, ready("other")));
        let newer = async { newest.only(1, ready("newer")).await };
        assert_eq!(tokio::join!(older, other, newer), (None, Some("other"), Some("newer")));
        assert!(newest.0.borrow().is_empty());
    }
}
