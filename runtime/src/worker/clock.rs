//! Time as a deterministic guest sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adit_protocol::UnixMillis;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// How far each reading moves both clocks. A guest that waits for time to pass by reading it must not wait forever.
const STEP_NS: u64 = 1_000;

/// A wall clock and a monotonic clock over one count: the n-th reading of either is the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct VirtualClock {
    start: Duration,
    elapsed_ns: Arc<AtomicU64>,
}

impl VirtualClock {
    /// Clocks of which the wall clock starts at `start`, the monotonic one at 0.
    pub(super) fn new(start: UnixMillis) -> Self {
        Self { start: Duration::from_millis(start.0), elapsed_ns: Arc::default() }
    }

    fn read(&self) -> u64 {
        self.elapsed_ns.fetch_add(STEP_NS, Ordering::Relaxed)
    }
}

impl HostWallClock for VirtualClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(STEP_NS)
    }

    fn now(&self) -> Duration {
        self.start + Duration::from_nanos(self.read())
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        STEP_NS
    }

    fn now(&self) -> u64 {
        self.read()
    }
}
