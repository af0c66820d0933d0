//! What calls of the host cost, in units of the meter: by their work, bytes included.

use crate::meter::UNITS_PER_FUEL;

/// A call of any host function: the way out of the guest and back, and the little that most do.
pub(super) const CALL_UNITS: u64 = 150 * UNITS_PER_FUEL;
/// A byte that goes through a standard stream or the log: copied twice, hashed, and sent on its way.
pub(super) const STREAM_BYTE_UNITS: u64 = UNITS_PER_FUEL;
/// A byte of randomness.
pub(super) const RANDOM_BYTE_UNITS: u64 = UNITS_PER_FUEL;
/// A byte of arguments and environment variables.
pub(super) const ARGUMENT_BYTE_UNITS: u64 = UNITS_PER_FUEL / 4;
/// A buffer in the list of a `fd_read` or `fd_write`.
pub(super) const BUFFER_UNITS: u64 = 4 * UNITS_PER_FUEL;
/// A subscription of `poll_oneoff`.
pub(super) const SUBSCRIPTION_UNITS: u64 = 30 * UNITS_PER_FUEL;
/// A nanosecond of virtual sleep: what it costs to compute for so long, so that a guest's clocks are its fuel however it passes time.
pub(super) const SLEPT_NANOSECOND_UNITS: u64 = UNITS_PER_FUEL;

/// Every price, as part of the meter's name.
pub(crate) fn host_prices() -> String {
    format!(
        "call={CALL_UNITS} stream={STREAM_BYTE_UNITS} random={RANDOM_BYTE_UNITS} argument={ARGUMENT_BYTE_UNITS} \
         buffer={BUFFER_UNITS} subscription={SUBSCRIPTION_UNITS} sleep={SLEPT_NANOSECOND_UNITS}"
    )
}
