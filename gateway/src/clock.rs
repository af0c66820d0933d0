use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adit_dispatch::Tick;
use adit_protocol::UnixMillis;

/// The monotonic clock that deadlines are kept by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    /// What the wall clock said then.
    started_at: UnixMillis,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), started_at: wall_time() }
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(self.started.elapsed().as_micros() as u64)
    }

    pub(crate) fn at(&self, tick: Tick) -> Instant {
        self.started + std::time::Duration::from_micros(tick.0)
    }

    /// The time of day as it would be if nobody had set the clock since the start: for what this process compares with itself alone.
    pub(crate) fn undisturbed(&self) -> UnixMillis {
        UnixMillis(self.started_at.0.saturating_add(self.started.elapsed().as_millis() as u64))
    }
}

/// The wall clock, for what is recorded. A clock before 1970 is recorded as 1970.
pub(crate) fn wall_time() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}
