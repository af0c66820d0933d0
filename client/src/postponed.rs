use std::time::{Duration, Instant};

use adit_protocol::{Refusal, Rejection};
use adit_transport::DialError;
use tokio::task::{self, AbortHandle};

use crate::ConnectError;

/// The least that is added to the time that a gateway told: some round trips.
const SPREAD_MIN: Duration = Duration::from_millis(10);

/// The most that is added, and the most that a gateway that was lost and found is believed of times to wait.
pub(crate) const SPREAD_MAX: Duration = Duration::from_secs(30);

/// The most that is added, in times of what was told. A gateway tells how long it takes until it has room again; a crowd that goes on
/// spreading over many times that leaves nodes with nothing to do while its last ones sleep.
const SPREAD_TIMES_MAX: u32 = 4;

/// When to come back to a gateway that takes no connections and cannot say so in words.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// Something that the gateway has no room for, and that is tried again until a deadline.
#[derive(Debug)]
pub(crate) struct Postponed {
    /// Nothing where that is as good as never.
    deadline: Option<Instant>,
    /// What was added last.
    spread: Duration,
    /// How often it was put off.
    pub(crate) times: u32,
    /// Tries again, while it sleeps.
    timer: Option<AbortHandle>,
}

impl Postponed {
    pub(crate) fn begin(now: Instant, patience: Duration) -> Self {
        Self { deadline: now.checked_add(patience), spread: Duration::ZERO, times: 0, timer: None }
    }

    /// How long to wait for the next try; nothing where that would be too late. `draw` is random, from 0 to 1.
    ///
    /// To what the gateway told comes a part that is drawn between a minimum and three times the last one ("decorrelated jitter": Brooker,
    /// Exponential backoff and jitter, 2015), at first as much as was told and never many times that: those who are refused together do not
    /// come back together, and none so late that there was nothing to do for long.
    pub(crate) fn pause(&mut self, now: Instant, retry_after: Duration, draw: f64) -> Option<Duration> {
        let left = self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(now));
        if retry_after >= left {
            return None;
        }
        let grown = (self.spread * 3).min(retry_after.saturating_mul(SPREAD_TIMES_MAX));
        let most = grown.max(retry_after).clamp(SPREAD_MIN, SPREAD_MAX);
        self.spread = SPREAD_MIN + (most - SPREAD_MIN).mul_f64(draw);
        self.times += 1;
        Some(retry_after.saturating_add(self.spread).min(left))
    }

    /// As [`Postponed::pause`], now and at random, where a refusal is one for want of room.
    pub(crate) fn pause_after(&mut self, refusal: &Refusal) -> Option<Duration> {
        self.pause(Instant::now(), refused_for(refusal)?, rand::random())
    }

    /// Gives it more time: so long it was not for want of room that it did not come in.
    pub(crate) fn extend(&mut self, by: Duration) {
        self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(by));
    }

    /// Notes what tries again.
    pub(crate) fn sleeps(&mut self, timer: AbortHandle) {
        self.wake();
        self.timer = Some(timer);
    }

    /// Takes from the task that tries again that it tries. Whether that is still the one which should.
    pub(crate) fn tries(&mut self) -> bool {
        let is_due = self.timer.as_ref().map(AbortHandle::id) == task::try_id() && self.timer.is_some();
        if is_due {
            self.timer = None;
        }
        is_due
    }

    /// Tries no more by itself. Whether it would have.
    pub(crate) fn wake(&mut self) -> bool {
        self.timer.take().map(|timer| timer.abort()).is_some()
    }

    /// Whether it will try again by itself.
    pub(crate) fn is_asleep(&self) -> bool {
        self.timer.is_some()
    }
}

impl Drop for Postponed {
    fn drop(&mut self) {
        self.wake();
    }
}

/// The pauses of a caller that comes again by itself, see [`crate::Client::submit_once`].
#[derive(Debug)]
pub struct Pauses(Postponed);

impl Pauses {
    /// Pauses until so much time has passed from now.
    pub fn within(patience: Duration) -> Self {
        Self(Postponed::begin(Instant::now(), patience))
    }

    /// How long to wait before the same job is submitted again: what the gateway told and a random part. Nothing where the refusal was
    /// not for want of room, or where that would be too late.
    pub fn after(&mut self, refusal: &Refusal) -> Option<Duration> {
        self.0.pause_after(refusal)
    }
}

/// When a refused submission may come again, where it may.
pub(crate) fn refused_for(refusal: &Refusal) -> Option<Duration> {
    match refusal {
        Refusal::QueueFull { retry_after_ms, .. }
        | Refusal::ShareFull { retry_after_ms, .. }
        | Refusal::RateLimited { retry_after_ms } => Some(Duration::from_millis(*retry_after_ms)),
        _ => None,
    }
}

/// When a client that was not let in may come again, where it may.
pub(crate) fn shut_out_for(error: &ConnectError) -> Option<Duration> {
    match error {
        ConnectError::Rejected(Rejection::Full { retry_after_ms }) => Some(Duration::from_millis(*retry_after_ms)),
        ConnectError::Dial(DialError::Busy { .. }) => Some(BUSY_FOR),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pause_is_what_was_told_and_a_part_that_grows_by_three_and_to_four_times_that_at_most() {
        let begun = Instant::now();
        for (draw, wants) in [(0.0, [210, 210, 210, 210]), (1.0, [400, 800, 1_000, 1_000]), (0.5, [305, 362, 449, 578])] {
            let mut postponed = Postponed::begin(begun, Duration::MAX);
            for (n, want) in wants.into_iter().enumerate() {
                let pause = postponed.pause(begun, 200 * MS, draw).unwrap();
                assert!(
                    (pause.as_secs_f64() * 1e3 - f64::from(want)).abs() < 1.0,
                    "{draw}: pause {n} is {pause:?}, not {want} ms"
                );
            }
            assert_eq!(postponed.times, 4);
        }
        let mut postponed = Postponed::begin(begun, Duration::MAX);
        let pauses: Vec<Duration> = (0..20).map(|_| postponed.pause(begun, 20_000 * MS, 1.0).unwrap()).collect();
        assert_eq!(pauses[19], SPREAD_MAX + 20_000 * MS);
    }

    #[test]
    fn nothing_is_tried_after_the_deadline_and_the_last_time_is_not_missed() {
        let begun = Instant::now();
        let mut postponed = Postponed::begin(begun, 1_000 * MS);
        assert_eq!(postponed.pause(begun + 500 * MS, 400 * MS, 1.0), Some(500 * MS), "the added part is cut");
        assert_eq!(postponed.pause(begun + 500 * MS, 500 * MS, 0.0), None);
        assert_eq!(postponed.pause(begun + 1_000 * MS, Duration::ZERO, 0.0), None);
        assert_eq!(Postponed::begin(begun, Duration::ZERO).pause(begun, Duration::ZERO, 0.0), None);
        postponed.extend(3_000 * MS);
        assert_eq!(postponed.pause(begun + 3_500 * MS, 400 * MS, 1.0), Some(500 * MS));
        // What no honest gateway tells.
        assert_eq!(postponed.pause(begun, Duration::from_millis(u64::MAX), 0.5), None);
        let forever = Postponed::begin(begun, Duration::MAX).pause(begun, Duration::from_millis(u64::MAX), 0.5);
        assert!(forever.is_some());
    }

    #[test]
    fn only_want_of_room_is_waited_for() {
        let rows = [
            (Refusal::QueueFull { queued: 9, retry_after_ms: 70 }, Some(70 * MS)),
            (Refusal::RateLimited { retry_after_ms: 80 }, Some(80 * MS)),
            (Refusal::ShareFull { what: "1 blob".into(), retry_after_ms: 85 }, Some(85 * MS)),
            (Refusal::QueueTimeout { waited_ms: 90 }, None),
            (Refusal::KeyConflict, None),
            (Refusal::LedgerUnavailable("full".into()), None),
        ];
        for (refusal, want) in rows {
            assert_eq!(refused_for(&refusal), want, "{refusal}");
        }
        let full = ConnectError::Rejected(Rejection::Full { retry_after_ms: 60 });
        let busy = ConnectError::Dial(DialError::Busy { host: "gateway:1".into() });
        let broken = ConnectError::Broken("gone".into());
        assert_eq!([full, busy, broken].map(|error| shut_out_for(&error)), [Some(60 * MS), Some(BUSY_FOR), None]);
    }
}
