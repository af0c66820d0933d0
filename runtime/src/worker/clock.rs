//! Time as a guest sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_protocol::{JobSpec, Profile, UnixMillis};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// How far each reading moves the virtual clocks. A guest that waits for time to pass by reading it must not wait forever.
const STEP_NS: u64 = 1_000;

/// A guest's wall clock and its monotonic clock. Clones are the same clock.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    /// Both clocks over one count, so that the n-th reading of either, or the n-th sleep, is the same on every machine.
    Virtual { start: UnixMillis, elapsed_ns: Arc<AtomicU64> },
    /// The host's clocks.
    Host { start: Instant },
}

impl Clock {
    /// The clock that the job's profile gives.
    pub(super) fn of(spec: &JobSpec) -> Self {
        match spec.profile {
            Profile::Deterministic => Self::Virtual { start: spec.time, elapsed_ns: Arc::default() },
            Profile::Open => Self::Host { start: Instant::now() },
        }
    }

    /// The wall clock since 1970, without moving it.
    pub(super) fn wall(&self) -> Duration {
        match self {
            Self::Virtual { start, .. } => Duration::from_millis(start.0).saturating_add(self.monotonic()),
            Self::Host { .. } => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// The monotonic clock since the job's start, without moving it.
    pub(super) fn monotonic(&self) -> Duration {
        match self {
            Self::Virtual { elapsed_ns, .. } => Duration::from_nanos(elapsed_ns.load(Ordering::Relaxed)),
            Self::Host { start } => start.elapsed(),
        }
    }

    /// Lets time pass: at once where it is virtual.
    pub(super) async fn sleep(&self, time: Duration) {
        match self {
            Self::Virtual { .. } => self.advance(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            Self::Host { .. } => tokio::time::sleep(time).await,
        }
    }

    fn advance(&self, ns: u64) {
        if let Self::Virtual { elapsed_ns, .. } = self {
            elapsed_ns.store(elapsed_ns.load(Ordering::Relaxed).saturating_add(ns), Ordering::Relaxed);
        }
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(STEP_NS)
    }

    fn now(&self) -> Duration {
        let now = self.wall();
        self.advance(STEP_NS);
        now
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        STEP_NS
    }

    fn now(&self) -> u64 {
        let now = self.monotonic();
        self.advance(STEP_NS);
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    }
}
