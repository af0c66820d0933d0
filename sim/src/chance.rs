use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// Everything that a run leaves to chance: ChaCha8's stream, which is the same on every machine and in every version.
#[derive(Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of `seed` for one purpose. Streams of different purposes do not disturb each other: a plan without one of its faults draws
    /// the same jobs.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number under `bound`, which is not 0. Its bias is below `bound` in 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `least` to `most`, both included.
    pub fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// An error of so much at most, in either direction.
    pub fn off_by(&mut self, most: u64) -> i64 {
        self.within(0, 2 * most) as i64 - most as i64
    }

    /// As [`Chance::within`], where each doubling is as likely as the one before.
    pub fn within_orders(&mut self, least: u64, most: u64) -> u64 {
        let doublings = (most / least.max(1)).ilog2() + 1;
        let low = least.max(1) << self.below(doublings.into());
        self.within(low, low.saturating_mul(2)).clamp(least, most)
    }

    /// True in so many of a thousand cases.
    pub fn permille(&mut self, part: u32) -> bool {
        self.below(1_000) < part.into()
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_the_same_for_ever() {
        let mut chance = Chance::new(7, "test");
        let drawn: Vec<u64> = (0..3).map(|_| chance.below(1_000_000)).collect();
        assert_eq!(drawn, [425_779, 894_158, 921_085]);
        assert_ne!(Chance::new(7, "other").number(), Chance::new(7, "test").number());
    }

    #[test]
    fn drawn_numbers_stay_within_their_bounds() {
        let mut chance = Chance::new(1, "test");
        for _ in 0..1_000 {
            assert!(chance.below(3) < 3);
            assert!((5..=6).contains(&chance.within(5, 6)));
            assert!((-4..=4).contains(&chance.off_by(4)));
            assert!((10..=1_000).contains(&chance.within_orders(10, 1_000)));
            assert!((0..=1).contains(&chance.within_orders(0, 1)));
        }
    }
}
