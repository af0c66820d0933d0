use crate::abi;

/// Bytes that are drawn from the host at a time: a call costs as much fuel as 150 of them.
const BLOCK_BYTES: usize = 256;

/// Random numbers, from [`random`]. Each value goes on where the one before stopped; two generators share one stream, of which
/// each takes blocks.
///
/// With the feature `rand` it is a generator for the crate `rand` (0.10): `rand::Rng` and all that is built on it.
#[derive(Clone)]
pub struct Random {
    block: [u8; BLOCK_BYTES],
    used: usize,
}

/// A source of random numbers.
///
/// For a deterministic job (the default) the job's seed decides them: the same job gives the same numbers on every node and in every
/// attempt, and whoever knows the seed knows them. **Never make keys of them.** A job of the open profile gets the node's own
/// randomness. Crates that ask WASI (`getrandom`, `rand::rng()`, `HashMap`'s hasher) get the same bytes on a node.
///
/// On a native target the harness's seed decides, and gives the very numbers that a node would.
///
/// ```
/// # use adit_guest::testing::Harness;
/// let throw = || adit_guest::random().below(6) + 1;
/// let (first, _) = Harness::new().seed(7).call(throw);
/// let (again, _) = Harness::new().seed(7).call(throw);
/// assert_eq!(first, again);
/// ```
pub fn random() -> Random {
    Random { block: [0; BLOCK_BYTES], used: BLOCK_BYTES }
}

impl Random {
    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// A number from 0 up to and without `end`, each as likely as the other.
    ///
    /// # Panics
    /// `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        // Lemire, "Fast Random Integer Generation in an Interval" (2019): the high half of a product, thrown again where it would favour some.
        let least = end.wrapping_neg() % end;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(end);
            if product as u64 >= least {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number from 0 up to and without 1, one of 2^53 with the same distance.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let (from_block, rest) = bytes.split_at_mut(bytes.len().min(BLOCK_BYTES - self.used));
        from_block.copy_from_slice(&self.block[self.used..][..from_block.len()]);
        self.used += from_block.len();
        match rest {
            [] => {}
            few if few.len() < BLOCK_BYTES => {
                abi::random(&mut self.block);
                few.copy_from_slice(&self.block[..few.len()]);
                self.used = few.len();
            }
            many => abi::random(many),
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

impl core::fmt::Debug for Random {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Not the numbers to come.
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

#[cfg(feature = "rand")]
impl rand_core::TryRng for Random {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Harness;

    fn seeded<T>(seed: u64, job: impl FnOnce(&mut Random) -> T) -> T {
        Harness::new().seed(seed).call(|| job(&mut random())).0
    }

    #[test]
    fn pieces_are_the_stream_whatever_their_sizes() {
        let whole = seeded(1, |random| random.take::<2000>());
        seeded(1, |random| {
            let mut at = 0;
            for size in [1, 7, 255, 256, 300, 0, 8, 513] {
                let mut piece = vec![0; size];
                random.fill(&mut piece);
                assert_eq!(piece, whole[at..at + size], "{size} bytes from {at}");
                at += size;
            }
        });
    }

    /// The bytes that `deterministic_guest_sees_seeded_randomness_and_virtual_time` in the runtime's tests has of a node.
    #[test]
    fn seed_gives_the_bytes_of_a_node() {
        let bytes: [u8; 16] = seeded(1, Random::take);
        assert_eq!(u128::from_be_bytes(bytes), 0xde37_f918_897f_01a8_f8d0_cef9_a4eb_7bbb);
        assert_ne!(seeded(2, Random::take::<16>), bytes);
    }

    #[test]
    fn numbers_are_within_their_range_and_reach_all_of_it() {
        seeded(3, |random| {
            let mut seen = [0; 7];
            (0..7_000).for_each(|_| seen[random.below(7) as usize] += 1);
            assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
            assert_eq!(random.below(1), 0);
            assert!((0..1000).all(|_| random.below(u64::MAX) < u64::MAX));
            let mean = (0..1000).map(|_| random.unit()).inspect(|n| assert!((0.0..1.0).contains(n))).sum::<f64>() / 1000.0;
            assert!((0.45..0.55).contains(&mean), "{mean}");
        });
    }
}
