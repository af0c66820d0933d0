//! Wall time, which is recorded and shown, and the machine's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_protocol::UnixMillis;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

pub(crate) fn wall_time() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

/// The time since the machine started, with that in which it slept: nobody sets this clock.
pub(crate) fn time_since_boot() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn show_time(time: UnixMillis) -> String {
    let timestamp = i64::try_from(time.0 / 1000).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| format!("{} ms after 1970", time.0), |t| t.to_string())
}
