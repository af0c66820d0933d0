use crate::abi;

/// Fuel that is left of the job's limit, the price of this call taken off: what the job may still use before it ends
/// `out of fuel`. Every job has a limit, so there is always a number.
///
/// It is exact, and not a measurement: the limit minus what the bill would be if the job ended here. The same job, with the same input
/// and limit, is told the same on every node and in every attempt. A call costs what every call of the host does, 150 fuel, so ask by
/// the row and not by the pixel.
///
/// ```
/// /// As many terms as the budget allows, with enough kept back for the end.
/// fn sum(reserve: u64) -> f64 {
///     let mut sum = 0.0;
///     for n in 1u64.. {
///         if adit_guest::budget() < reserve {
///             break;
///         }
///         sum += (n..n + 1000).map(|n| 1.0 / n as f64).sum::<f64>();
///     }
///     sum
/// }
///
/// let (sum, _) = adit_guest::testing::Harness::new().budget(10_000).call(|| sum(1_000));
/// assert!(sum > 0.0);
/// ```
///
/// On a native target it is what the test's harness says, or else counts down from the largest number.
pub fn budget() -> u64 {
    abi::fuel_left()
}
