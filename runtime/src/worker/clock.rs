//! Time as a guest sees it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_protocol::{JobSpec, Profile, UnixMillis};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::guest::Halted;
use super::prices::SLEPT_NANOSECOND_UNITS;
use crate::meter::fuel;
use crate::unchecked::MeterPage;

/// What the virtual clocks tell apart: a nanosecond, of which each unit of fuel is one.
const RESOLUTION_NS: u64 = 1;

/// A guest's wall clock and its monotonic clock. Clones are the same clock.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    /// Both clocks go with the fuel that the guest has used, a nanosecond each, and with nothing else; so they show the same on every
    /// machine. A guest that waits for time to pass by reading it does not wait forever, because reading costs fuel.
    Virtual { start: UnixMillis, page: Arc<MeterPage> },
    /// The host's clocks.
    Host { start: Instant },
}

impl Clock {
    /// The clock that the job's profile gives.
    pub(super) fn of(spec: &JobSpec, page: Arc<MeterPage>) -> Self {
        match spec.profile {
            Profile::Deterministic => Self::Virtual { start: spec.time, page },
            Profile::Open => Self::Host { start: Instant::now() },
        }
    }

    /// The wall clock since 1970.
    pub(super) fn wall(&self) -> Duration {
        match self {
            Self::Virtual { start, .. } => Duration::from_millis(start.0).saturating_add(self.monotonic()),
            Self::Host { .. } => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// The monotonic clock since the job's start.
    pub(super) fn monotonic(&self) -> Duration {
        match self {
            Self::Virtual { page, .. } => Duration::from_nanos(fuel(page.counter()).0),
            Self::Host { start } => start.elapsed(),
        }
    }

    /// Lets time pass. Virtual time passes at once, and is paid for like the work that would have taken as long.
    pub(super) async fn sleep(&self, time: Duration) -> Result<(), Halted> {
        match self {
            Self::Virtual { page, .. } => {
                let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                if page.charge(ns.saturating_mul(SLEPT_NANOSECOND_UNITS)) { Ok(()) } else { Err(Halted) }
            }
            Self::Host { .. } => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(RESOLUTION_NS)
    }

    fn now(&self) -> Duration {
        self.wall()
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        RESOLUTION_NS
    }

    fn now(&self) -> u64 {
        u64::try_from(self.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }
}
