//! What a node moved and earned since midnight, also across restarts.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use adit_protocol::{ByteCount, Microcredits};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::kept::{self, Durable};

/// The least time between two writes of the count; what a node that is killed may forget.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// A change of the traffic that is worth a write by itself: a quiet connection moves less in an hour.
const SAVE_BYTES: u64 = 64 * 1024;

/// A day's count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// The date on the machine's own calendar.
    pub date: String,
    /// Bytes that were sent to the gateway and received from it, in UDP's payload.
    pub moved_bytes: u64,
    /// Receipts that were signed.
    pub receipts: u64,
    /// What they come to. What the gateway pays of it, its ledger tells.
    pub signed_microcredits: u64,
}

/// The present day's count, and its file.
#[derive(Debug)]
pub(crate) struct Today {
    path: PathBuf,
    day: RefCell<Day>,
    saved: RefCell<Day>,
    saved_at: Cell<Instant>,
}

impl Today {
    /// Goes on where an earlier process was on the same day. A count that cannot be read begins anew.
    pub(crate) fn open(path: PathBuf, date: Date) -> Self {
        let found = kept::read::<Day>(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the day's count begins anew");
            None
        });
        let day = found.unwrap_or_default();
        let today = Self { path, saved: RefCell::new(day.clone()), day: RefCell::new(day), saved_at: Cell::new(Instant::now()) };
        today.turn(date);
        today
    }

    /// Begins anew where the date is another one.
    pub(crate) fn turn(&self, date: Date) {
        let mut day = self.day.borrow_mut();
        let date = date.to_string();
        if day.date != date {
            *day = Day { date, ..Day::default() };
        }
    }

    pub(crate) fn add_moved(&self, bytes: u64) {
        self.day.borrow_mut().moved_bytes += bytes;
    }

    pub(crate) fn add_receipt(&self, cost: Microcredits) {
        let mut day = self.day.borrow_mut();
        day.receipts += 1;
        day.signed_microcredits = day.signed_microcredits.saturating_add(cost.0);
    }

    pub(crate) fn moved(&self) -> ByteCount {
        ByteCount(self.day.borrow().moved_bytes)
    }

    pub(crate) fn day(&self) -> Day {
        self.day.borrow().clone()
    }

    /// Writes the count where enough has changed.
    pub(crate) fn save_soon(&self) {
        if self.saved_at.get().elapsed() >= SAVE_EVERY && self.is_worth_saving() {
            self.save();
        }
    }

    /// Writes the count.
    pub(crate) fn save(&self) {
        self.saved_at.set(Instant::now());
        let day = self.day();
        match kept::write(&self.path, &day, Durable::No) {
            Ok(()) => *self.saved.borrow_mut() = day,
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "the day's count is not kept"),
        }
    }

    fn is_worth_saving(&self) -> bool {
        let (day, saved) = (self.day.borrow(), self.saved.borrow());
        day.date != saved.date || day.receipts != saved.receipts || day.moved_bytes >= saved.moved_bytes + SAVE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn count_goes_on_after_a_restart_and_begins_anew_on_another_day() {
        let dir = tempfile::tempdir().unwrap();
        let (path, monday) = (dir.path().join("today.json"), date(2026, 11, 23));
        let today = Today::open(path.clone(), monday);
        today.add_moved(700);
        today.add_receipt(Microcredits(5));
        today.save();
        let again = Today::open(path.clone(), monday);
        again.add_moved(300);
        let want = Day { date: "2026-11-23".into(), moved_bytes: 1_000, receipts: 1, signed_microcredits: 5 };
        assert_eq!(again.day(), want);
        again.turn(monday.tomorrow().unwrap());
        assert_eq!(again.day(), Day { date: "2026-11-24".into(), ..Day::default() });
        assert_eq!(Today::open(path, monday.tomorrow().unwrap()).moved(), ByteCount(0));
    }

    #[test]
    fn count_that_is_damaged_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("today.json");
        std::fs::write(&path, "{\"date\":").unwrap();
        assert_eq!(Today::open(path, date(2026, 11, 23)).moved(), ByteCount(0));
    }
}
