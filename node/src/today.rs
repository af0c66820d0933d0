//! What a node moved and earned since midnight, also across restarts.

use std::cell::{Cell, RefCell, RefMut};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use adit_protocol::{ByteCount, Microcredits};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::kept::{self, Durable};

/// The least time between two writes of the count; what a node that is killed may forget.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// A change of the traffic that is worth a write by itself: a quiet connection moves as much in twenty minutes.
const SAVE_BYTES: u64 = 64 * 1024;

/// Days that are kept: a machine whose clock is wrong for a while, as without a battery for it, goes on with its count when it is right again.
const DAYS_MAX: usize = 3;

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

/// What is found in the file: builds before kept one day.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Days(Vec<Day>),
    Day(Day),
}

/// The present day's count, those of the days before it, and their file.
#[derive(Debug)]
pub(crate) struct Today {
    path: PathBuf,
    /// At least one, at most [`DAYS_MAX`]; the present one last, before it the one that was it last.
    days: RefCell<Vec<Day>>,
    saved: RefCell<Day>,
    saved_at: Cell<Instant>,
}

impl Today {
    /// Goes on where an earlier process was on the same day. A count that cannot be read begins anew.
    pub(crate) fn open(path: PathBuf, date: Date) -> Self {
        let found = kept::read::<Found>(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the day's count begins anew");
            None
        });
        let days = match found {
            Some(Found::Days(days)) => days,
            Some(Found::Day(day)) => vec![day],
            None => Vec::new(),
        };
        let saved = RefCell::new(days.last().cloned().unwrap_or_default());
        let today = Self { path, days: RefCell::new(days), saved, saved_at: Cell::new(Instant::now()) };
        today.turn(date);
        today
    }

    /// Goes on with the count of a date, or begins it.
    pub(crate) fn turn(&self, date: Date) {
        let mut days = self.days.borrow_mut();
        let date = date.to_string();
        if days.last().is_some_and(|day| day.date == date) {
            return;
        }
        let known = days.iter().position(|day| day.date == date);
        let day = known.map_or_else(|| Day { date, ..Day::default() }, |at| days.remove(at));
        days.push(day);
        let too_many = days.len().saturating_sub(DAYS_MAX);
        days.drain(..too_many);
    }

    fn present(&self) -> RefMut<'_, Day> {
        RefMut::map(self.days.borrow_mut(), |days| days.last_mut().expect("a day is present"))
    }

    pub(crate) fn add_moved(&self, bytes: u64) {
        self.present().moved_bytes += bytes;
    }

    pub(crate) fn add_receipt(&self, cost: Microcredits) {
        let mut day = self.present();
        day.receipts += 1;
        day.signed_microcredits = day.signed_microcredits.saturating_add(cost.0);
    }

    pub(crate) fn moved(&self) -> ByteCount {
        ByteCount(self.present().moved_bytes)
    }

    pub(crate) fn day(&self) -> Day {
        self.present().clone()
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
        let days = self.days.borrow().clone();
        match kept::write(&self.path, &days, Durable::No) {
            Ok(()) => *self.saved.borrow_mut() = self.day(),
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "the day's count is not kept"),
        }
    }

    fn is_worth_saving(&self) -> bool {
        let (day, saved) = (self.present(), self.saved.borrow());
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

    /// A machine that started with a clock of 1970 had the day's traffic once more.
    #[test]
    fn count_goes_on_when_a_clock_that_was_wrong_is_right_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, monday, epoch) = (dir.path().join("today.json"), date(2026, 11, 23), date(1970, 1, 1));
        // As builds before kept it.
        let day = Day { date: monday.to_string(), moved_bytes: 700, ..Day::default() };
        kept::write(&path, &day, Durable::No).unwrap();
        let today = Today::open(path.clone(), epoch);
        assert_eq!(today.moved(), ByteCount(0));
        today.add_moved(5);
        today.save();
        let again = Today::open(path, epoch);
        assert_eq!(again.moved(), ByteCount(5));
        again.turn(monday);
        assert_eq!(again.day(), day);
        for later in ["2026-11-24", "2026-11-25", "2026-11-26"] {
            again.turn(later.parse().unwrap());
        }
        assert_eq!(again.days.borrow().len(), DAYS_MAX);
        again.turn(monday);
        assert_eq!(again.moved(), ByteCount(0), "it is long over");
    }

    #[test]
    fn count_that_is_damaged_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("today.json");
        std::fs::write(&path, "{\"date\":").unwrap();
        assert_eq!(Today::open(path, date(2026, 11, 23)).moved(), ByteCount(0));
    }
}
