//! How long everything takes.

use std::time::Duration;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds, each of ours and of the reference.
    pub(crate) rounds: usize,
    /// How long either lasts, where it is as long as we like.
    pub(crate) round: Duration,
    /// How long ours runs before the first round, so that nothing is new any more.
    pub(crate) warm_up: Duration,
    /// Bytes of a bulk input.
    pub(crate) bulk_bytes: usize,
    /// Rounds of the calibration kernels: many and short, since the machine's other work comes in bursts.
    pub(crate) kernel_rounds: usize,
    /// By what the kernels' sizes, each some 200 ms, are divided.
    pub(crate) kernel_divisor: u32,
    /// Receipts that are settled in a round.
    pub(crate) receipts: usize,
    /// Receipts of the log that is checked in each round.
    pub(crate) audit_receipts: usize,
    /// Receipts of the one large log.
    pub(crate) log_receipts: usize,
    /// Rounds over the large log, each of which takes seconds.
    pub(crate) long_rounds: usize,
    /// How long one figure may take before it is given up.
    pub(crate) limit: Duration,
    /// How long all kernels may take.
    pub(crate) kernels_limit: Duration,
}

impl Plan {
    /// All figures in about two minutes and a half.
    pub(crate) const FULL: Self = Self {
        rounds: 7,
        round: Duration::from_millis(1_000),
        warm_up: Duration::from_millis(1_000),
        bulk_bytes: 256 << 20,
        kernel_rounds: 21,
        kernel_divisor: 4,
        receipts: 8_192,
        audit_receipts: 65_536,
        log_receipts: 1_000_000,
        long_rounds: 5,
        limit: Duration::from_secs(60),
        kernels_limit: Duration::from_secs(1_200),
    };

    /// All figures in about forty seconds, with more noise.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        round: Duration::from_millis(300),
        warm_up: Duration::from_millis(300),
        bulk_bytes: 64 << 20,
        kernel_rounds: 7,
        kernel_divisor: 8,
        receipts: 4_096,
        audit_receipts: 16_384,
        log_receipts: 100_000,
        long_rounds: 3,
        limit: Duration::from_secs(30),
        kernels_limit: Duration::from_secs(600),
    };
}
