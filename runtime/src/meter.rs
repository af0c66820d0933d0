//! What a unit of fuel means.

use adit_protocol::{Fuel, MeterId};

/// The engine that runs guests, as receipts name it.
pub const ENGINE: &str = "wasmtime 48.0.8";

/// A guest is interrupted after every so much fuel, a few milliseconds, to see deadlines and cancellation. Smaller makes guests
/// slower: at 1,000,000 the engine's yields already cost a tenth.
pub(crate) const FUEL_YIELD_INTERVAL: u64 = 10_000_000;

/// Every choice that can change a bill. Another text is another meter.
const METER: &str =
    "adit meter: wasmtime 48.0.8 consume_fuel, cranelift speed, yield 10000000; memory-fuel = peak x fuel; price formula v1";

/// The meter that this runtime counts by: for now the engine's own fuel, which stands in for a meter of ours.
///
/// It is exact for a guest that returns, exits, runs out of fuel, or is stopped from outside. After a trap, Cranelift has lost what
/// the guest used since its last call, return or yield: at most 10 Mfuel go unbilled.
pub fn meter_id() -> MeterId {
    MeterId(*blake3::hash(METER.as_bytes()).as_bytes())
}

/// Linear-memory bytes integrated over fuel. The engine does not tell at which fuel a memory grew, so this is the integral's upper
/// bound: the peak held for the whole run. Limits keep both factors below 2^64, so the product fits.
pub(crate) fn memory_fuel(fuel: Fuel, memory_peak: u64) -> u128 {
    u128::from(fuel.0) * u128::from(memory_peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meter_names_the_engine_and_the_interval_that_are_used() {
        assert!(METER.contains(ENGINE));
        assert!(METER.contains(&format!("yield {FUEL_YIELD_INTERVAL};")));
    }

    #[test]
    fn memory_fuel_of_the_largest_job_fits() {
        let (fuel, memory) = (adit_protocol::limits::FUEL_MAX, adit_protocol::limits::MEMORY_BYTES_MAX);
        assert_eq!(memory_fuel(Fuel(fuel), memory) / u128::from(memory), u128::from(fuel));
    }
}
