//! Numbers that look random and are the same everywhere.

/// SplitMix64 (Steele, Lea, Flood 2014): one multiplication chain per number, and any seed will do.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, by the upper bits; the bias is of no matter here.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A number from 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Spreads every bit of a word over the whole of it; also how checksums take in words.
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The bits of a result. A NaN anywhere before would have made it one, and its bits differ between processors.
pub(crate) fn bits64(value: f64) -> u64 {
    assert!(!value.is_nan(), "a kernel made a NaN");
    value.to_bits()
}

/// As [`bits64`], of a narrow float.
pub(crate) fn bits32(value: f32) -> u64 {
    assert!(!value.is_nan(), "a kernel made a NaN");
    u64::from(value.to_bits())
}
