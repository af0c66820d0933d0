/// An exponential moving average in which a new sample weighs an eighth, as in TCP's round-trip estimate (RFC 6298, section 2):
/// it rises at once when things get slow, and forgets within some dozen samples.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mean(Option<u64>);

impl Mean {
    /// The average; nothing before the first sample.
    pub(crate) fn value(self) -> Option<u64> {
        self.0
    }

    pub(crate) fn add(&mut self, sample: u64) {
        let mean = self.0.unwrap_or(sample);
        self.0 = Some(mean.saturating_mul(7).saturating_add(sample) / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sample_counts_whole_and_later_ones_an_eighth() {
        let mut mean = Mean::default();
        assert_eq!(mean.value(), None);
        for (sample, want) in [(800, 800), (800, 800), (0, 700), (1_500, 800), (u64::MAX, u64::MAX / 8)] {
            mean.add(sample);
            assert_eq!(mean.value(), Some(want), "after {sample}");
        }
    }
}
