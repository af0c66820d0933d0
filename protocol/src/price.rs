use serde::{Deserialize, Serialize};

use crate::limits::{FUEL_PER_COMPUTE_MINUTE, PRICE_COMPONENT_MAX};
use crate::{JobLimits, Microcredits, Usage};

/// What a node asks, in microcredits per unit of each resource.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Per compute minute: 60 x 10^9 fuel.
    pub per_compute_minute: u64,
    /// Per GiB held for one compute minute: 2^30 x 60 x 10^9 byte x fuel.
    pub per_gib_compute_minute: u64,
    /// Per GiB of input.
    pub per_gib_in: u64,
    /// Per GiB of output.
    pub per_gib_out: u64,
    /// Per minute of GPU time: 60 x 10^9 nanoseconds.
    pub per_gpu_minute: u64,
}

/// A price or a usage outside of what a bill can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PriceError {
    /// A component of the price is over [`PRICE_COMPONENT_MAX`].
    #[error("a price component is over {PRICE_COMPONENT_MAX} microcredits")]
    ComponentTooLarge,
    /// The usage is over what any job's limits allow, so that the cost does not fit its type.
    #[error("the cost does not fit 64 bits of microcredits")]
    Overflow,
}

/// Bytes in a GiB.
const GIB: u128 = 1 << 30;

impl Price {
    /// All components.
    pub fn components(&self) -> [u64; 5] {
        [self.per_compute_minute, self.per_gib_compute_minute, self.per_gib_in, self.per_gib_out, self.per_gpu_minute]
    }

    /// What `usage` costs.
    ///
    /// All five terms are brought to the denominator 2^30 x 60 x 10^9, added exactly, and rounded **up once** to a whole
    /// microcredit:
    ///
    /// ```text
    /// cost = ceil( ( fuel        x per_compute_minute     x 2^30
    ///              + memory_fuel x per_gib_compute_minute
    ///              + bytes_in    x per_gib_in             x 60e9
    ///              + bytes_out   x per_gib_out            x 60e9
    ///              + gpu_ns      x per_gpu_minute         x 2^30 ) / (2^30 x 60e9) )
    /// ```
    ///
    /// # Errors
    /// [`PriceError`] where a component or the result is out of range.
    pub fn cost(&self, usage: &Usage) -> Result<Microcredits, PriceError> {
        if self.components().iter().any(|c| *c > PRICE_COMPONENT_MAX) {
            return Err(PriceError::ComponentTooLarge);
        }
        let minute = u128::from(FUEL_PER_COMPUTE_MINUTE);
        let terms = [
            term(usage.fuel.0.into(), self.per_compute_minute, GIB),
            term(usage.memory_fuel, self.per_gib_compute_minute, 1),
            term(usage.bytes_in.0.into(), self.per_gib_in, minute),
            term(usage.bytes_out.0.into(), self.per_gib_out, minute),
            // A minute has as many nanoseconds as a compute minute has fuel.
            term(usage.gpu_ns.into(), self.per_gpu_minute, GIB),
        ];
        let sum = terms.into_iter().try_fold(0u128, |sum, t| sum.checked_add(t?)).ok_or(PriceError::Overflow)?;
        let cost = sum.div_ceil(GIB * minute);
        u64::try_from(cost).map(Microcredits).map_err(|_| PriceError::Overflow)
    }

    /// The most that a job under `limits` with an input of `input_bytes` can cost: every limit used up, all of the memory held
    /// from the first unit of fuel to the last.
    ///
    /// # Errors
    /// As [`Price::cost`].
    pub fn cost_max(&self, limits: &JobLimits, input_bytes: u64) -> Result<Microcredits, PriceError> {
        self.cost(&Usage {
            fuel: limits.fuel,
            memory_peak: limits.memory,
            memory_fuel: u128::from(limits.memory.0) * u128::from(limits.fuel.0),
            bytes_in: crate::ByteCount(input_bytes),
            bytes_out: limits.output,
            host_calls: 0,
            gpu_ns: limits.gpu_ns,
        })
    }
}

fn term(amount: u128, price: u64, scale: u128) -> Option<u128> {
    amount.checked_mul(price.into())?.checked_mul(scale)
}

// The largest fuel term stays inside 128 bits, so that `Overflow` is met only by usage that no job can have.
const _: () = assert!((crate::limits::FUEL_MAX as u128).checked_mul((PRICE_COMPONENT_MAX as u128) << 30).is_some());
const _: () = assert!((crate::limits::GPU_NS_MAX as u128).checked_mul((PRICE_COMPONENT_MAX as u128) << 30).is_some());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ByteCount, Fuel};

    const PRICE: Price =
        Price { per_compute_minute: 1_000, per_gib_compute_minute: 100, per_gib_in: 50, per_gib_out: 70, per_gpu_minute: 9_000 };

    #[test]
    fn worked_examples() {
        let minute = FUEL_PER_COMPUTE_MINUTE;
        let none = Usage::default();
        let rows = [
            (none, 0),
            // Anything at all costs at least one microcredit.
            (Usage { fuel: Fuel(1), ..none }, 1),
            (Usage { fuel: Fuel(minute), ..none }, 1_000),
            (Usage { fuel: Fuel(minute + 1), ..none }, 1_001),
            (Usage { memory_fuel: u128::from(minute) << 30, ..none }, 100),
            (Usage { bytes_in: ByteCount(1 << 30), ..none }, 50),
            (Usage { bytes_out: ByteCount(1 << 29), ..none }, 35),
            (Usage { gpu_ns: 20_000_000_000, ..none }, 3_000),
            // The remainders of all terms are added before the one rounding: 0.5 + 0.5 is 1, not 2.
            (Usage { fuel: Fuel(minute / 2_000), bytes_in: ByteCount((1 << 30) / 100), ..none }, 1),
        ];
        for (usage, want) in rows {
            assert_eq!(PRICE.cost(&usage), Ok(Microcredits(want)), "{usage:?}");
        }
    }

    #[test]
    fn out_of_range_is_an_error_not_a_wrong_bill() {
        let dear = Price { per_compute_minute: PRICE_COMPONENT_MAX + 1, ..PRICE };
        assert_eq!(dear.cost(&Usage::default()), Err(PriceError::ComponentTooLarge));
        let absurd = Usage { memory_fuel: u128::MAX, ..Usage::default() };
        assert_eq!(PRICE.cost(&absurd), Err(PriceError::Overflow));
    }
}
