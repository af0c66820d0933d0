//! What is counted while a guest runs, for all who count and look.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::prices::CALL_UNITS;
use crate::ipc::Used;
use crate::meter::{UNITS_PER_FUEL, fuel};
use crate::unchecked::MeterPage;

/// Bytes of a page of linear memory.
pub(super) const PAGE_BYTES: u64 = 64 * 1024;

/// The counts of one guest.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// The meter.
    pub(super) page: Arc<MeterPage>,
    held: Mutex<Held>,
    memory_denied: AtomicBool,
    host_calls: AtomicU64,
}

/// The memory that a guest holds, summed over its units.
#[derive(Debug, Default, Clone, Copy)]
struct Held {
    bytes: u64,
    /// Up to where the sum goes.
    units: u64,
    byte_units: u128,
}

impl Held {
    fn until(mut self, units: u64) -> Self {
        self.byte_units += u128::from(self.bytes) * u128::from(units.saturating_sub(self.units));
        self.units = self.units.max(units);
        self
    }
}

impl Counters {
    /// Counts a call of the host and its price, with what it costs beyond that of any; and says whether the guest may go on.
    pub(super) fn enter_host(&self, extra_units: u64) -> bool {
        self.host_calls.fetch_add(1, Ordering::Relaxed);
        self.page.charge(CALL_UNITS.saturating_add(extra_units))
    }

    /// Notes that the guest has `bytes` of memory from here on. Memory does not shrink.
    pub(super) fn hold(&self, bytes: u64) {
        let mut held = self.held();
        *held = Held { bytes, ..held.until(self.page.counter()) };
    }

    /// Notes that the guest was refused memory.
    pub(super) fn deny_memory(&self) {
        self.memory_denied.store(true, Ordering::Relaxed);
    }

    /// Whether the guest was ever refused memory.
    pub(super) fn is_memory_denied(&self) -> bool {
        self.memory_denied.load(Ordering::Relaxed)
    }

    /// What has been used where so many units are counted.
    pub(super) fn used(&self, units: u64) -> Used {
        let held = self.held().until(units);
        Used {
            fuel: fuel(units).0,
            memory_peak: held.bytes,
            memory_fuel: held.byte_units / u128::from(UNITS_PER_FUEL),
            host_calls: self.host_calls.load(Ordering::Relaxed),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_over_the_units_that_it_was_held() {
        let held = Held { bytes: 10, ..Held::default() }.until(64);
        let held = Held { bytes: 30, ..held }.until(64 * 3);
        assert_eq!(held.byte_units, 10 * 64 + 30 * 128);
        // A count that lags behind takes nothing back.
        assert_eq!(held.until(5).byte_units, held.byte_units);
    }

    #[test]
    fn host_calls_are_counted_where_there_is_no_page() {
        let counters = Counters::default();
        assert!(!counters.enter_host(1));
        assert_eq!(counters.used(UNITS_PER_FUEL + 1), Used { fuel: 2, host_calls: 1, ..Used::default() });
    }
}
