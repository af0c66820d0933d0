use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adit_dispatch::Tick;
use adit_protocol::UnixMillis;

/// The monotonic clock that deadlines are kept by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(self.0.elapsed().as_micros() as u64)
    }

    pub(crate) fn at(&self, tick: Tick) -> Instant {
        self.0 + std::time::Duration::from_micros(tick.0)
    }
}

/// The wall clock, for what is recorded. A clock before 1970 is recorded as 1970.
pub(crate) fn wall_time() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}
